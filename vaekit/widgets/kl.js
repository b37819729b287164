// Two Gaussians p and q, and KL(p‖q) or KL(q‖p) as the area under its integrand.
// The formulas are those of chapter 3; values are in nats.

/** p(x) ln(p(x)/q(x)), whose integral is KL(p‖q); 0, its limit, where p(x) underflows. */
export function integrand(x, muP, sigmaP, muQ, sigmaQ) {
  const logP = logDensity(x, muP, sigmaP);
  const p = Math.exp(logP);
  return p === 0 ? 0 : p * (logP - logDensity(x, muQ, sigmaQ));
}

/** The integrand's areas above and below zero, [above, below], by the trapezoid rule. */
export function areas(muP, sigmaP, muQ, sigmaQ) {
  // Twelve σ of p on each side: beyond, p is below 1e-31 of its peak.
  const n = 4000;
  const h = (24 * sigmaP) / n;
  let above = 0;
  let below = 0;
  for (let i = 0; i <= n; i++) {
    const f = integrand(muP - 12 * sigmaP + i * h, muP, sigmaP, muQ, sigmaQ);
    if (f > 0) above += f * h;
    else below -= f * h;
  }
  return [above, below];
}

const NAMES = ["mu_p", "sigma_p", "mu_q", "sigma_q"];
const PRESETS = {
  "p = q": [0, 1, 0, 1],
  "q wide": [0, 1, 1, 2],
  "q narrow": [0, 1, 0, 0.5],
  "far apart": [-2, 1, 2, 1],
};
const STEPS_PER_UNIT = 20; // what a drag or an arrow key can reach: multiples of 0.05
const X_MAX = 8;

// The drawing, in pixels.
const LEFT = 46;
const RIGHT = 10;
const UNDER = 36; // tick labels and the axis' name
const DENSITY = { top: 24, bottom: 154 };
const LANES = { p: 172, q: 206, bottom: 240 };
const AREA = { top: 26, zero: 138.5, bottom: 176 };

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // a page may hold several widgets
  const find = frame(el, "KL divergence of two Gaussians", "", `
    <div class="vk-row">
      <span class="vk-key"><i class="vk-line vk-p"></i><span data-legend="p"></span></span>
      <span class="vk-key"><i class="vk-line vk-q"></i><span data-legend="q"></span></span>
      <span class="vk-row vk-presets" role="group" aria-label="Examples"></span>
    </div>
    <svg class="vk-densities" role="group" aria-label="Densities of p and q, with handles"></svg>
    <p class="vk-hint">Each bar spans μ ± σ. Drag <b>●</b> to move μ, <b>↔</b> to change σ;
      or press Tab, then the arrow keys.</p>
    <fieldset class="vk-row vk-values"><legend>Show as an area</legend>
      ${["pq", "qp"].map((d) => `<label><input type="radio" name="${id}" value="${d}">
        KL(${d[0]}‖${d[1]}) = <output data-kl="${d}"></output> nats</label>`).join("")}
    </fieldset>
    <svg class="vk-area" role="img"></svg>
    <p class="vk-sentence"></p>
    <p class="vk-hint">Dotted lines: the curves cross, so the logarithm changes sign.
      Areas count the whole line, also beyond the picture.</p>`);
  const densities = find(".vk-densities");
  const area = find(".vk-area");
  let width = 640;
  const right = () => width - RIGHT;
  const unit = () => (right() - LEFT) / (2 * X_MAX);
  const x = (value) => LEFT + (value + X_MAX) * unit();

  const change = setter(model, draw);

  addButtons(find(".vk-presets"), PRESETS, (settings) =>
    change(Object.fromEntries(NAMES.map((name, i) => [name, settings[i]]))));
  for (const radio of el.querySelectorAll("input")) {
    radio.onchange = () => change({ direction: radio.value });
  }

  function sliderOf(name) {
    const [parameter, which] = name.split("_");
    const [said, shape] = parameter === "mu"
      ? ["mean", knobs.dot()] : ["standard deviation", knobs.arrows()];
    return makeSlider(
      densities, `vk-${which}`, { "data-name": name, "aria-label": `${said} of ${which}` }, shape, {
        limits: model.get(`${parameter}_limits`), grid: STEPS_PER_UNIT, leap: 0.5, unit,
        value: () => model.get(name), move: (value) => change({ [name]: value }),
      });
  }
  // Handles live as long as the widget, so that focus and a drag survive every redraw.
  const handles = Object.fromEntries(NAMES.map((name) => [name, sliderOf(name)]));
  const plot = svg("g");
  densities.append(plot, ...Object.values(handles));

  function axes(parent, ticks, bottom) {
    const marks = [];
    for (let v = -X_MAX; v <= X_MAX; v += width < 500 ? 4 : 2) marks.push([x(v), fixed(v, 0)]);
    drawAxes(parent, LEFT, right(), bottom, ticks, marks, "x");
  }

  /** Points {px, at, f(at)} of a curve over the picture's width, one every two pixels. */
  function sample(f) {
    const points = [];
    for (let px = LEFT; px <= right(); px += 2) {
      const at = (px - LEFT) / unit() - X_MAX;
      points.push({ px, at, f: f(at) });
    }
    return points;
  }
  const path = (points, y) => `M${points.map(({ px, f }) => `${px} ${y(f).toFixed(2)}`).join("L")}`;

  function drawDensities(parameters, crossings) {
    plot.replaceChildren();
    const narrowest = Math.min(...Object.values(parameters).map(([, sigma]) => sigma));
    const top = roundUp(Math.max(0.5, 1 / (narrowest * Math.sqrt(2 * Math.PI))));
    const y = (f) => DENSITY.bottom - (f / top) * (DENSITY.bottom - DENSITY.top);
    axes(plot, [0, top / 2, top].map((v) => [y(v), v && fixed(v, 2)]), LANES.bottom);
    plot.append(
      line("axis", LEFT, DENSITY.bottom, right(), DENSITY.bottom),
      write("label", "density", 4, 12),
      ...crossings.map((px) => line("crossing", px, DENSITY.top, px, LANES.bottom)));
    for (const [which, [mu, sigma]] of Object.entries(parameters)) {
      const lane = LANES[which];
      const end = x(mu + sigma);
      const points = sample((at) => Math.exp(logDensity(at, mu, sigma)));
      const span = `M${x(mu - sigma)} ${lane - 6}v12m0-6H${end}m0-6v12`;
      plot.append(
        svg("path", { class: `vk-curve vk-${which}`, d: path(points, y) }),
        svg("path", { class: `vk-span vk-${which}`, d: span }),
        write("label", which, LEFT - 6, lane + 5, "end"));
      handles[`mu_${which}`].setAttribute("transform", `translate(${x(mu)} ${lane})`);
      handles[`sigma_${which}`].setAttribute("transform", `translate(${end + 16} ${lane})`);
    }
  }

  function drawArea(points, crossings, name) {
    area.replaceChildren();
    const heights = points.map(({ f }) => f);
    const [low, high] = [Math.min(...heights), Math.max(...heights)];
    // The zero line stays put, a quarter up, and one scale serves both signs, so areas compare.
    const top = roundUp(Math.max(0.5, high, -3 * low));
    const y = (f) => AREA.zero - (f / top) * (AREA.zero - AREA.top);
    const digits = top < 2 ? 2 : top < 10 ? 1 : 0;
    area.append(hatching(`${id}-hatch`));
    axes(area, [0, top / 2, top].map((v) => [y(v), v && fixed(v, digits)]), AREA.bottom);
    const oneSign = (sign) => {
      const part = points.map((point) => ({ ...point, f: sign * point.f > 0 ? point.f : 0 }));
      return `${path(part, y)}V${AREA.zero}H${LEFT}Z`;
    };
    area.append(
      write("label", name, 4, 12),
      ...crossings.map((px) => line("crossing", px, AREA.top, px, AREA.bottom)),
      svg("path", { class: "vk-positive", d: oneSign(1) }),
      svg("path", { class: "vk-negative", d: oneSign(-1), fill: `url(#${id}-hatch)` }),
      svg("path", { class: "vk-curve", d: path(points, y) }));
    for (const [peak, sign] of [[high, "+"], [low, "−"]]) {
      if (Math.abs(y(peak) - AREA.zero) < 22) continue; // no room
      const { px } = points[heights.indexOf(peak)];
      area.append(write("sign", sign, px, (y(peak) + AREA.zero) / 2 + 6, "middle"));
    }
  }

  function draw() {
    const parameters = Object.fromEntries(
      ["p", "q"].map((which) => [which, [model.get(`mu_${which}`), model.get(`sigma_${which}`)]]));
    const [first, second] = model.get("direction");
    const ordered = [...parameters[first], ...parameters[second]];
    const reversed = [...parameters[second], ...parameters[first]];
    densities.setAttribute("viewBox", `0 0 ${width} ${LANES.bottom + UNDER}`);
    area.setAttribute("viewBox", `0 0 ${width} ${AREA.bottom + UNDER}`);

    // Where the curves cross, the logarithm of their ratio, and so the integrand, changes sign.
    const ratio = sample((at) =>
      logDensity(at, ...parameters.p) - logDensity(at, ...parameters.q));
    const crossings = ratio.filter(({ f }, i) => i > 0 && f * ratio[i - 1].f < 0)
      .map(({ px }) => px - 1);
    drawDensities(parameters, crossings);
    drawArea(
      sample((at) => integrand(at, ...ordered)), crossings, `${first}(x) ln[${first}(x)/${second}(x)]`);

    for (const [which, [mu, sigma]] of Object.entries(parameters)) {
      const text = `${which} = N(${fixed(mu, 2)}, ${fixed(sigma, 2)}²)`;
      find(`[data-legend=${which}]`).textContent = text;
    }
    for (const name of NAMES) announce(handles[name], model.get(name), fixed(model.get(name), 2));
    find(`[data-kl=${first}${second}]`).textContent = fixed(klGaussian(...ordered), 4);
    find(`[data-kl=${second}${first}]`).textContent = fixed(klGaussian(...reversed), 4);
    find(`input[value=${first}${second}]`).checked = true;

    const kl = `KL(${first}‖${second})`;
    const [above, below] = areas(...ordered);
    // Rounded together, so that the sum on the page adds up.
    const total = fixed(above - below, 4);
    const positive = fixed(above, 4);
    const negative = fixed(Number(positive) - Number(total), 4);
    const equal = `${parameters.p}` === `${parameters.q}`;
    find(".vk-sentence").innerHTML = equal
      ? `p and q are equal: the logarithm of their ratio is 0 at every x, there is no area,
         and ${kl} = 0.`
      : `<span class="vk-key"><i class="vk-box vk-positive"></i>+${positive}</span>
         where ${first} is the higher curve,
         <span class="vk-key"><i class="vk-box vk-negative"></i>−${negative}</span>
         where ${second} is: together ${total} nats. That is ${kl}.`;
    area.setAttribute(
      "aria-label", `Integrand of ${kl}: area ${positive} above zero, ${negative} below`);
  }

  return live(model, el, [...NAMES, "direction"], densities, (wide) => { width = wide; }, draw);
}

export default { render };
