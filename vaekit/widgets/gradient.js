// Many estimates of ∂/∂μ E[L(z)], z ~ N(μ, σ²), by two methods: their histograms.
// The formulas are those of chapter 8.

const FREQUENCY = 8; // of the wave

/** The losses L(z), their slopes L′(z), and what the page calls them. */
export const LOSSES = {
  quadratic: { name: "½ z²", value: (z) => z ** 2 / 2, slope: (z) => z, span: 7 },
  step: { name: "1 if z > 0", value: (z) => (z > 0 ? 1 : 0), slope: () => 0, span: 3 },
  wave: {
    name: `sin ${FREQUENCY}z`,
    value: (z) => Math.sin(FREQUENCY * z),
    slope: (z) => FREQUENCY * Math.cos(FREQUENCY * z),
    span: 14,
  },
};

/** One-sample estimates of ∂/∂μ from the noise ε: [pathwise, score function]. */
export function perSample(loss, mu, sigma, eps) {
  const z = mu + sigma * eps;
  return [LOSSES[loss].slope(z), (LOSSES[loss].value(z) * eps) / sigma];
}

/** The derivative, and mean and variance of both one-sample estimates, in closed form. */
export function exact(loss, mu, sigma) {
  const variance = sigma ** 2;
  if (loss === "quadratic") {
    const square = mu ** 4 / 4 + 4.5 * mu ** 2 * variance + 3.75 * variance ** 2;
    return {
      truth: mu,
      pathwise: [mu, variance],
      score: [mu, square / variance - mu ** 2],
    };
  }
  if (loss === "step") {
    const t = mu / sigma;
    const phi = density(t, 0, 1);
    const truth = phi / sigma;
    return {
      truth,
      pathwise: [0, 0],
      score: [truth, (cumulative(t) - t * phi) / variance - truth ** 2],
    };
  }
  const w = FREQUENCY;
  const truth = w * Math.exp((-(w ** 2) * variance) / 2) * Math.cos(w * mu);
  const twice = Math.exp(-2 * w ** 2 * variance) * Math.cos(2 * w * mu); // E[cos 2wz]
  return {
    truth,
    pathwise: [truth, (w ** 2 * (1 + twice)) / 2 - truth ** 2],
    score: [truth, (1 - (1 - 4 * w ** 2 * variance) * twice) / (2 * variance) - truth ** 2],
  };
}

/** `count` numbers from N(0, 1): Marsaglia's polar method on the generator mulberry32. */
export function normals(count, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const numbers = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    let u, v, square;
    do {
      u = 2 * uniform() - 1;
      v = 2 * uniform() - 1;
      square = u * u + v * v;
    } while (square >= 1 || square === 0);
    const factor = Math.sqrt((-2 * Math.log(square)) / square);
    numbers[i] = u * factor;
    if (i + 1 < count) numbers[i + 1] = v * factor;
  }
  return numbers;
}

const MU = 1;
const SIGMA = 1;
const REPEATS = 1000;

// The drawing, in pixels.
const LEFT = 12;
const RIGHT = 12;
const PANELS = { pathwise: [26, 104], score: [138, 216] };
const BOTTOM = 216;
const LANE = 292; // the handle's
const HEIGHT = 318;
const BINS = 61; // odd, so that the truth is in the middle of one

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // a page may hold several widgets
  const find = frame(el, "Histograms of two gradient estimates", "", `
    <fieldset class="vk-row vk-values"><legend>Loss L(z), with z from N(1, 1)</legend>
      ${Object.entries(LOSSES).map(([key, { name }]) => `<label>
        <input type="radio" name="${id}" value="${key}">${name}</label>`).join("")}
      <button type="button">draw again</button>
    </fieldset>
    <svg role="group" aria-label="Histograms of both estimates, and a handle for n"></svg>
    <p class="vk-spreads"></p>
    <p class="vk-sentence"></p>
    <p class="vk-hint">Each histogram holds ${REPEATS} estimates of the derivative of the mean loss
      by μ, each the mean over n samples. The dashed line is the truth. Drag <b>●</b> to change n,
      or press Tab, then the arrow keys; Page Up doubles n, Page Down halves it.</p>`);
  const drawing = find("svg");
  const most = model.get("n_limits")[1];
  let width = 640;
  const inner = () => width - LEFT - RIGHT;
  const trackX = (n) => LEFT + 14 + (Math.log(n) / Math.log(most)) * (inner() - 28);

  // Sums over the first n samples of each repetition, for every n, so that a drag adds nothing up.
  let summed = {};
  let noise = { seed: null };
  function sums() {
    const [seed, loss] = [model.get("seed"), model.get("loss")];
    if (noise.seed !== seed) noise = { seed, values: normals(REPEATS * most, seed) };
    if (summed.seed !== seed || summed.loss !== loss) {
      summed = { seed, loss };
      for (const name of ["pathwise", "score"]) summed[name] = new Float64Array(REPEATS * most);
      for (let i = 0; i < REPEATS * most; i++) {
        const [pathwise, score] = perSample(loss, MU, SIGMA, noise.values[i]);
        const first = i % most === 0;
        summed.pathwise[i] = pathwise + (first ? 0 : summed.pathwise[i - 1]);
        summed.score[i] = score + (first ? 0 : summed.score[i - 1]);
      }
    }
    return summed;
  }
  function means(name, n) {
    const all = sums()[name];
    return Array.from({ length: REPEATS }, (_, r) => all[r * most + n - 1] / n);
  }

  const change = setter(model, draw);
  for (const radio of el.querySelectorAll("input")) {
    radio.onchange = () => change({ loss: radio.value });
  }
  find("button").onclick = () => change({ seed: (model.get("seed") + 1) % 1000000 });

  const handle = makeHandle("vk-p", {
    "aria-label": "n, samples in each estimate", "aria-valuemin": 1, "aria-valuemax": most,
  },
  knobs.room(), knobs.dot());
  const move = (n) => change({ n: Math.round(Math.min(most, Math.max(1, n))) });
  steps(handle, (event) => {
    const n = model.get("n");
    const step = event.shiftKey ? 10 : 1;
    return {
      ArrowRight: n + step, ArrowUp: n + step, PageUp: 2 * n, End: most,
      ArrowLeft: n - step, ArrowDown: n - step, PageDown: Math.floor(n / 2), Home: 1,
    };
  }, move);
  const share = () => Math.log(model.get("n")) / Math.log(most);
  slides(handle, drawing, () => inner() - 28, share,
    (part) => move(most ** Math.min(1, Math.max(0, part))));
  const plot = svg("g");
  drawing.append(plot, handle);

  /** Heights of the bins and how many estimates lie beyond the picture. */
  function histogram(values, low, high) {
    const counts = new Array(BINS).fill(0);
    let beyond = 0;
    for (const value of values) {
      const bin = Math.floor(((value - low) / (high - low)) * BINS);
      if (bin >= 0 && bin < BINS) counts[bin] += 1;
      else beyond += 1;
    }
    return { counts, beyond };
  }

  function draw() {
    const [loss, n] = [model.get("loss"), model.get("n")];
    const known = exact(loss, MU, SIGMA);
    const { span } = LOSSES[loss];
    const [low, high] = [known.truth - span, known.truth + span];
    const x = (value) => LEFT + ((value - low) / (high - low)) * inner();
    drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    plot.replaceChildren();
    const title = { pathwise: "pathwise", score: "score function" };
    const spreads = [];
    for (const [name, [top, bottom]] of Object.entries(PANELS)) {
      const values = means(name, n);
      const { counts, beyond } = histogram(values, low, high);
      const tallest = Math.max(...counts, 1);
      const bar = inner() / BINS;
      const colour = name === "pathwise" ? "var(--vk-blue)" : "var(--vk-orange)";
      const d = counts.map((count, i) => {
        const tall = (count / tallest) * (bottom - top);
        return count ? `M${(LEFT + i * bar).toFixed(2)} ${bottom}v${-tall.toFixed(2)}`
          + `h${(bar - 0.5).toFixed(2)}V${bottom}Z` : "";
      }).join("");
      plot.append(
        svg("path", { "data-bars": name, d, style: `fill: ${colour}; fill-opacity: 0.75` }),
        line("axis", LEFT, bottom, width - RIGHT, bottom),
        write("label", title[name], LEFT, top - 8),
        write("tick", beyond ? `${beyond} of ${REPEATS} beyond the picture` : "",
          width - RIGHT, top - 8, "end"));
      const truth = line("axis", x(known.truth), top - 4, x(known.truth), bottom);
      truth.setAttribute("stroke-dasharray", "5 4");
      truth.setAttribute("stroke-width", 2);
      plot.append(truth);
      const sd = Math.sqrt(known[name][1] / n);
      const average = values.reduce((sum, value) => sum + value, 0) / REPEATS;
      spreads.push(`<b>${title[name]}</b>: mean of these ${fixed(average, 3)}; exact standard
        deviation <b data-sd="${name}">${fixed(sd, 3)}</b>`);
    }
    const spacing = span > 10 ? 5 : span > 5 ? 2 : 1;
    for (let v = Math.ceil(low / spacing) * spacing; v <= high; v += spacing) {
      plot.append(
        line("axis", x(v), BOTTOM, x(v), BOTTOM + 4),
        write("tick", fixed(v, 0), x(v), BOTTOM + 17, "middle"));
    }
    plot.append(write("label", "estimate", width - RIGHT, BOTTOM + 33, "end"));
    plot.append(line("axis", trackX(1), LANE, trackX(most), LANE));
    for (const v of [1, 2, 4, 8, 16, 32, 64, 128, 256].filter((v) => v <= most)) {
      plot.append(
        line("axis", trackX(v), LANE, trackX(v), LANE + 5),
        write("tick", v, trackX(v), LANE + 24, "middle"));
    }
    plot.append(write("label", `n = ${n}`, LEFT, LANE - 18));
    handle.setAttribute("transform", `translate(${trackX(n)} ${LANE})`);
    handle.setAttribute("aria-valuenow", n);
    find(`input[value=${loss}]`).checked = true;
    find(".vk-spreads").innerHTML =
      `truth ${fixed(known.truth, 3)}<br>${spreads.join("<br>")}`;
    const ratio = known.score[1] / known.pathwise[1];
    const times = (value) => (value < 10 ? fixed(value, 1) : fixed(value, 0));
    find(".vk-sentence").textContent = loss === "step"
      ? `The pathwise estimate is 0 every time: quiet, and wrong by ${fixed(known.truth, 3)}.`
      : ratio > 1
        ? `For the same spread the score function needs ${times(ratio)} times as many samples.`
        : `For the same spread the pathwise gradient needs ${times(1 / ratio)} times as many samples.`;
  }

  return live(model, el, ["n", "loss", "seed"], drawing, (wide) => { width = wide; }, draw);
}

export default { render };
