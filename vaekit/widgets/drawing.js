// What the widgets share. Python joins this file before each widget's own script (`base.py`), since
// a page loads a widget from one string, and a string can import nothing beside it.

/** A number with a true minus sign and never a "−0". */
export function fixed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

export function svg(tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

export const line = (kind, x1, y1, x2, y2) => svg("line", { class: `vk-${kind}`, x1, y1, x2, y2 });

export const write = (kind, text, x, y, anchor = "start") =>
  svg("text", { class: `vk-${kind}`, x, y, "text-anchor": anchor }, text);

/** Fill `el` with a widget's frame, in which `html` stands; returns a function that finds in it. */
export function frame(el, label, kind, html) {
  el.innerHTML = `<div class="vk-widget ${kind}" role="group" aria-label="${label}">${html}</div>`;
  return (selector) => el.querySelector(selector);
}

/**
 * Keep the keys of every control in `el`: Jupyter would take arrows and space to move between cells,
 * and Enter to edit one. It looks for the attribute on the control itself.
 */
export function keepKeys(el) {
  for (const control of el.querySelectorAll("[tabindex], button, summary, input")) {
    control.setAttribute("data-lm-suppress-shortcuts", "true");
  }
}

const MIME = { state: "application/vnd.jupyter.widget-state+json",
  view: "application/vnd.jupyter.widget-view+json" };

/**
 * Save the widgets that a notebook shows whenever JupyterLab or Notebook saves it; returns what ends
 * that. Both keep no widget of their own accord, and where the notebook is opened again without its
 * kernel they show "model not found". Elsewhere this does nothing.
 */
export function remember(model) {
  const manager = model.widget_manager;
  const context = manager?.context;
  if (!context?.saveState?.connect || !context.model?.setMetadata) return () => {};
  const save = (_, stage) => {
    if (stage !== "started") return;
    const { state, ...version } = manager.get_state_sync({ drop_defaults: true });
    const kept = {};
    const keep = (id) => {
      if (!state[id] || kept[id]) return;
      kept[id] = state[id];
      for (const [, child] of JSON.stringify(state[id].state).matchAll(/"IPY_MODEL_(\w+)"/g)) keep(child);
    };
    for (const { outputs } of context.model.cells) {
      for (let i = 0; i < (outputs?.length ?? 0); i++) keep(outputs.get(i).data[MIME.view]?.model_id);
    }
    context.model.setMetadata("widgets", { [MIME.state]: { ...version, state: kept } });
  };
  context.saveState.connect(save);
  return () => context.saveState.disconnect(save);
}

/** A handle of the drawing, which Tab reaches. */
export function makeHandle(kind, attributes, ...shapes) {
  const handle = svg("g", {
    class: `vk-handle ${kind}`, tabindex: 0, role: "slider", ...attributes,
  });
  handle.append(...shapes);
  return handle;
}

/**
 * Let a pointer move `handle`. `grab` gets each press on `surface`, which may be the handle itself,
 * and returns what every further move of the pointer does, or nothing to leave the press alone.
 */
export function drags(surface, handle, grab) {
  surface.onpointerdown = (event) => {
    const follow = event.button === 0 && grab(event);
    if (!follow) return;
    event.preventDefault();
    handle.focus({ focusVisible: false });
    handle.setPointerCapture(event.pointerId);
    handle.onpointermove = follow;
  };
  handle.onlostpointercapture = () => { handle.onpointermove = null; };
  // A finger on a handle must not scroll the page; Chromium overlooks touch-action here.
  handle.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
}

/** Let keys move `handle`: `targets(event)` says where each key that counts leads. */
export function steps(handle, targets, move) {
  handle.onkeydown = (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    const target = targets(event)[event.key];
    if (target === undefined) return;
    event.preventDefault();
    move(target);
  };
}

/** Call `draw(width)` now if `node` has a width, and at each new one; returns what ends that. */
export function followWidth(node, draw) {
  let width = 0;
  let next = 0;
  function measure() {
    if (node.clientWidth === width || node.clientWidth === 0) return; // 0: folded away
    width = node.clientWidth;
    draw(width);
  }
  // A drawing changes its height with its width. Drawn inside the observer's own turn, that would
  // set it off again, which Firefox and WebKit report as an error; so it waits for the next frame.
  const observer = new ResizeObserver(() => {
    cancelAnimationFrame(next);
    next = requestAnimationFrame(measure);
  });
  observer.observe(node);
  measure();
  return () => {
    observer.disconnect();
    cancelAnimationFrame(next);
  };
}

/** A function that sets traits and draws. */
export const setter = (model, draw) => (settings) => {
  for (const [name, value] of Object.entries(settings)) model.set(name, value);
  model.save_changes();
  draw();
};

/** A button for each entry of `choices`; pressed, it hands the entry's value to `choose`. */
export function addButtons(parent, choices, choose) {
  for (const [label, choice] of Object.entries(choices)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.onclick = () => choose(choice);
    parent.append(button);
  }
}

/** What a handle looks like; around it a finger has room. */
export const knobs = {
  dot: () => svg("circle", { r: 8 }),
  arrows: () => svg("path", { d: "M-11 0l6-5v3.5h10v-3.5l6 5l-6 5v-3.5h-10v3.5z" }),
  room: () => svg("rect", { class: "vk-touch", x: -15, y: -17, width: 30, height: 34, rx: 6 }),
};

/**
 * Let a pointer move `handle` along the axis of `picture`: `value()` is where it stands, `move` takes
 * it elsewhere, and `unit()` is the length of one unit in the drawing.
 */
export function slides(handle, picture, unit, value, move) {
  drags(handle, handle, (event) => {
    // Screen pixels, which differ from the drawing's own where the page is scaled.
    const scale = unit() * (picture.getBoundingClientRect().width / picture.viewBox.baseVal.width);
    const start = value() - event.clientX / scale;
    return (e) => move(start + e.clientX / scale);
  });
}

/**
 * A handle that keys and a pointer move along the axis of `picture` to multiples of 1/`grid` between
 * `limits`: by `step`, or by `leap` with Shift and the page keys. The rest is as for `slides`.
 */
export function makeSlider(picture, kind, attributes, shape, axis) {
  const { limits: [low, high], grid, step = 1 / grid, leap, unit, value, move } = axis;
  const handle = makeHandle(
    kind, { "aria-valuemin": low, "aria-valuemax": high, ...attributes }, knobs.room(), shape);
  const go = (to) => move(Math.round(Math.min(high, Math.max(low, to)) * grid) / grid);
  steps(handle, (event) => {
    const at = value();
    const by = event.shiftKey ? leap : step;
    return {
      ArrowRight: at + by, ArrowUp: at + by, PageUp: at + leap, End: high,
      ArrowLeft: at - by, ArrowDown: at - by, PageDown: at - leap, Home: low,
    };
  }, go);
  slides(handle, picture, unit, value, go);
  return handle;
}

/** Say where a handle stands to who does not see it. */
export function announce(handle, value, text) {
  handle.setAttribute("aria-valuenow", value);
  handle.setAttribute("aria-valuetext", text);
}

/** Both axes: `ticks` of the vertical one are [height, label], `marks` of the other [place, label]. */
export function drawAxes(parent, left, right, bottom, ticks, marks, name) {
  for (const [height, label] of ticks) {
    parent.append(
      line("grid", left, height, right, height),
      write("tick", label, left - 6, height + 4, "end"));
  }
  for (const [place, label] of marks) {
    parent.append(
      line("axis", place, bottom, place, bottom + 4),
      write("tick", label, place, bottom + 17, "middle"));
  }
  parent.append(
    line("axis", left, bottom, right, bottom),
    write("label", name, right, bottom + 32, "end"));
}

/** The smallest of 1, 2, 5, 10, … times a power of ten that holds the value: axes change in steps. */
export function roundUp(value) {
  if (!(value > 0) || value === Infinity) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}

/** The pattern of what is hatched, to be named as `url(#id)`. */
export function hatching(id) {
  const pattern = svg("pattern", {
    id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  });
  pattern.append(line("hatch", 0, 0, 0, 6));
  return pattern;
}

/**
 * Draw now, whenever a trait of `names` changes, and at each new width of `node`, which `resize` gets;
 * returns what ends that.
 */
export function live(model, el, names, node, resize, draw) {
  const events = names.map((name) => `change:${name}`);
  for (const event of events) model.on(event, draw);
  keepKeys(el);
  const forget = remember(model);
  draw();
  const unfollow = followWidth(node, (wide) => {
    resize(Math.max(280, wide));
    draw();
  });
  return () => {
    forget();
    unfollow();
    for (const event of events) model.off(event, draw);
  };
}
