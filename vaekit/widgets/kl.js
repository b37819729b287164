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

/** The areas above and below zero of that integrand, [positive, negative], by the trapezoid rule. */
export function areas(muP, sigmaP, muQ, sigmaQ) {
  // Twelve σ of p on each side: beyond, p is below 1e-31 of its peak.
  const n = 4000;
  const h = (24 * sigmaP) / n;
  let positive = 0;
  let negative = 0;
  for (let i = 0; i <= n; i++) {
    const f = integrand(muP - 12 * sigmaP + i * h, muP, sigmaP, muQ, sigmaQ);
    if (f > 0) positive += f * h;
    else negative -= f * h;
  }
  return [positive, negative];
}

/** A number with a true minus sign and never a "−0". */
export function fixed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

const PRESETS = {
  "p = q": [0, 1, 0, 1],
  "q wide": [0, 1, 1, 2],
  "q narrow": [0, 1, 0, 0.5],
  "far apart": [-2, 1, 2, 1],
};
const NAMES = ["mu_p", "sigma_p", "mu_q", "sigma_q"];
const STEP = 0.05;
const X_MAX = 8;
const LEFT = 46;
const RIGHT = 10;
const DENSITY = { top: 24, height: 130 };
const LANES = { top: 172, height: 34 };
const TICKS_TOP = LANES.top + 2 * LANES.height;
const AREA = { top: 26, height: 150 };

function svg(tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

/** The smallest of 0.5, 1, 2, 5, 10, … that holds the value: axes change in steps, not with every drag. */
function niceCeiling(value) {
  if (value <= 0.5) return 0.5;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // pages may hold several widgets
  el.innerHTML = `
    <div class="vk-widget" role="group" aria-label="KL divergence of two Gaussians">
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
        Areas count the whole line, also beyond the picture.</p>
    </div>`;
  const find = (selector) => el.querySelector(selector);
  const densities = find(".vk-densities");
  const area = find(".vk-area");
  let width = 640;
  let x = (value) => value;

  const limits = (name) => model.get(name.startsWith("mu") ? "mu_limits" : "sigma_limits");
  const values = () => NAMES.map((name) => model.get(name));

  function change(settings) {
    for (const [name, value] of Object.entries(settings)) model.set(name, value);
    model.save_changes();
    draw();
  }

  function move(name, value) {
    const [low, high] = limits(name);
    const onGrid = Math.round(Math.min(high, Math.max(low, value)) / STEP) / Math.round(1 / STEP);
    if (onGrid !== model.get(name)) change({ [name]: onGrid });
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

  // The handles live as long as the widget, so that focus and a drag survive every redraw.
  const handles = Object.fromEntries(NAMES.map((name) => {
    const [kind, which] = name.split("_");
    const handle = svg("g", { class: `vk-handle vk-${which}`, role: "slider", tabindex: 0, "data-name": name });
    handle.setAttribute("aria-label", `${kind === "mu" ? "mean" : "standard deviation"} of ${which}`);
    handle.setAttribute("aria-valuemin", limits(name)[0]);
    handle.setAttribute("aria-valuemax", limits(name)[1]);
    handle.append(svg("rect", { class: "vk-touch", x: -15, y: -17, width: 30, height: 34, rx: 6 }));
    if (kind === "mu") handle.append(svg("circle", { r: 8 }));
    else handle.append(svg("path", { d: "M-11 0 l6 -5 v3.5 h10 v-3.5 l6 5 l-6 5 v-3.5 h-10 v3.5 z" }));
    handle.onkeydown = (event) => {
      const step = STEP * (event.shiftKey ? 10 : 1);
      const value = model.get(name);
      const target = {
        ArrowRight: value + step, ArrowUp: value + step, ArrowLeft: value - step, ArrowDown: value - step,
        PageUp: value + 10 * STEP, PageDown: value - 10 * STEP,
        Home: limits(name)[0], End: limits(name)[1],
      }[event.key];
      if (target === undefined) return;
      event.preventDefault();
      move(name, target);
    };
    handle.onpointerdown = (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      handle.focus({ focusVisible: false });
      handle.setPointerCapture(event.pointerId);
      const start = model.get(name) - event.clientX / pixelsPerUnit();
      handle.onpointermove = (e) => move(name, start + e.clientX / pixelsPerUnit());
    };
    // A finger on a handle drags it and must not scroll the page; Chromium overlooks touch-action here.
    handle.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    handle.onlostpointercapture = () => { handle.onpointermove = null; };
    return [name, handle];
  }));
  // Screen pixels, which differ from the drawing's own where the page is scaled.
  const pixelsPerUnit = () => (densities.getBoundingClientRect().width / width) * (x(1) - x(0));

  const plot = svg("g");
  densities.append(plot, ...Object.values(handles));

  function axis(group, y, ticks, bottom) {
    for (const [value, label] of ticks) {
      group.append(svg("line", { class: "vk-grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }));
      group.append(svg("text", { class: "vk-tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, label));
    }
    const spacing = width < 500 ? 4 : 2;
    for (let v = -X_MAX; v <= X_MAX; v += spacing) {
      group.append(svg("line", { class: "vk-axis", x1: x(v), x2: x(v), y1: bottom, y2: bottom + 4 }));
      group.append(svg("text", { class: "vk-tick", x: x(v), y: bottom + 17, "text-anchor": "middle" }, fixed(v, 0)));
    }
    group.append(svg("line", { class: "vk-axis", x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom }));
    group.append(svg("text", { class: "vk-label", x: width - RIGHT, y: bottom + 32, "text-anchor": "end" }, "x"));
  }

  /** Points of f over the picture's width, one every two pixels. */
  function curve(f) {
    const points = [];
    for (let px = LEFT; px <= width - RIGHT; px += 2) {
      const at = -X_MAX + ((px - LEFT) / (width - RIGHT - LEFT)) * 2 * X_MAX;
      points.push([px, f(at), at]);
    }
    return points;
  }
  const path = (points, y) => `M${points.map(([px, value]) => `${px} ${y(value).toFixed(2)}`).join("L")}`;

  function drawDensities(muP, sigmaP, muQ, sigmaQ, crossings) {
    plot.replaceChildren();
    const top = niceCeiling(1 / (Math.min(sigmaP, sigmaQ) * Math.sqrt(2 * Math.PI)));
    const bottom = DENSITY.top + DENSITY.height;
    const y = (value) => bottom - (value / top) * DENSITY.height;
    axis(plot, y, [[0, "0"], [top / 2, fixed(top / 2, 2)], [top, fixed(top, 2)]], TICKS_TOP);
    plot.append(svg("line", { class: "vk-axis", x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom }));
    plot.append(svg("text", { class: "vk-label", x: 4, y: 12 }, "density"));
    for (const px of crossings) {
      plot.append(svg("line", { class: "vk-crossing", x1: px, x2: px, y1: DENSITY.top, y2: TICKS_TOP }));
    }
    for (const [which, mu, sigma] of [["p", muP, sigmaP], ["q", muQ, sigmaQ]]) {
      const points = curve((at) => Math.exp(logDensity(at, mu, sigma)));
      plot.append(svg("path", { class: `vk-curve vk-${which}`, d: path(points, y) }));
      const lane = LANES.top + LANES.height * (which === "p" ? 0 : 1);
      plot.append(svg("text", { class: "vk-label", x: LEFT - 6, y: lane + 5, "text-anchor": "end" }, which));
      const [low, high] = [Math.max(LEFT, x(mu - sigma)), x(mu + sigma)];
      plot.append(svg("path", { class: `vk-span vk-${which}`,
        d: `M${low} ${lane - 6}v12M${low} ${lane}H${high}M${high} ${lane - 6}v12` }));
      handles[`mu_${which}`].setAttribute("transform", `translate(${x(mu)} ${lane})`);
      handles[`sigma_${which}`].setAttribute("transform", `translate(${high + 16} ${lane})`);
    }
  }

  function drawArea(points, crossings, first, second) {
    area.replaceChildren();
    const heights = points.map((point) => point[1]);
    const [low, high] = [Math.min(...heights), Math.max(...heights)];
    // The zero line stays put, a quarter up, and one scale serves both signs, so areas compare.
    const top = niceCeiling(Math.max(high, -3 * low));
    const zero = AREA.top + 0.75 * AREA.height;
    const y = (value) => zero - (value / top) * 0.75 * AREA.height;
    const digits = top < 2 ? 2 : top < 10 ? 1 : 0;
    const hatch = svg("pattern", { id: `${id}-hatch`, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    hatch.append(svg("line", { class: "vk-hatch", y2: 6 }));
    area.append(hatch);
    axis(area, y, [[0, "0"], [top / 2, fixed(top / 2, digits)], [top, fixed(top, digits)]], AREA.top + AREA.height);
    area.append(svg("text", { class: "vk-label", x: 4, y: 12 }, `${first}(x) ln[${first}(x)/${second}(x)]`));
    for (const px of crossings) {
      area.append(svg("line", { class: "vk-crossing", x1: px, x2: px, y1: AREA.top, y2: AREA.top + AREA.height }));
    }
    const closed = (sign) => `${path(points.map(([px, f]) => [px, sign * f > 0 ? f : 0]), y)}V${zero}H${LEFT}Z`;
    area.append(svg("path", { class: "vk-positive", d: closed(1) }));
    area.append(svg("path", { class: "vk-negative", d: closed(-1), fill: `url(#${id}-hatch)` }));
    area.append(svg("path", { class: "vk-curve", d: path(points, y) }));
    const mark = (value, sign) => {
      if (Math.abs(y(value) - zero) < 22) return;
      const px = points[heights.indexOf(value)][0];
      area.append(svg("text", { class: "vk-sign", x: px, y: (y(value) + zero) / 2 + 6, "text-anchor": "middle" }, sign));
    };
    mark(high, "+");
    mark(low, "−");
  }

  function draw() {
    const [muP, sigmaP, muQ, sigmaQ] = values();
    const direction = model.get("direction");
    const order = direction === "pq" ? [muP, sigmaP, muQ, sigmaQ] : [muQ, sigmaQ, muP, sigmaP];
    const [first, second] = direction;
    x = (value) => LEFT + ((value + X_MAX) / (2 * X_MAX)) * (width - LEFT - RIGHT);
    densities.setAttribute("viewBox", `0 0 ${width} ${TICKS_TOP + 36}`);
    area.setAttribute("viewBox", `0 0 ${width} ${AREA.top + AREA.height + 36}`);

    const points = curve((at) => integrand(at, ...order));
    // Where the curves cross, the logarithm and so the integrand change sign.
    const gap = points.map(([, , at]) => logDensity(at, muP, sigmaP) - logDensity(at, muQ, sigmaQ));
    const crossings = points.filter((_, i) => i > 0 && gap[i] * gap[i - 1] < 0).map(([px]) => px - 1);
    drawDensities(muP, sigmaP, muQ, sigmaQ, crossings);
    drawArea(points, crossings, first, second);

    for (const [which, mu, sigma] of [["p", muP, sigmaP], ["q", muQ, sigmaQ]]) {
      find(`[data-legend=${which}]`).textContent = `${which} = N(${fixed(mu, 2)}, ${fixed(sigma, 2)}²)`;
    }
    for (const name of NAMES) {
      handles[name].setAttribute("aria-valuenow", model.get(name));
      handles[name].setAttribute("aria-valuetext", fixed(model.get(name), 2));
    }
    find("[data-kl=pq]").textContent = fixed(klGaussian(muP, sigmaP, muQ, sigmaQ), 4);
    find("[data-kl=qp]").textContent = fixed(klGaussian(muQ, sigmaQ, muP, sigmaP), 4);
    find(`input[value=${direction}]`).checked = true;

    const [above, below] = areas(...order);
    // Rounded together, so that the sum on the page adds up.
    const total = fixed(above - below, 4);
    const positive = fixed(above, 4);
    const negative = fixed(Number(positive) - Number(total), 4);
    const kl = `KL(${first}‖${second})`;
    find(".vk-sentence").innerHTML = muP === muQ && sigmaP === sigmaQ
      ? `p and q are equal, so the logarithm of their ratio is 0 at every x: no area, and ${kl} = 0.`
      : `<span class="vk-key"><i class="vk-box vk-positive"></i>+${positive} where ${first} is the higher curve,</span>
        <span class="vk-key"><i class="vk-box vk-negative"></i>−${negative} where ${second} is:</span>
        together ${total} nats. That is ${kl}.`;
    area.setAttribute("aria-label", `Integrand of ${kl}: area ${positive} above zero, ${negative} below`);
  }

  const events = [...NAMES, "direction"].map((name) => `change:${name}`);
  for (const event of events) model.on(event, draw);
  const observer = new ResizeObserver(() => {
    width = Math.max(280, densities.clientWidth || width);
    draw();
  });
  observer.observe(el);
  draw();
  return () => {
    observer.disconnect();
    for (const event of events) model.off(event, draw);
  };
}

export default { render };
