// A Gaussian of heights, and an interval whose probability is an area.
// The formulas are those of chapter 2. All state is in metres; only what is shown changes its unit.

/** P(lower ≤ X ≤ upper) for X ~ N(mu, sigma²). */
export function probability(lower, upper, mu, sigma) {
  return cumulative((upper - mu) / sigma) - cumulative((lower - mu) / sigma);
}

const HANDLES = ["mu", "sigma", "lower", "upper"];
const SAID = {
  mu: "mean", sigma: "standard deviation", lower: "one end of the interval",
  upper: "other end of the interval",
};
const EXAMPLES = {
  "1.80 m to the cm": () => [1.795, 1.805],
  "μ ± 5 cm": (mu) => [mu - 0.05, mu + 0.05],
  "μ ± σ": (mu, sigma) => [mu - sigma, mu + sigma],
};
const PER_METRE = 200; // what a drag or an arrow key can reach: multiples of 5 mm
const LEAP = 0.05;
const UNITS = {
  m: { size: 1, digits: 3, name: "metre", symbol: "m" },
  cm: { size: 100, digits: 1, name: "centimetre", symbol: "cm" },
};

// The drawing, in pixels.
const MARGIN = { left: 46, right: 14 };
const PLOT = { top: 24, bottom: 190 };
const LANE = { bell: 210, interval: 244 };
const AXIS = 266;
const BELOW_AXIS = 36; // tick labels and the axis' name

/** Three significant digits, and no exponent. */
const short = (value) => fixed(value, Math.max(0, 2 - Math.floor(Math.log10(Math.max(value, 1e-4)))));

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // a page may hold several widgets
  const find = frame(el, "Probability of an interval under a Gaussian", "", `
    <div class="vk-row">
      <span class="vk-key"><i class="vk-line vk-p"></i><span class="vk-name"></span></span>
      <span class="vk-row vk-presets" role="group" aria-label="Examples"></span>
    </div>
    <svg class="vk-bell" role="group" aria-label="Density of heights, with handles"></svg>
    <p class="vk-hint">Drag <b>●</b> to move μ, <b>↔</b> to change σ, <b>▮</b> to move an end of the
      interval; or press Tab, then the arrow keys.</p>
    <fieldset class="vk-row vk-values"><legend>Measure in</legend>
      ${Object.entries(UNITS).map(([unit, { name }]) => `<label><input type="radio" name="${id}"
        value="${unit}"> ${name}s</label>`).join("")}
    </fieldset>
    <div class="vk-beside"><p class="vk-sentence"></p><p class="vk-product"></p></div>`);
  const bell = find(".vk-bell");
  let width = 640;
  const [low, high] = model.get("x_limits");
  const right = () => width - MARGIN.right;
  const scale = () => (right() - MARGIN.left) / (high - low); // pixels for a metre
  const px = (metres) => MARGIN.left + (metres - low) * scale();

  const change = setter(model, draw);
  const within = (value, [least, most]) => Math.min(most, Math.max(least, value));

  addButtons(find(".vk-presets"), EXAMPLES, (ends) => {
    const [lower, upper] = ends(model.get("mu"), model.get("sigma"));
    change({ lower: within(lower, [low, high]), upper: within(upper, [low, high]) });
  });
  for (const radio of el.querySelectorAll("input")) {
    radio.onchange = () => change({ unit: radio.value });
  }

  function sliderOf(name) {
    const shape = { mu: knobs.dot(), sigma: knobs.arrows() }[name]
      ?? svg("rect", { x: -5, y: -10, width: 10, height: 20, rx: 2 });
    // The finest step of σ is finer: it is the smaller number.
    const reach = name === "sigma"
      ? { limits: model.get("sigma_limits"), step: 0.005, leap: 0.02 }
      : { limits: [low, high], leap: LEAP };
    return makeSlider(
      bell, name in { mu: 1, sigma: 1 } ? "vk-p" : "vk-end",
      { "data-name": name, "aria-label": SAID[name] }, shape, {
        ...reach, grid: PER_METRE, unit: scale,
        value: () => model.get(name), move: (value) => change({ [name]: value }),
      });
  }
  // Handles live as long as the widget, so that focus and a drag survive every redraw.
  const handles = Object.fromEntries(HANDLES.map((name) => [name, sliderOf(name)]));
  const plot = svg("g");
  bell.append(plot, ...Object.values(handles));

  function axes(top, y, { size, digits, symbol, name }) {
    const ticks = [0, top / 2, top].map(
      (f) => [y(f), f === 0 ? "0" : String(Number((f / size).toPrecision(3)))]);
    const marks = [];
    for (let x = low; x < high + 1e-9; x += 0.1) {
      marks.push([px(x), fixed(x * size, digits === 3 ? 1 : 0)]);
    }
    drawAxes(plot, MARGIN.left, right(), AXIS, ticks, marks, `height in ${symbol}`);
    plot.append(
      line("axis", MARGIN.left, PLOT.bottom, right(), PLOT.bottom),
      write("label", `density per ${name}`, 4, 12));
  }

  function draw() {
    const [mu, sigma] = [model.get("mu"), model.get("sigma")];
    const ends = [model.get("lower"), model.get("upper")];
    const [a, b] = ends[0] <= ends[1] ? ends : [ends[1], ends[0]];
    const unit = UNITS[model.get("unit")];
    const top = roundUp(density(mu, mu, sigma));
    const y = (f) => PLOT.bottom - (f / top) * (PLOT.bottom - PLOT.top);
    bell.setAttribute("viewBox", `0 0 ${width} ${AXIS + BELOW_AXIS}`);
    plot.replaceChildren();
    axes(top, y, unit);

    const curve = (from, to) => {
      const n = Math.max(2, Math.ceil((to - from) / 2));
      return Array.from({ length: n + 1 }, (_, i) => {
        const at = from + ((to - from) * i) / n;
        return `${at.toFixed(2)} ${y(density(low + (at - MARGIN.left) / scale(), mu, sigma)).toFixed(2)}`;
      }).join("L");
    };
    const middle = (a + b) / 2;
    const height = density(middle, mu, sigma);
    plot.append(
      svg("path", {
        class: "vk-positive", d: `M${px(a)} ${PLOT.bottom}L${curve(px(a), px(b))}V${PLOT.bottom}Z`,
      }),
      svg("path", { class: "vk-curve vk-p", d: `M${curve(MARGIN.left, right())}` }),
      line("crossing", px(middle), y(height), px(middle), PLOT.bottom),
      svg("circle", { class: "vk-dot", cx: px(middle), cy: y(height), r: 4 }),
      svg("path", {
        class: "vk-span vk-p",
        d: `M${px(mu - sigma)} ${LANE.bell - 6}v12m0-6H${px(mu + sigma)}m0-6v12`,
      }),
      svg("path", { class: "vk-span", d: `M${px(a)} ${LANE.interval}H${px(b)}` }),
      ...[a, b].map((end) => line("crossing", px(end), PLOT.bottom, px(end), LANE.interval)));
    handles.mu.setAttribute("transform", `translate(${px(mu)} ${LANE.bell})`);
    // Beside its bar, on the side where there is room.
    const outside = px(mu + sigma) + 16 < right() ? px(mu + sigma) + 16 : px(mu - sigma) - 16;
    handles.sigma.setAttribute("transform", `translate(${outside} ${LANE.bell})`);
    handles.lower.setAttribute("transform", `translate(${px(ends[0])} ${LANE.interval})`);
    handles.upper.setAttribute("transform", `translate(${px(ends[1])} ${LANE.interval})`);

    const say = (metres) => fixed(metres * unit.size, unit.digits);
    for (const name of HANDLES) {
      announce(handles[name], model.get(name), `${say(model.get(name))} ${unit.symbol}`);
    }
    find(`input[value=${model.get("unit")}]`).checked = true;
    find(".vk-name").textContent = `N(${say(mu)}, ${say(sigma)}²), in ${unit.symbol}`;
    const area = probability(a, b, mu, sigma);
    find(".vk-sentence").innerHTML =
      `<span class="vk-key"><i class="vk-box vk-positive"></i><b>area</b>: the probability
       <output data-value="probability">${fixed(area, 4)}</output></span>
       of a height between ${say(a)} and ${say(b)} ${unit.symbol}. The same in any unit.`;
    const perUnit = height / unit.size;
    const length = (b - a) * unit.size;
    find(".vk-product").innerHTML =
      `<span class="vk-key">● <b>height</b>: the density
       <output data-value="density">${short(perUnit)}</output> per ${unit.name}</span>
       in the middle. Times the length ${fixed(length, unit.digits)} ${unit.symbol}:
       ${fixed(perUnit * length, 4)}.`;
  }

  return live(model, el, [...HANDLES, "unit"], bell, (wide) => { width = wide; }, draw);
}

export default { render };
