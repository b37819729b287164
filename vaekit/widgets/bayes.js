// A cause z ~ N(0, 1) observed as x = z + s ε: prior, likelihood, posterior and evidence.
// The formulas are those of chapter 4 with w = 1 and b = 0.

/** The density of N(mu, sigma²) at x. */
export function density(x, mu, sigma) {
  return Math.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * Math.sqrt(2 * Math.PI));
}

/** Mean and standard deviation of p(z|x). */
export function posterior(x, s) {
  return [x / (1 + s ** 2), s / Math.sqrt(1 + s ** 2)];
}

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
const BIG_STEP = 10;
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

/** The smallest of 0.01, 0.02, 0.05, 0.1, … that holds the value: an axis changes in steps. */
function ceilingOf(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}

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

  function change(settings) {
    for (const [name, value] of Object.entries(settings)) model.set(name, value);
    model.save_changes();
    draw();
  }

  for (const [label, [x, s]] of Object.entries(PRESETS)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.onclick = () => change({ x, s });
    find(".vk-presets").append(button);
  }

  function makeSlider(name, label, shape) {
    const [low, high] = model.get(`${name}_limits`);
    const handle = makeHandle("vk-p", {
      "data-name": name, "aria-label": label, "aria-valuemin": low, "aria-valuemax": high,
    }, svg("rect", { class: "vk-touch", x: -15, y: -17, width: 30, height: 34, rx: 6 }), shape);
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
  const handles = {
    x: makeSlider("x", "observation x", svg("circle", { r: 8 })),
    s: makeSlider("s", "standard deviation s of the noise",
      svg("path", { d: "M-11 0l6-5v3.5h10v-3.5l6 5l-6 5v-3.5h-10v3.5z" })),
  };
  const plot = svg("g");
  densities.append(plot, ...Object.values(handles));

  /** Both axes: ticks of the vertical one are [height, label]. */
  function drawAxes(parent, ticks, bottom) {
    for (const [height, label] of ticks) {
      parent.append(
        line("grid", LEFT, height, right(), height),
        write("tick", label, LEFT - 6, height + 4, "end"));
    }
    for (let v = -6; v <= 6; v += width < 500 ? 3 : 2) {
      parent.append(
        line("axis", px(v), bottom, px(v), bottom + 4),
        write("tick", fixed(v, 0), px(v), bottom + 17, "middle"));
    }
    parent.append(
      line("axis", LEFT, bottom, right(), bottom),
      write("label", "z", right(), bottom + 32, "end"));
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
    const top = ceilingOf(1 / (sd * Math.sqrt(2 * Math.PI)));
    const { top: high, bottom } = CURVES;
    const y = (f) => bottom - (f / top) * (bottom - high);
    const digits = top < 1 ? 2 : 1;
    drawAxes(plot, [0, top / 2, top].map((v) => [y(v), v && fixed(v, digits)]), BOTTOM);
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
    const top = ceilingOf(density(0, 0, 1) * density(0, 0, s));
    const y = (f) => AREA.bottom - (f / top) * (AREA.bottom - AREA.top);
    const digits = top < 0.1 ? 3 : 2;
    drawAxes(area, [0, top / 2, top].map((v) => [y(v), v && fixed(v, digits)]), AREA.bottom);
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
    for (const [name, value] of [["x", x], ["s", s]]) {
      handles[name].setAttribute("aria-valuenow", value);
      handles[name].setAttribute("aria-valuetext", fixed(value, 2));
    }
    const p = evidence(x, s);
    find(".vk-sentence").innerHTML =
      `<span class="vk-key"><i class="vk-box vk-positive"></i>The area is the evidence,</span>
       p(x) = <output data-value="evidence">${fixed(p, 4)}</output>. Divided by it, the product
       becomes the posterior. Precisions add:
       1 + ${fixed(1 / s ** 2, 2)} = ${fixed(1 + 1 / s ** 2, 2)}.`;
    area.setAttribute("aria-label",
      `Prior times likelihood; its area, the evidence, is ${fixed(p, 4)}`);
  }

  const events = ["change:x", "change:s"];
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
