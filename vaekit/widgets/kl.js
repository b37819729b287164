// Two Gaussians p and q, and KL(p‖q) or KL(q‖p) as the area under its integrand.
// The formulas are those of chapter 3; values are in nats.

/** ln N(x; mu, sigma²). */
export function logDensity(x, mu, sigma) {
  return -0.5 * ((x - mu) / sigma) ** 2 - Math.log(sigma) - 0.5 * Math.log(2 * Math.PI);
}

/** KL(N(muP, sigmaP²) ‖ N(muQ, sigmaQ²)), closed form. */
export function klGaussian(muP, sigmaP, muQ, sigmaQ) {
  return Math.log(sigmaQ / sigmaP) + (sigmaP ** 2 + (muP - muQ) ** 2) / (2 * sigmaQ ** 2) - 0.5;
}

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
const BIG_STEP = 10;
const X_MAX = 8;

// The drawing, in pixels.
const LEFT = 46;
const RIGHT = 10;
const UNDER = 36; // tick labels and the axis' name
const DENSITY = { top: 24, bottom: 154 };
const LANES = { p: 172, q: 206, bottom: 240 };
const AREA = { top: 26, zero: 138.5, bottom: 176 };

/** The smallest of 0.5, 1, 2, 5, 10, … that holds the value: an axis changes in steps. */
function niceCeiling(value) {
  if (value <= 0.5) return 0.5;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}

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

  function change(settings) {
    for (const [name, value] of Object.entries(settings)) model.set(name, value);
    model.save_changes();
    draw();
  }

  for (const [label, settings] of Object.entries(PRESETS)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.onclick = () => change(Object.fromEntries(NAMES.map((name, i) => [name, settings[i]])));
    find(".vk-presets").append(button);
  }
  for (const radio of el.querySelectorAll("input")) {
    radio.onchange = () => change({ direction: radio.value });
  }

  function makeSlider(name) {
    const [parameter, which] = name.split("_");
    const [low, high] = model.get(`${parameter}_limits`);
    const handle = makeHandle(`vk-${which}`, {
      "data-name": name,
      "aria-label": `${parameter === "mu" ? "mean" : "standard deviation"} of ${which}`,
      "aria-valuemin": low, "aria-valuemax": high,
    },
    svg("rect", { class: "vk-touch", x: -15, y: -17, width: 30, height: 34, rx: 6 }),
    parameter === "mu"
      ? svg("circle", { r: 8 })
      : svg("path", { d: "M-11 0l6-5v3.5h10v-3.5l6 5l-6 5v-3.5h-10v3.5z" }));

    function move(value) {
      const grid = Math.round(Math.min(high, Math.max(low, value)) * STEPS_PER_UNIT);
      change({ [name]: grid / STEPS_PER_UNIT });
    }
    steps(handle, (event) => {
      const value = model.get(name);
      const big = BIG_STEP / STEPS_PER_UNIT;
      const step = event.shiftKey ? big : 1 / STEPS_PER_UNIT;
      return {
        ArrowRight: value + step, ArrowUp: value + step, PageUp: value + big, End: high,
        ArrowLeft: value - step, ArrowDown: value - step, PageDown: value - big, Home: low,
      };
    }, move);
    drags(handle, handle, (event) => {
      // Screen pixels, which differ from the drawing's own where the page is scaled.
      const scale = unit() * (densities.getBoundingClientRect().width / width);
      const start = model.get(name) - event.clientX / scale;
      return (e) => move(start + e.clientX / scale);
    });
    return handle;
  }
  // Handles live as long as the widget, so that focus and a drag survive every redraw.
  const handles = Object.fromEntries(NAMES.map((name) => [name, makeSlider(name)]));
  const plot = svg("g");
  densities.append(plot, ...Object.values(handles));

  /** Both axes: ticks of the vertical one are [height, label]. */
  function drawAxes(parent, ticks, bottom) {
    for (const [height, label] of ticks) {
      parent.append(
        line("grid", LEFT, height, right(), height),
        write("tick", label, LEFT - 6, height + 4, "end"));
    }
    const spacing = width < 500 ? 4 : 2;
    for (let v = -X_MAX; v <= X_MAX; v += spacing) {
      parent.append(
        line("axis", x(v), bottom, x(v), bottom + 4),
        write("tick", fixed(v, 0), x(v), bottom + 17, "middle"));
    }
    parent.append(
      line("axis", LEFT, bottom, right(), bottom),
      write("label", "x", right(), bottom + 32, "end"));
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
    const top = niceCeiling(1 / (narrowest * Math.sqrt(2 * Math.PI)));
    const y = (f) => DENSITY.bottom - (f / top) * (DENSITY.bottom - DENSITY.top);
    drawAxes(plot, [0, top / 2, top].map((v) => [y(v), v && fixed(v, 2)]), LANES.bottom);
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
    const top = niceCeiling(Math.max(high, -3 * low));
    const y = (f) => AREA.zero - (f / top) * (AREA.zero - AREA.top);
    const digits = top < 2 ? 2 : top < 10 ? 1 : 0;
    const hatch = svg("pattern", {
      id: `${id}-hatch`, width: 6, height: 6,
      patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
    });
    hatch.append(line("hatch", 0, 0, 0, 6));
    area.append(hatch);
    drawAxes(area, [0, top / 2, top].map((v) => [y(v), v && fixed(v, digits)]), AREA.bottom);
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
    for (const name of NAMES) {
      handles[name].setAttribute("aria-valuenow", model.get(name));
      handles[name].setAttribute("aria-valuetext", fixed(model.get(name), 2));
    }
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

  const events = [...NAMES, "direction"].map((name) => `change:${name}`);
  for (const event of events) model.on(event, draw);
  keepKeys(el);
  draw();
  const unfollow = followWidth(densities, (wide) => {
    width = Math.max(280, wide);
    draw();
  });
  return () => {
    unfollow();
    for (const event of events) model.off(event, draw);
  };
}

export default { render };
