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
