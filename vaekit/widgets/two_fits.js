// Two hills p = (1 − w) N(−d, 1) + w N(d, τ²), the Gaussian nearest to them in either direction of
// KL, and both integrands. The formulas are those of chapter 7; values are in nats.

/** ln p(x) and its first two derivatives. */
export function target(x, { d, w, tau }) {
  const left = Math.log(1 - w) + logDensity(x, -d, 1);
  const right = Math.log(w) + logDensity(x, d, tau);
  const most = Math.max(left, right);
  const log = most + Math.log(Math.exp(left - most) + Math.exp(right - most));
  const share = Math.exp(right - log); // how likely x is from the right hill
  const slopeLeft = -(x + d);
  const slopeRight = -(x - d) / tau ** 2;
  const slope = (1 - share) * slopeLeft + share * slopeRight;
  const bend = -(1 - share) - share / tau ** 2
    + share * (1 - share) * (slopeRight - slopeLeft) ** 2;
  return { log, slope, bend };
}

/** The Gaussian with the mean and the variance of p, [mu, sigma]: the best under KL(p‖q). */
export function forwardFit({ d, w, tau }) {
  return [
    (2 * w - 1) * d,
    Math.sqrt((1 - w) + w * tau ** 2 + 4 * w * (1 - w) * d ** 2),
  ];
}

// Averages under q are sums over x = mu + sigma t, by the trapezoid rule.
const T = Array.from({ length: 801 }, (_, i) => -8 + i * 0.02);
const WEIGHT = T.map((t) => Math.exp(-0.5 * t * t));
const TOTAL = WEIGHT.reduce((sum, weight) => sum + weight, 0);

/** KL(q‖p). */
export function reverseKl(mu, sigma, p) {
  let sum = 0;
  for (let i = 0; i < T.length; i++) {
    const log = logDensity(T[i], 0, 1) - Math.log(sigma);
    sum += WEIGHT[i] * (log - target(mu + sigma * T[i], p).log);
  }
  return sum / TOTAL;
}

/** KL(p‖q), by the trapezoid rule. */
export function forwardKl(mu, sigma, p) {
  const reach = p.d + 10 * Math.max(1, p.tau);
  const [from, to] = [-reach, reach];
  const n = 4000;
  const h = (to - from) / n;
  let sum = 0;
  for (let i = 0; i <= n; i++) {
    const x = from + i * h;
    const { log } = target(x, p);
    sum += Math.exp(log) * (log - logDensity(x, mu, sigma)) * h;
  }
  return sum;
}

/** Walk downhill on KL(q‖p) from [mu, sigma]; where the walk comes to rest. */
export function reverseFit(start, p) {
  let [mu, logSigma] = [start[0], Math.log(start[1])];
  for (let step = 0; step < 400; step++) {
    const sigma = Math.exp(logSigma);
    let slopeMu = 0; // in units of sigma, as all of these
    let slopeSigma = -1;
    let bendMu = 0;
    let bendSigma = 0;
    for (let i = 0; i < T.length; i++) {
      const { slope, bend } = target(mu + sigma * T[i], p);
      const weight = WEIGHT[i] / TOTAL;
      slopeMu -= weight * sigma * slope;
      slopeSigma -= weight * sigma * T[i] * slope;
      bendMu -= weight * sigma ** 2 * bend;
      bendSigma -= weight * (sigma * T[i] * slope + (sigma * T[i]) ** 2 * bend);
    }
    if (Math.hypot(slopeMu, slopeSigma / 2) < 1e-10) break;
    // Newton's step in each of the two, where the curvature is that of a valley; never a leap.
    const a = slopeMu / Math.max(1, bendMu);
    const b = slopeSigma / Math.max(2, bendSigma);
    const brake = Math.max(1, Math.hypot(a, b) / 0.1);
    mu -= sigma * (a / brake);
    logSigma -= b / brake;
  }
  return [mu, Math.exp(logSigma)];
}

/** Where the walk of the reverse fit begins. */
export function startOf(where, p) {
  if (where === "left") return [-p.d, 1];
  return where === "right" ? [p.d, p.tau] : [0, Math.max(1, p.d)];
}

const SLIDERS = {
  d: "hills at ±d, d",
  w: "share of the right hill, w",
  tau: "width of the right hill, τ",
};
const STARTS = { left: "on the left hill", middle: "between them", right: "on the right hill" };
const X_MAX = 10;

// The drawing, in pixels.
const LEFT = 46;
const RIGHT = 10;
const UNDER = 34;
const DENSITY = { top: 26, bottom: 160 };
const AREA = { top: 26, zero: 96, bottom: 120 };

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // a page may hold several widgets
  const limits = model.get("limits");
  const find = frame(el, "Two hills and the nearest Gaussians", "vk-fits", `
    <div class="vk-sliders">
      ${Object.entries(SLIDERS).map(([name, label]) => `<label>${label} = <output
        data-shown="${name}"></output><input type="range" data-name="${name}" step="0.05"
        min="${limits[name][0]}" max="${limits[name][1]}"></label>`).join("")}
    </div>
    <fieldset class="vk-row vk-values"><legend>The walk of the reverse fit begins</legend>
      ${Object.entries(STARTS).map(([value, label]) => `<label><input type="radio" name="${id}"
        value="${value}">${label}</label>`).join("")}
    </fieldset>
    <svg class="vk-densities" role="img"></svg>
    <div class="vk-row">
      <span class="vk-key"><i class="vk-box"></i>target p</span>
      <span class="vk-key"><i class="vk-line vk-p"></i><span data-legend="forward"></span></span>
      <span class="vk-key"><i class="vk-line vk-q"></i><span data-legend="reverse"></span></span>
    </div>
    <svg data-area="forward" role="img"></svg>
    <p data-sentence="forward"></p>
    <svg data-area="reverse" role="img"></svg>
    <p data-sentence="reverse"></p>
    <p class="vk-hint">Drag the sliders, or press Tab and then the arrow keys. Solid areas above zero
      are paid, hatched ones below are earned back; the sum is the divergence.</p>`);
  for (const box of el.querySelectorAll(".vk-key .vk-box")) {
    box.style.background = "color-mix(in srgb, currentColor 22%, transparent)";
  }
  const sliders = find(".vk-sliders");
  Object.assign(sliders.style, {
    display: "grid", gap: "0.2em 1.4em", gridTemplateColumns: "repeat(auto-fit, minmax(190px, 1fr))",
  });
  let width = 640;
  const right = () => width - RIGHT;
  const unit = () => (right() - LEFT) / (2 * X_MAX);
  const x = (value) => LEFT + (value + X_MAX) * unit();

  const change = setter(model, draw);
  for (const input of sliders.querySelectorAll("input")) {
    Object.assign(input.style, { width: "100%", minHeight: "34px", margin: "0", display: "block" });
    input.oninput = () => change({ [input.dataset.name]: Number(input.value) });
  }
  for (const radio of el.querySelectorAll("input[type=radio]")) {
    radio.onchange = () => change({ start: radio.value });
  }

  function sample(f) {
    const points = [];
    for (let px = LEFT; px <= right(); px += 2) {
      points.push({ px, f: f((px - LEFT) / unit() - X_MAX) });
    }
    return points;
  }
  const path = (points, y) => `M${points.map(({ px, f }) => `${px} ${y(f).toFixed(2)}`).join("L")}`;

  function axes(parent, ticks, bottom) {
    const marks = [];
    for (let v = -X_MAX; v <= X_MAX; v += width < 500 ? 5 : 2.5) {
      marks.push([x(v), fixed(v, v % 1 ? 1 : 0)]);
    }
    drawAxes(parent, LEFT, right(), bottom, ticks, marks, "x");
  }

  function drawDensities(p, fits) {
    const node = find(".vk-densities");
    node.replaceChildren();
    node.setAttribute("viewBox", `0 0 ${width} ${DENSITY.bottom + UNDER}`);
    const curves = [
      sample((at) => Math.exp(target(at, p).log)),
      ...fits.map(([mu, sigma]) => sample((at) => Math.exp(logDensity(at, mu, sigma)))),
    ];
    const top = roundUp(Math.max(0.1, ...curves.flat().map(({ f }) => f)));
    const y = (f) => DENSITY.bottom - (f / top) * (DENSITY.bottom - DENSITY.top);
    axes(node, [0, top / 2, top].map((v) => [y(v), v && fixed(v, 2)]), DENSITY.bottom);
    const filled = svg("path", {
      d: `${path(curves[0], y)}V${DENSITY.bottom}H${LEFT}Z`,
      fill: "currentColor", "fill-opacity": 0.22, stroke: "currentColor", "stroke-opacity": 0.6,
    });
    node.append(
      filled,
      svg("path", { class: "vk-curve vk-p", d: path(curves[1], y) }),
      svg("path", { class: "vk-curve vk-q", d: path(curves[2], y) }),
      write("label", "density", 4, 10));
    node.setAttribute("aria-label",
      `The target and both fits: the forward fit at ${fixed(fits[0][0], 2)}, `
      + `the reverse fit at ${fixed(fits[1][0], 2)}`);
  }

  function drawArea(which, points, top, name) {
    const node = find(`[data-area=${which}]`);
    node.replaceChildren();
    node.setAttribute("viewBox", `0 0 ${width} ${AREA.bottom + UNDER}`);
    const y = (f) => AREA.zero - (f / top) * (AREA.zero - AREA.top);
    node.append(hatching(`${id}-${which}`));
    axes(node, [0, top / 2, top].map((v) => [y(v), v && fixed(v, 2)]), AREA.bottom);
    const oneSign = (sign) => {
      const part = points.map(({ px, f }) => ({ px, f: sign * f > 0 ? f : 0 }));
      return `${path(part, y)}V${AREA.zero}H${LEFT}Z`;
    };
    node.append(
      write("label", name, 4, 12),
      svg("path", { class: "vk-positive", d: oneSign(1) }),
      svg("path", { class: "vk-negative", d: oneSign(-1), fill: `url(#${id}-${which})` }),
      svg("path", { class: "vk-curve", d: path(points, y) }));
  }

  function draw() {
    const p = { d: model.get("d"), w: model.get("w"), tau: model.get("tau") };
    const start = model.get("start");
    const forward = forwardFit(p);
    const reverse = reverseFit(startOf(start, p), p);
    for (const name of Object.keys(SLIDERS)) {
      const input = find(`[data-name=${name}]`);
      input.value = p[name];
      input.setAttribute("aria-valuetext", fixed(p[name], 2));
      find(`[data-shown=${name}]`).textContent = fixed(p[name], 2);
    }
    find(`input[value=${start}]`).checked = true;
    drawDensities(p, [forward, reverse]);

    const pays = {
      forward: sample((at) => {
        const { log } = target(at, p);
        return Math.exp(log) * (log - logDensity(at, ...forward));
      }),
      reverse: sample((at) => {
        const log = logDensity(at, ...reverse);
        return Math.exp(log) * (log - target(at, p).log);
      }),
    };
    // One scale for both, so that their areas compare; what is below zero has a third of the room.
    const top = roundUp(Math.max(
      0.1, ...Object.values(pays).flat().map(({ f }) => Math.max(f, -3 * f))));
    drawArea("forward", pays.forward, top, "p(x) ln[p(x)/q(x)]");
    drawArea("reverse", pays.reverse, top, "q(x) ln[q(x)/p(x)]");

    const values = { forward: forwardKl(...forward, p), reverse: reverseKl(...reverse, p) };
    for (const [name, [mu, sigma]] of Object.entries({ forward, reverse })) {
      find(`[data-legend=${name}]`).textContent =
        `${name} fit q = N(${fixed(mu, 2)}, ${fixed(sigma, 2)}²)`;
    }
    const other = reverseKl(...forward, p);
    find("[data-sentence=forward]").innerHTML =
      `Forward: KL(p‖q) = <b data-kl="forward">${fixed(values.forward, 3)}</b> nats, the least of all
       Gaussians. In the reverse direction this fit would pay ${fixed(other, 3)}.`;
    const price = start === "middle" ? "" : `
       Keeping only the ${start} hill costs ln(1/${fixed(start === "left" ? 1 - p.w : p.w, 2)}) =
       ${fixed(-Math.log(start === "left" ? 1 - p.w : p.w), 3)} at most.`;
    find("[data-sentence=reverse]").innerHTML =
      `Reverse: KL(q‖p) = <b data-kl="reverse">${fixed(values.reverse, 3)}</b> nats, where a walk that
       begins ${STARTS[start]} comes to rest.${price}`;
    for (const name of ["forward", "reverse"]) {
      find(`[data-area=${name}]`).setAttribute(
        "aria-label", `Integrand of the ${name} divergence, ${fixed(values[name], 3)} nats`);
    }
  }

  return live(model, el, ["d", "w", "tau", "start"], find(".vk-densities"), (wide) => { width = wide; }, draw);
}

export default { render };
