// EM with one unknown: half of the data come from N(known, sd²), half from N(mu, sd²).
// Log-likelihood and bound are curves over mu; the formulas are those of chapter 5, in nats.

/** ln p(x, z) for z = the known cause and z = the one with mean mu. */
export function logJoint(x, mu, known, sd) {
  return [known, mu].map(
    (mean) => Math.log(0.5) - 0.5 * ((x - mean) / sd) ** 2 - Math.log(sd * Math.sqrt(2 * Math.PI)));
}

/** ln (e^a + e^b), where neither may overflow. */
function logSum(a, b) {
  return Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));
}

/** The posterior's logarithms, [ln q(known), ln q(unknown)], of one x: the E-step. */
export function logPosterior(x, mu, known, sd) {
  const [a, b] = logJoint(x, mu, known, sd);
  const evidence = logSum(a, b);
  return [a - evidence, b - evidence];
}

/**
 * Means over the data, at mu, with q the posteriors at muQ: the log-likelihood, the bound, and the
 * divergence of q from the posterior at mu, each by its own definition.
 */
export function heights(data, mu, muQ, known, sd) {
  let likelihood = 0;
  let bound = 0;
  let divergence = 0;
  for (const x of data) {
    const joint = logJoint(x, mu, known, sd);
    const exact = logPosterior(x, mu, known, sd);
    likelihood += logSum(...joint) / data.length;
    logPosterior(x, muQ, known, sd).forEach((logQ, z) => {
      bound += (Math.exp(logQ) * (joint[z] - logQ)) / data.length;
      divergence += (Math.exp(logQ) * (logQ - exact[z])) / data.length;
    });
  }
  return { likelihood, bound, divergence };
}

/** The mu that maximises the bound: the mean of the data, weighted with q. */
export function mStep(data, muQ, known, sd) {
  let total = 0;
  let weight = 0;
  for (const x of data) {
    const q = Math.exp(logPosterior(x, muQ, known, sd)[1]);
    total += q * x;
    weight += q;
  }
  return total / weight;
}

const GRID = 20; // an arrow key moves by 1/20 = 0.05, with Shift by ten times that
const BIN = 0.2;

// The drawing, in pixels.
const LEFT = 46;
const RIGHT = 12;
const BARS = { top: 24, bottom: 120 };
const CURVES = { top: 24, bottom: 214 };
const LANE = 246; // where the handle runs
const UNDER = 34;

const BOUND = "stroke: var(--vk-green); stroke-width: 2.5; stroke-dasharray: 8 4";
const GAP = "stroke: var(--vk-pink); stroke-width: 5; stroke-opacity: 0.8";

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // a page may hold several widgets
  const find = frame(el, "EM with one unknown mean", "vk-em", `
    <div class="vk-row">
      <span class="vk-key"><i class="vk-line" style="border-top: 3px solid"></i>log-likelihood</span>
      <span class="vk-key"><i class="vk-line" style="border-top: 3px dashed var(--vk-green)"></i>bound</span>
      <span class="vk-row vk-presets" role="group" aria-label="Steps"></span>
    </div>
    <svg class="vk-curves" role="group" aria-label="Log-likelihood and bound over μ, with a handle"></svg>
    <p class="vk-sentence" aria-live="polite"></p>
    <svg class="vk-bars" role="img"></svg>
    <p class="vk-hint">Bars: who is held responsible for each flower,
      <span class="vk-key"><i class="vk-box" style="background:
        color-mix(in srgb, var(--vk-blue) 50%, transparent)"></i>the known cause</span> or
      <span class="vk-key"><i class="vk-box" style="background:
        repeating-linear-gradient(-45deg, var(--vk-orange) 0 2px, transparent 2px 5px)"></i>the
        unknown one</span>. Drag <b>●</b> to change μ; or press Tab, then the arrow keys.</p>`);
  const curves = find(".vk-curves");
  const bars = find(".vk-bars");
  const data = model.get("data");
  const known = model.get("known");
  const sd = model.get("sd");
  const [low, high] = model.get("limits");
  const first = { mu: model.get("mu"), mu_q: model.get("mu_q") };
  let width = 640;
  const right = () => width - RIGHT;
  const unit = () => (right() - LEFT) / (high - low);
  const px = (value) => LEFT + (value - low) * unit();
  const at = (mu, muQ = model.get("mu_q")) => heights(data, mu, muQ, known, sd);

  const change = setter(model, draw);
  const eStep = () => ({ mu_q: model.get("mu") });
  const clamp = (value) => Math.min(high, Math.max(low, value));
  const goUp = (muQ) => ({ mu_q: muQ, mu: clamp(mStep(data, muQ, known, sd)) });
  const turns = {
    "E-step": () => change(eStep()),
    "M-step": () => change(goUp(model.get("mu_q"))),
    "20 turns": () => {
      for (let turn = 0; turn < 20; turn++) change(goUp(model.get("mu")));
      change(eStep());
    },
    "start anew": () => change(first),
  };
  addButtons(find(".vk-presets"), turns, (act) => act());

  const handle = makeSlider(
    curves, "vk-q", { "data-name": "mu", "aria-label": "unknown mean μ in centimetres" },
    knobs.dot(), {
      limits: [low, high], grid: GRID, leap: 0.5, unit,
      value: () => model.get("mu"), move: (mu) => change({ mu }),
    });
  const plot = svg("g");
  curves.append(plot, handle);

  // The log-likelihood does not change, so its range is measured once.
  const everywhere = [];
  for (let i = 0; i <= 180; i++) everywhere.push(at(low + ((high - low) * i) / 180, known).likelihood);
  const top = Math.max(...everywhere) + 0.25;
  const floor = Math.min(...everywhere) - 0.5;

  function axes(parent, ticks, bottom, label) {
    const marks = [];
    for (let v = Math.ceil(low); v <= high; v++) marks.push([px(v), fixed(v, 0)]);
    drawAxes(parent, LEFT, right(), bottom, ticks, marks, label);
  }

  function drawCurves() {
    plot.replaceChildren();
    const y = (v) => CURVES.bottom - ((v - floor) / (top - floor)) * (CURVES.bottom - CURVES.top);
    const clip = svg("clipPath", { id: `${id}-clip` });
    clip.append(svg("rect", {
      x: LEFT, y: CURVES.top - 4, width: right() - LEFT, height: CURVES.bottom - CURVES.top + 4,
    }));
    plot.append(clip, write("label", "nats per flower", 4, 12));
    const ticks = [];
    for (let v = Math.ceil(floor); v <= top; v++) ticks.push([y(v), fixed(v, 0)]);
    axes(plot, ticks, CURVES.bottom + 52, "μ (cm)");
    const points = { likelihood: [], bound: [] };
    for (let p = LEFT; p <= right(); p += 3) {
      const here = at(low + (p - LEFT) / unit());
      for (const [name, list] of Object.entries(points)) list.push(`${p} ${y(here[name]).toFixed(2)}`);
    }
    const mu = model.get("mu");
    const { likelihood, bound } = at(mu);
    const inside = svg("g", { "clip-path": `url(#${id}-clip)` });
    inside.append(
      svg("path", { class: "vk-curve", style: "stroke-width: 2.5", d: `M${points.likelihood.join("L")}` }),
      svg("path", { class: "vk-curve vk-bound", style: BOUND, d: `M${points.bound.join("L")}` }),
      svg("line", {
        class: "vk-gap", style: GAP, x1: px(mu), x2: px(mu), y1: y(likelihood), y2: y(bound),
      }),
      svg("circle", { r: 5, cx: px(mu), cy: y(likelihood), fill: "currentColor" }),
      svg("circle", { r: 5, cx: px(mu), cy: y(bound), style: "fill: var(--vk-green)" }));
    plot.append(inside, line("crossing", px(mu), CURVES.top, px(mu), LANE - 10));
    const [above, below] = [y(likelihood), Math.min(y(bound), CURVES.bottom)];
    if (below - above > 18) {
      const left = px(mu) > LEFT + 50;
      plot.append(write("label", "gap", px(mu) + (left ? -9 : 9), (above + below) / 2 + 5,
        left ? "end" : "start"));
    }
    plot.append(write("label", "μ", LEFT - 6, LANE + 5, "end"));
    handle.setAttribute("transform", `translate(${px(mu)} ${LANE})`);
  }

  function drawBars() {
    bars.replaceChildren();
    const hatch = svg("pattern", {
      id: `${id}-hatch`, width: 5, height: 5,
      patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
    });
    hatch.append(svg("line", {
      x1: 0, y1: 0, x2: 0, y2: 5, style: "stroke: var(--vk-orange); stroke-width: 4",
    }));
    bars.append(hatch, write("label", "flowers", 4, 12));
    const bins = new Map();
    for (const x of data) {
      const bin = Math.floor(x / BIN + 1e-9);
      const [count, unknown] = bins.get(bin) ?? [0, 0];
      const q = Math.exp(logPosterior(x, model.get("mu_q"), known, sd)[1]);
      bins.set(bin, [count + 1, unknown + q]);
    }
    const tallest = Math.max(...[...bins.values()].map(([count]) => count));
    const y = (v) => BARS.bottom - (v / tallest) * (BARS.bottom - BARS.top);
    for (const [bin, [count, unknown]] of bins) {
      const box = { x: px(bin * BIN + 0.02), width: Math.max(1, (BIN - 0.04) * unit()) };
      bars.append(
        svg("rect", {
          ...box, y: y(count), height: y(unknown) - y(count),
          style: "fill: var(--vk-blue); fill-opacity: 0.5",
        }),
        svg("rect", {
          ...box, y: y(unknown), height: BARS.bottom - y(unknown), fill: `url(#${id}-hatch)`,
        }));
    }
    axes(bars, [], BARS.bottom, "petal length (cm)");
  }

  function draw() {
    curves.setAttribute("viewBox", `0 0 ${width} ${CURVES.bottom + 52 + UNDER}`);
    bars.setAttribute("viewBox", `0 0 ${width} ${BARS.bottom + UNDER}`);
    drawCurves();
    drawBars();
    const [mu, muQ] = [model.get("mu"), model.get("mu_q")];
    announce(handle, mu, fixed(mu, 2));
    const here = at(mu);
    // Rounded together, so that the sum on the page adds up.
    const total = fixed(here.likelihood, 4);
    const gap = fixed(here.divergence, 4);
    const bound = fixed(Math.round(here.likelihood * 1e4) / 1e4 - Number(gap), 4);
    const peak = clamp(mStep(data, muQ, known, sd));
    const next = Math.abs(peak - mu) < 0.005
      ? "μ stands at the peak of the bound"
      : `the bound is highest at μ = ${fixed(peak, 2)}`;
    const then = Number(gap) === 0
      ? "The bound touches the log-likelihood"
      : "An E-step would close the gap";
    find(".vk-sentence").textContent =
      `At μ = ${fixed(mu, 2)}: log-likelihood ${total} = bound ${bound} + divergence ${gap} `
      + `nats per flower. ${then}; ${next}.`;
    bars.setAttribute("aria-label",
      `Histogram of the petal lengths, shared out by responsibilities at μ = ${fixed(muQ, 2)}`);
  }

  return live(model, el, ["mu", "mu_q"], curves, (wide) => { width = wide; }, draw);
}

export default { render };
