// A cause z ~ N(0, 1) observed as x = z + s ε: prior, likelihood, posterior and evidence.
// The formulas are those of chapter 4 with w = 1 and b = 0.

/** p(x): the density of N(0, 1 + s²). */
export function evidence(x, s) {
  return density(x, 0, Math.sqrt(1 + s ** 2));
}

/** Prior times likelihood, p(z) p(x|z), whose integral over z is the evidence. */
export function product(z, x, s) {
  return density(z, 0, 1) * density(x, z, s);
}

const PRESETS = {
  "as expected": [0.5, 1],
  "sharp": [1.5, 0.3],
  "noisy": [1.5, 3],
  "surprise": [4, 0.5],
};
const STEPS_PER_UNIT = 20; // what a drag or an arrow key can reach: multiples of 0.05
const Z_MAX = 7;

// The drawing, in pixels.
const LEFT = 46;
const RIGHT = 10;
const UNDER = 36; // tick labels and the axis' name
const CURVES = { top: 24, bottom: 164 };
const LANE = 186;
const BOTTOM = 208;
const AREA = { top: 26, bottom: 126 };

// Dash and colour of each curve, in the picture and in the legend.
const LOOKS = {
  prior: ["var(--vk-orange)", "8 4", "dashed"],
  likelihood: ["var(--vk-pink)", "2 4", "dotted"],
  posterior: ["var(--vk-blue)", "none", "solid"],
};

function render({ model, el }) {
  const key = (name) => `<span class="vk-key"><i class="vk-line"
    style="border-top: 3px ${LOOKS[name][2]} ${LOOKS[name][0]}"></i>${name}
    <span data-legend="${name}"></span></span>`;
  const find = frame(el, "Prior, likelihood and posterior", "", `
    <div class="vk-row">${Object.keys(LOOKS).map(key).join("")}
      <span class="vk-row vk-presets" role="group" aria-label="Examples"></span>
    </div>
    <svg class="vk-densities" role="group"
      aria-label="Prior, likelihood and posterior over z, with handles"></svg>
    <p class="vk-hint">The bar spans x ± s. Drag <b>●</b> to move the observation x, <b>↔</b> to
      change the noise s; or press Tab, then the arrow keys.</p>
    <svg class="vk-area" role="img"></svg>
    <p class="vk-sentence"></p>`);
  const densities = find(".vk-densities");
  const area = find(".vk-area");
  let width = 640;
  const right = () => width - RIGHT;
  const unit = () => (right() - LEFT) / (2 * Z_MAX);
  const px = (value) => LEFT + (value + Z_MAX) * unit();

  const change = setter(model, draw);

  addButtons(find(".vk-presets"), PRESETS, ([x, s]) => change({ x, s }));

  const sliderOf = (name, label, shape) =>
    makeSlider(densities, "vk-p", { "data-name": name, "aria-label": label }, shape, {
      limits: model.get(`${name}_limits`), grid: STEPS_PER_UNIT, leap: 0.5, unit,
      value: () => model.get(name), move: (value) => change({ [name]: value }),
    });
  // Handles live as long as the widget, so that focus and a drag survive every redraw.
  const handles = {
    x: sliderOf("x", "observation x", knobs.dot()),
    s: sliderOf("s", "standard deviation s of the noise", knobs.arrows()),
  };
  const plot = svg("g");
  densities.append(plot, ...Object.values(handles));

  function axes(parent, ticks, bottom) {
    const marks = [];
    for (let v = -6; v <= 6; v += width < 500 ? 3 : 2) marks.push([px(v), fixed(v, 0)]);
    drawAxes(parent, LEFT, right(), bottom, ticks, marks, "z");
  }

  /** The path of a curve over the picture's width, one point every two pixels. */
  function path(f, y) {
    const points = [];
    for (let at = LEFT; at <= right(); at += 2) {
      points.push(`${at} ${y(f((at - LEFT) / unit() - Z_MAX)).toFixed(2)}`);
    }
    return `M${points.join("L")}`;
  }

  function drawDensities(x, s, mean, sd) {
    plot.replaceChildren();
    const top = roundUp(1 / (sd * Math.sqrt(2 * Math.PI)));
    const { top: high, bottom } = CURVES;
    const y = (f) => bottom - (f / top) * (bottom - high);
    const digits = top < 1 ? 2 : 1;
    axes(plot, [0, top / 2, top].map((v) => [y(v), v && fixed(v, digits)]), BOTTOM);
    const curves = {
      prior: (z) => density(z, 0, 1),
      likelihood: (z) => density(x, z, s),
      posterior: (z) => density(z, mean, sd),
    };
    for (const [name, f] of Object.entries(curves)) {
      const [stroke, dash] = LOOKS[name];
      plot.append(svg("path", {
        class: "vk-curve", d: path(f, y),
        style: `stroke: ${stroke}; stroke-width: 2.5; stroke-dasharray: ${dash}`,
      }));
    }
    plot.append(
      write("label", "value at z", 4, 12),
      svg("path", { class: "vk-span", d: `M${px(x - s)} ${LANE}H${px(x + s)}` }),
      write("label", "x", LEFT - 6, LANE + 5, "end"));
    // The noise's handle stands at the bar's end, and never outside the picture.
    const end = Math.min(px(x + s) + 16, right() - 12);
    handles.x.setAttribute("transform", `translate(${px(x)} ${LANE})`);
    handles.s.setAttribute("transform", `translate(${end} ${LANE})`);
  }

  function drawArea(x, s) {
    area.replaceChildren();
    // The scale follows the noise alone: drag x, and areas compare.
    const top = roundUp(density(0, 0, 1) * density(0, 0, s));
    const y = (f) => AREA.bottom - (f / top) * (AREA.bottom - AREA.top);
    const digits = top < 0.1 ? 3 : 2;
    axes(area, [0, top / 2, top].map((v) => [y(v), v && fixed(v, digits)]), AREA.bottom);
    const d = path((z) => product(z, x, s), y);
    area.append(
      write("label", "prior × likelihood: p(z) p(x|z)", 4, 12),
      svg("path", { class: "vk-positive", d: `${d}V${AREA.bottom}H${LEFT}Z` }),
      svg("path", { class: "vk-curve", d }));
  }

  function draw() {
    const [x, s] = [model.get("x"), model.get("s")];
    const [mean, sd] = posterior(x, s);
    densities.setAttribute("viewBox", `0 0 ${width} ${BOTTOM + UNDER}`);
    area.setAttribute("viewBox", `0 0 ${width} ${AREA.bottom + UNDER}`);
    drawDensities(x, s, mean, sd);
    drawArea(x, s);

    find("[data-legend=prior]").textContent = "N(0, 1)";
    find("[data-legend=likelihood]").textContent = `x = ${fixed(x, 2)}, s = ${fixed(s, 2)}`;
    find("[data-legend=posterior]").textContent = `N(${fixed(mean, 2)}, ${fixed(sd, 2)}²)`;
    announce(handles.x, x, fixed(x, 2));
    announce(handles.s, s, fixed(s, 2));
    const p = evidence(x, s);
    find(".vk-sentence").innerHTML =
      `<span class="vk-key"><i class="vk-box vk-positive"></i>The area is the evidence,</span>
       p(x) = <output data-value="evidence">${fixed(p, 4)}</output>. Divided by it, the product
       becomes the posterior. Precisions add:
       1 + ${fixed(1 / s ** 2, 2)} = ${fixed(1 + 1 / s ** 2, 2)}.`;
    area.setAttribute("aria-label",
      `Prior times likelihood; its area, the evidence, is ${fixed(p, 4)}`);
  }

  return live(model, el, ["x", "s"], densities, (wide) => { width = wide; }, draw);
}

export default { render };
