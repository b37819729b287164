// A guess q = N(μ, σ²) against the posterior of a small model; ln p(x) = ELBO + gap as bars.
// The model is p(z) = N(0, 1), p(x|z) = N(z, s²). The formulas are those of chapter 6; in nats.

/** All the numbers of the widget. The gap is a divergence of its own, no difference of the others. */
export function pieces(mu, sigma, x, s) {
  const fit = logDensity(x, mu, s) - sigma ** 2 / (2 * s ** 2);
  const kl = klGaussian(mu, sigma, 0, 1);
  return {
    evidence: logDensity(x, 0, Math.sqrt(1 + s ** 2)),
    elbo: fit - kl,
    gap: klGaussian(mu, sigma, ...posterior(x, s)),
    fit,
    kl,
  };
}

const STEPS_PER_UNIT = 20; // what a drag or an arrow key can reach: multiples of 0.05
const Z_MAX = 4;

// The drawing, in pixels.
const LEFT = 46;
const RIGHT = 14;
const DENSITY = { top: 24, bottom: 164 };
const LANE = 186;
const BOTTOM = 210;
const UNDER = 36; // tick labels and the axis' name
const ROW = 40; // a bar with its name above it

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // a page may hold several widgets
  const find = frame(el, "The evidence as ELBO and gap", "", `
    <div class="vk-row">
      <span class="vk-key"><i class="vk-line vk-p"></i><span data-legend="q"></span></span>
      <span class="vk-key"><i class="vk-line vk-q"></i>prior</span>
      <span class="vk-key"><i class="vk-line" style="border-color: currentColor"></i>posterior</span>
      <span class="vk-row vk-presets" role="group" aria-label="Guesses"></span>
    </div>
    <svg class="vk-densities" role="group" aria-label="Guess, prior and posterior, with handles"></svg>
    <p class="vk-hint">The bar spans μ ± σ of the guess. Drag <b>●</b> to move μ, <b>↔</b> to change
      σ; or press Tab, then the arrow keys.</p>
    <svg class="vk-bars" role="img"></svg>
    <p class="vk-sentence"></p>`);
  const densities = find(".vk-densities");
  const bars = find(".vk-bars");
  const [x, s] = [model.get("x"), model.get("s")];
  const [center, spread] = posterior(x, s);
  let width = 640;
  const right = () => width - RIGHT;
  const unit = () => (right() - LEFT) / (2 * Z_MAX);
  const at = (z) => LEFT + (z + Z_MAX) * unit();

  const change = setter(model, draw);

  const presets = {
    "the prior": [0, 1],
    "too narrow": [center, 0.2],
    "too wide": [center, 1.5],
    "off": [-1, spread],
    "the posterior": [center, spread],
  };
  addButtons(find(".vk-presets"), presets, ([mu, sigma]) => change({ mu, sigma }));

  const sliderOf = (name, said, shape) => makeSlider(
    densities, "vk-p", { "data-name": name, "aria-label": `${said} of the guess` }, shape, {
      limits: model.get(`${name}_limits`), grid: STEPS_PER_UNIT, leap: 0.5, unit,
      value: () => model.get(name), move: (value) => change({ [name]: value }),
    });
  // Handles live as long as the widget, so that focus and a drag survive every redraw.
  const handles = {
    mu: sliderOf("mu", "mean", knobs.dot()),
    sigma: sliderOf("sigma", "standard deviation", knobs.arrows()),
  };
  const plot = svg("g");
  densities.append(plot, ...Object.values(handles));

  function curve(kind, mu, sigma, y) {
    const points = [];
    for (let px = LEFT; px <= right(); px += 2) {
      const z = (px - LEFT) / unit() - Z_MAX;
      points.push(`${px} ${y(Math.exp(logDensity(z, mu, sigma))).toFixed(2)}`);
    }
    return svg("path", { class: `vk-curve ${kind}`, d: `M${points.join("L")}` });
  }

  function drawDensities(mu, sigma) {
    plot.replaceChildren();
    const peak = 1 / (sigma * Math.sqrt(2 * Math.PI));
    const top = roundUp(Math.max(1, peak));
    const y = (f) => DENSITY.bottom - (f / top) * (DENSITY.bottom - DENSITY.top);
    const marks = [];
    for (let z = -Z_MAX; z <= Z_MAX; z += 2) marks.push([at(z), fixed(z, 0)]);
    const ticks = [0, top / 2, top].map((v) => [y(v), v && fixed(v, 1)]);
    drawAxes(plot, LEFT, right(), BOTTOM, ticks, marks, "z");
    const end = at(mu + sigma);
    plot.append(
      line("axis", LEFT, DENSITY.bottom, right(), DENSITY.bottom),
      write("label", "density", 4, 12),
      curve("vk-q", 0, 1, y),
      curve("", center, spread, y),
      curve("vk-p", mu, sigma, y),
      svg("path", {
        class: "vk-span vk-p", d: `M${at(mu - sigma)} ${LANE - 6}v12m0-6H${end}m0-6v12`,
      }),
      write("label", "q", LEFT - 6, LANE + 5, "end"));
    handles.mu.setAttribute("transform", `translate(${at(mu)} ${LANE})`);
    handles.sigma.setAttribute("transform", `translate(${end + 16} ${LANE})`);
  }

  function drawBars(numbers, texts) {
    bars.replaceChildren();
    const { evidence, elbo, fit } = numbers;
    const low = -roundUp(Math.max(1, -Math.min(elbo, fit, evidence)));
    const px = (nats) => LEFT + (1 - nats / low) * (right() - LEFT);
    const rows = [
      [`ln p(x) = ${texts.evidence}`, 0, evidence, "plain"],
      [`ELBO = ${texts.elbo}`, 0, elbo, "green"],
      [`+ KL(q‖posterior) = ${texts.gap}`, elbo, evidence, "hatched"],
      [`E[ln p(x|z)] = ${texts.fit}`, 0, fit, "green"],
      [`− KL(q‖prior) = −${texts.kl}`, fit, elbo, "orange"],
    ];
    const bottom = rows.length * ROW + 22;
    bars.setAttribute("viewBox", `0 0 ${width} ${bottom + UNDER}`);
    bars.append(hatching(`${id}-hatch`));
    rows.forEach(([name, from, to, kind], i) => {
      const top = i * ROW + (i > 2 ? 18 : 4); // the ELBO's own two terms stand apart
      const [a, b] = [Math.min(px(from), px(to)), Math.max(px(from), px(to))];
      const looks = {
        plain: { fill: "currentColor", "fill-opacity": 0.45 },
        green: { class: "vk-positive" },
        hatched: { class: "vk-negative", fill: `url(#${id}-hatch)`, stroke: "currentColor" },
        orange: { fill: "var(--vk-orange)", "fill-opacity": 0.7 },
      };
      bars.append(
        write("label", name, LEFT, top + 12),
        ...[evidence, elbo].map((nats) => line("crossing", px(nats), top + 15, px(nats), top + 34)),
        svg("path", { ...looks[kind], "data-bar": i, d: `M${a} ${top + 17}H${b}v12H${a}z` }));
    });
    const digits = low === -1 || low === -5 ? 1 : 0;
    const marks = [low, low / 2, 0].map((nats) => [px(nats), fixed(nats, digits)]);
    drawAxes(bars, LEFT, right(), bottom, [], marks, "nats");
  }

  function draw() {
    const [mu, sigma] = [model.get("mu"), model.get("sigma")];
    const numbers = pieces(mu, sigma, x, s);
    // Rounded together, so that the sums on the page add up.
    const evidence = fixed(numbers.evidence, 3);
    const gap = fixed(numbers.gap, 3);
    const kl = fixed(numbers.kl, 3);
    const value = (text) => Number(text.replace("−", "-"));
    const elbo = fixed(value(evidence) - value(gap), 3);
    const fit = fixed(value(elbo) + value(kl), 3);
    densities.setAttribute("viewBox", `0 0 ${width} ${BOTTOM + UNDER}`);
    drawDensities(mu, sigma);
    drawBars(numbers, { evidence, gap, elbo, fit, kl });
    find("[data-legend=q]").textContent = `guess q = N(${fixed(mu, 2)}, ${fixed(sigma, 2)}²)`;
    announce(handles.mu, mu, fixed(mu, 2));
    announce(handles.sigma, sigma, fixed(sigma, 2));
    const same = numbers.gap < 1e-12;
    const sentence = `ln p(x) = ELBO + KL(q‖posterior): ${evidence} = ${elbo} + ${gap} nats.`;
    find(".vk-sentence").textContent = same
      ? `${sentence} The guess is the posterior: the gap is closed.`
      : `${sentence} ln p(x) stays where it is; a better guess moves nats from the gap to the ELBO.`;
    bars.setAttribute("aria-label", sentence);
  }

  return live(model, el, ["mu", "sigma"], densities, (wide) => { width = wide; }, draw);
}

export default { render };
