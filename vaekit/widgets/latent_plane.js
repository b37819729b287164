// A point z in the latent plane of a VAE, and the image that its decoder makes of it.

/** Little-endian float32 numbers from base64. */
export function unpack(base64) {
  return new Float32Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
}

/** p(x_i = 1 | z) for every pixel: layers {weight, bias}, ReLU between them, a sigmoid at the end. */
export function decode(layers, z) {
  let h = z;
  layers.forEach(({ weight, bias }, depth) => {
    const inputs = h;
    h = Array.from(bias, (b, row) =>
      inputs.reduce((sum, value, column) => sum + weight[row * inputs.length + column] * value, b));
    if (depth < layers.length - 1) h = h.map((value) => Math.max(0, value));
  });
  return h.map((value) => 1 / (1 + Math.exp(-value)));
}

/** A number with a true minus sign and never a "−0". */
export function fixed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

const STEP = 0.05;
const LEFT = 34;
const TOP = 22;
const BOTTOM = 40;

function svg(tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function render({ model, el }) {
  el.innerHTML = `
    <div class="vk-widget vk-latent" role="group" aria-label="The latent plane and its decoder">
      <div class="vk-plane">
        <svg role="group" aria-label="Latent plane with the codes of test digits"></svg>
      </div>
      <div class="vk-decoded">
        <svg role="img"></svg>
        <div>
          <p><b>z</b> = (<output></output>)</p>
          <p class="vk-nearest"></p>
        </div>
      </div>
      <p class="vk-hint">Drag the ring, click anywhere in the plane, or press Tab and then the arrow keys.
        The picture is what the decoder makes of z: the more ink a square shows, the more probable is a 1 at that pixel.
        Each numeral stands where the encoder puts a test digit of that class;
        circles mark 1, 2 and 3 standard deviations of the prior N(0, I).</p>
    </div>`;
  const find = (selector) => el.querySelector(selector);
  const plane = find(".vk-plane svg");
  const layers = model.get("layers").map(({ weight, bias }) => ({ weight: unpack(weight), bias: unpack(bias) }));
  const codes = model.get("codes");
  const labels = model.get("labels");
  const limit = model.get("limit");
  const [rows, columns] = model.get("image_shape");
  let width = 400;
  const size = () => width - LEFT - 10;
  const x = (value) => LEFT + ((value + limit) / (2 * limit)) * size();
  const y = (value) => TOP + ((limit - value) / (2 * limit)) * size();

  const image = find(".vk-decoded svg");
  image.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
  const pixels = Array.from({ length: rows * columns }, (_, i) =>
    svg("rect", { x: i % columns, y: Math.floor(i / columns), width: 1.01, height: 1.01 }));
  image.append(...pixels);

  function move(z) {
    const onGrid = z.map((v) => Math.round(Math.min(limit, Math.max(-limit, v)) / STEP) / Math.round(1 / STEP));
    model.set("z", onGrid);
    model.save_changes();
    draw();
  }
  function moveToPointer(event) {
    const box = plane.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * width;
    const py = ((event.clientY - box.top) / box.width) * width;
    move([((px - LEFT) / size()) * 2 * limit - limit, limit - ((py - TOP) / size()) * 2 * limit]);
  }

  // The handle lives as long as the widget, so that focus and a drag survive every redraw.
  const handle = svg("g", { class: "vk-handle vk-point", role: "slider", tabindex: 0,
    "aria-roledescription": "two-dimensional slider", "aria-label": "z", "aria-valuemin": -limit, "aria-valuemax": limit });
  handle.append(
    svg("circle", { class: "vk-touch", r: 20 }),
    svg("circle", { class: "vk-ring", r: 9 }), svg("circle", { r: 2.5 }));
  handle.onkeydown = (event) => {
    const step = STEP * (event.shiftKey ? 10 : 2);
    const [z1, z2] = model.get("z");
    const target = {
      ArrowRight: [z1 + step, z2], ArrowLeft: [z1 - step, z2], ArrowUp: [z1, z2 + step], ArrowDown: [z1, z2 - step],
      Home: [0, 0],
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    move(target);
  };
  // A mouse drags from anywhere; a finger only from the ring, so that the page still scrolls.
  plane.onpointerdown = (event) => {
    if (event.button !== 0 || (event.pointerType !== "mouse" && !handle.contains(event.target))) return;
    event.preventDefault();
    handle.focus({ focusVisible: false });
    handle.setPointerCapture(event.pointerId);
    handle.onpointermove = moveToPointer;
    moveToPointer(event);
  };
  // A finger on a handle drags it and must not scroll the page; Chromium overlooks touch-action here.
  handle.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  handle.onlostpointercapture = () => { handle.onpointermove = null; };
  plane.onclick = moveToPointer;

  const background = svg("g");
  plane.append(background, handle);

  function drawBackground() {
    background.replaceChildren();
    plane.setAttribute("viewBox", `0 0 ${width} ${TOP + size() + BOTTOM}`);
    const [right, bottom] = [LEFT + size(), TOP + size()];
    background.append(svg("rect", { class: "vk-frame", x: LEFT, y: TOP, width: size(), height: size() }));
    for (const radius of [1, 2, 3]) {
      background.append(svg("circle", { class: "vk-prior", cx: x(0), cy: y(0), r: x(radius) - x(0) }));
    }
    const spacing = Math.ceil(limit / 4);
    for (let v = -Math.floor(limit / spacing) * spacing; v <= limit; v += spacing) {
      background.append(
        svg("line", { class: "vk-axis", x1: x(v), x2: x(v), y1: bottom, y2: bottom + 4 }),
        svg("text", { class: "vk-tick", x: x(v), y: bottom + 17, "text-anchor": "middle" }, fixed(v, 0)),
        svg("line", { class: "vk-axis", x1: LEFT - 4, x2: LEFT, y1: y(v), y2: y(v) }),
        svg("text", { class: "vk-tick", x: LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, fixed(v, 0)));
    }
    background.append(
      svg("text", { class: "vk-label", x: right, y: bottom + 34, "text-anchor": "end" }, "z₁"),
      svg("text", { class: "vk-label", x: LEFT - 8, y: 12, "text-anchor": "end" }, "z₂"));
    codes.forEach(([z1, z2], i) => background.append(
      svg("text", { class: `vk-code vk-class-${labels[i]}`, x: x(z1), y: y(z2) + 4, "text-anchor": "middle" }, labels[i])));
  }

  function draw() {
    const z = model.get("z");
    decode(layers, z).forEach((value, i) => pixels[i].setAttribute("fill-opacity", value.toFixed(3)));
    handle.setAttribute("transform", `translate(${x(z[0])} ${y(z[1])})`);
    const text = z.map((value) => fixed(value, 2)).join(", ");
    find("output").textContent = text;
    const distances = codes.map(([z1, z2]) => Math.hypot(z1 - z[0], z2 - z[1]));
    const nearest = distances.indexOf(Math.min(...distances));
    find(".vk-nearest").innerHTML =
      `nearest test digit: <b>${labels[nearest]}</b>, at distance ${fixed(distances[nearest], 2)}`;
    handle.setAttribute("aria-valuenow", z[0]);
    handle.setAttribute("aria-valuetext", `(${text}), nearest test digit ${labels[nearest]}`);
    image.setAttribute("aria-label", `The decoded image at z = (${text})`);
  }

  function redraw() {
    drawBackground();
    draw();
  }
  model.on("change:z", draw);
  const observer = new ResizeObserver(() => {
    width = Math.max(260, plane.clientWidth || width);
    redraw();
  });
  observer.observe(el);
  redraw();
  return () => {
    observer.disconnect();
    model.off("change:z", draw);
  };
}

export default { render };
