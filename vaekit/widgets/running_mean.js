// The mean of n draws with its error bar: one player's as n grows, and those of a hundred players.
// Formulas of chapter 1. The draws come from a hash of player and place, so that no state is kept
// and the same player always draws the same.

/** A number between 0 and 1 for draw i of a player: MurmurHash3's finaliser, twice. */
export function uniform(player, i) {
  const mixed = (k) => {
    let h = k ^ (k >>> 16);
    h = Math.imul(h, 0x85ebca6b);
    h ^= h >>> 13;
    h = Math.imul(h, 0xc2b2ae35);
    return h ^ (h >>> 16);
  };
  const key = mixed(Math.imul(player, 0x9e3779b1));
  return ((mixed(key ^ Math.imul(i + 1, 0x85ebca77)) >>> 0) + 0.5) / 2 ** 32;
}

/** What is drawn: u ↦ value, the truth that the mean should find, and what the picture shows. */
export const SOURCES = {
  waiting: {
    label: "waiting times", truth: 1, view: [0, 2], digits: 3,
    value: (u) => -Math.log(u),
    about: "Density e⁻ˣ: mean 1, standard deviation 1.",
  },
  lottery: {
    label: "the lottery", truth: 110, view: [0, 300], digits: 1,
    value: (u) => (u < 0.01 ? 10000 : u < 0.11 ? 100 : 0),
    about: "Mean 110, standard deviation 994: one ticket in a hundred pays most of it.",
  },
  pareto: {
    label: "Pareto", truth: 3, view: [0, 6], digits: 2,
    value: (u) => u ** (-1 / 1.5),
    about: "Density 1.5 x⁻²·⁵ from 1 on: mean 3, infinite variance.",
  },
  cauchy: {
    label: "Cauchy", truth: 0, view: [-8, 8], digits: 2,
    value: (u) => Math.tan(Math.PI * (u - 0.5)),
    about: "Symmetric about 0, but without a mean.",
  },
};

/** Means and standard errors of the first 1, 2, …, n draws of a player. */
export function running(value, player, n) {
  const means = new Float64Array(n);
  const errors = new Float64Array(n);
  let mean = 0;
  let squares = 0; // Σ (y − mean)², kept up draw by draw
  for (let i = 0; i < n; i++) {
    const y = value(uniform(player, i));
    const before = y - mean;
    mean += before / (i + 1);
    squares += before * (y - mean);
    means[i] = mean;
    errors[i] = i > 0 ? Math.sqrt(squares / i / (i + 1)) : Infinity;
  }
  return { means, errors };
}

/** (Σd²)² / Σd⁴ of the deviations of a player's first n draws from their mean. */
export function contributions(value, player, n, mean) {
  let squares = 0;
  let fourths = 0;
  for (let i = 0; i < n; i++) {
    const square = (value(uniform(player, i)) - mean) ** 2;
    squares += square;
    fourths += square * square;
  }
  return fourths > 0 ? (squares * squares) / fourths : Infinity;
}

export const WIDTH_95 = 1.96; // standard errors on each side
const STEPS_PER_DECADE = 20; // what a drag or an arrow key can reach

// The drawing, in pixels.
const LEFT = 52;
const RIGHT = 14;
const PATH = { top: 26, bottom: 206, handle: 224, label: 250 };
const CROWD = { top: 26, bottom: 186, handle: 204, label: 230 };

function render({ model, el }) {
  const id = `vk-${Math.random().toString(36).slice(2)}`; // a page may hold several widgets
  const find = frame(el, "Running means and their error bars", "vk-running", `
    <fieldset class="vk-row vk-values"><legend>Draw from</legend>
      ${Object.entries(SOURCES).map(([name, { label }]) => `<label><input type="radio"
        name="${id}" value="${name}">${label}</label>`).join("")}
    </fieldset>
    <p class="vk-about"></p>
    <svg class="vk-path" role="group" aria-label="Running mean of one player, with a handle for n">
    </svg>
    <p class="vk-sentence vk-one"></p>
    <svg class="vk-crowd" role="group"></svg>
    <p class="vk-sentence vk-all"></p>
    <p class="vk-hint">Drag <b>●</b> above to change n, and below to choose a player;
      or press Tab, then the arrow keys. Dashed: the truth.</p>`);
  const path = find(".vk-path");
  const crowd = find(".vk-crowd");
  const [fewest, most] = model.get("n_limits");
  const players = model.get("players");
  let width = 640;
  let drawn = {}; // the source of the last drawing, and what all players drew from it
  const right = () => width - RIGHT;
  const across = (share) => LEFT + share * (right() - LEFT);
  const shareOf = (n) => Math.log(n / fewest) / Math.log(most / fewest);
  const atPlayer = (player) => across((player - 0.5) / players);

  function everyone(name) {
    if (drawn.name !== name) {
      const { value } = SOURCES[name];
      const all = Array.from({ length: players }, (_, i) => running(value, i + 1, most));
      drawn = { name, all };
    }
    return drawn.all;
  }

  const change = setter(model, draw);
  for (const radio of el.querySelectorAll("input")) {
    radio.onchange = () => change({ source: radio.value });
  }

  const within = (value, low, high) => Math.min(high, Math.max(low, value));
  const tick = (n) => Math.round(STEPS_PER_DECADE * Math.log10(n));
  const nAt = (place) => within(Math.round(10 ** (place / STEPS_PER_DECADE)), fewest, most);

  /** A handle that moves along its picture; `share` and `move` translate to and from its value. */
  function sliderOf(picture, label, low, high, share, move, targets) {
    const handle = makeHandle("vk-knob", {
      "aria-label": label, "aria-valuemin": low, "aria-valuemax": high,
    }, knobs.room(), knobs.dot());
    steps(handle, targets, move);
    slides(handle, picture, () => right() - LEFT, share, move.byShare);
    return handle;
  }

  const moveN = (n) => change({ n: within(Math.round(n), fewest, most) });
  moveN.byShare = (share) => moveN(nAt(tick(fewest * (most / fewest) ** within(share, 0, 1))));
  const movePlayer = (player) => change({ seed: within(Math.round(player), 1, players) });
  movePlayer.byShare = (share) => movePlayer(share * players + 0.5);
  const handles = {
    n: sliderOf(path, "number of draws n", fewest, most, () => shareOf(model.get("n")), moveN,
      (event) => {
        const at = tick(model.get("n"));
        const step = event.shiftKey ? 10 : 1;
        return {
          ArrowRight: nAt(at + step), ArrowUp: nAt(at + step), PageUp: nAt(at + 10), End: most,
          ArrowLeft: nAt(at - step), ArrowDown: nAt(at - step), PageDown: nAt(at - 10), Home: fewest,
        };
      }),
    seed: sliderOf(crowd, "player", 1, players, () => (model.get("seed") - 0.5) / players,
      movePlayer, (event) => {
        const at = model.get("seed");
        const step = event.shiftKey ? 10 : 1;
        return {
          ArrowRight: at + step, ArrowUp: at + step, PageUp: at + 10, End: players,
          ArrowLeft: at - step, ArrowDown: at - step, PageDown: at - 10, Home: 1,
        };
      }),
  };
  const plots = { n: svg("g"), seed: svg("g") };
  path.append(plots.n, handles.n);
  crowd.append(plots.seed, handles.seed);

  /** The frame of a picture, whose vertical axis shows `view`; returns value ↦ height. */
  function axes(parent, { top, bottom }, view, digits) {
    const [low, high] = view;
    const y = (value) => bottom - ((within(value, low, high) - low) / (high - low)) * (bottom - top);
    for (const value of [low, (low + high) / 2, high]) {
      parent.append(
        line("grid", LEFT, y(value), right(), y(value)),
        write("tick", fixed(value, digits), LEFT - 6, y(value) + 4, "end"));
    }
    parent.append(line("axis", LEFT, bottom, right(), bottom));
    return y;
  }

  function drawPath({ means, errors }, source, n) {
    const { truth, view } = source;
    plots.n.replaceChildren();
    path.setAttribute("viewBox", `0 0 ${width} ${PATH.label + 8}`);
    const y = axes(plots.n, PATH, view, 0);
    const shown = [];
    for (let px = 0; px <= right() - LEFT; px += 1.5) {
      const share = px / (right() - LEFT);
      const at = Math.round(fewest * (most / fewest) ** share);
      if (at <= n) shown.push({ px: LEFT + px, mean: means[at - 1], half: WIDTH_95 * errors[at - 1] });
    }
    const edge = (sign) => shown.map(({ px, mean, half }) =>
      `${px.toFixed(1)} ${y(mean + sign * half).toFixed(1)}`);
    plots.n.append(
      svg("path", { class: "vk-band", d: `M${[...edge(1), ...edge(-1).reverse()].join("L")}Z` }),
      line("truth", LEFT, y(truth), right(), y(truth)),
      svg("path", { class: "vk-curve vk-p", d: `M${edge(0).join("L")}` }),
      line("crossing", across(shareOf(n)), PATH.top, across(shareOf(n)), PATH.handle),
      write("label", "mean of the first n draws", 4, 14));
    for (let power = fewest; power <= most; power *= 10) {
      plots.n.append(
        line("axis", across(shareOf(power)), PATH.bottom, across(shareOf(power)), PATH.bottom + 4),
        write("tick", power === fewest ? `n = ${power}` : String(power), across(shareOf(power)),
          PATH.label, power === most ? "end" : "middle"));
    }
    handles.n.setAttribute("transform", `translate(${across(shareOf(n))} ${PATH.handle})`);
  }

  function drawCrowd(intervals, source, chosen) {
    const { truth } = source;
    plots.seed.replaceChildren();
    crowd.setAttribute("viewBox", `0 0 ${width} ${CROWD.label + 8}`);
    // Wide enough for nine intervals in ten.
    const ends = intervals.map(({ mean, half }) => Math.abs(mean - truth) + half);
    const reach = roundUp(ends.sort((a, b) => a - b)[Math.floor(0.9 * ends.length)]);
    const digits = reach < 0.2 ? 2 : reach < 2 ? 1 : 0;
    const y = axes(plots.seed, CROWD, [truth - reach, truth + reach], digits);
    plots.seed.append(
      line("truth", LEFT, y(truth), right(), y(truth)),
      line("crossing", atPlayer(chosen), CROWD.top, atPlayer(chosen), CROWD.handle),
      write("label", "intervals of 100 players", 4, 14),
      write("tick", "player 1", LEFT, CROWD.label),
      write("tick", String(players), right(), CROWD.label, "end"));
    intervals.forEach(({ mean, half, covers }, i) => {
      const px = atPlayer(i + 1).toFixed(1);
      const [high, low] = [y(mean + half), y(mean - half)];
      const bar = high === low ? `M${px} ${high - 1}v2` : `M${px} ${high}V${low}`;
      const missed = covers ? "" : `M${px - 3} ${y(mean) - 3}l6 6m0-6l-6 6`;
      plots.seed.append(
        svg("path", { class: covers ? "vk-bar vk-p" : "vk-bar vk-q", d: bar + missed }));
    });
    handles.seed.setAttribute("transform", `translate(${atPlayer(chosen)} ${CROWD.handle})`);
  }

  function draw() {
    const [name, n, chosen] = ["source", "n", "seed"].map((trait) => model.get(trait));
    const source = SOURCES[name];
    const { truth, digits } = source;
    const all = everyone(name);
    const intervals = all.map(({ means, errors }) => {
      const [mean, half] = [means[n - 1], WIDTH_95 * errors[n - 1]];
      return { mean, half, covers: Math.abs(mean - truth) <= half };
    });
    drawPath(all[chosen - 1], source, n);
    drawCrowd(intervals, source, chosen);

    const { mean, half, covers } = intervals[chosen - 1];
    const rests = contributions(source.value, chosen, n, mean);
    const covering = intervals.filter((interval) => interval.covers).length;
    const [low, high] = [mean - half, mean + half].map((end) => fixed(end, digits));
    find(".vk-about").textContent = source.about;
    find(".vk-one").innerHTML =
      `Player ${chosen}, n = ${n}: mean ${fixed(mean, digits)}, standard error
       ${fixed(half / WIDTH_95, digits)}. The interval from ${low} to ${high}
       <b>${covers ? "covers" : "misses"}</b> ${truth}. The error rests on about
       ${rests === Infinity ? "no" : fixed(rests, 0)} draws.`;
    find(".vk-all").innerHTML =
      `<b>${covering} of ${players}</b> intervals cover ${truth}. Crosses mark those that miss.`;
    crowd.setAttribute("aria-label", `Intervals of ${players} players: ${covering} cover ${truth}`);
    find(`input[value=${name}]`).checked = true;
    announce(handles.n, n, `n = ${n}`);
    announce(handles.seed, chosen, `player ${chosen}`);
  }

  return live(model, el, ["source", "n", "seed"], path, (wide) => { width = wide; }, draw);
}

export default { render };
