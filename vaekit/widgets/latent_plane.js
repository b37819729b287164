// A point z in the latent plane of a VAE, and the image that its decoder makes of it.

/** Little-endian float32 numbers from base64. */
export function unpack(base64) {
  return new Float32Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
}

/** p(x_i = 1 | z) for every pixel: layers {weight, bias}, ReLU between them, then a sigmoid. */
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

const STEPS_PER_UNIT = 20; // what a drag can reach: multiples of 0.05
const ARROW_STEP = 0.1;
const BIG_STEP = 0.5;

// The drawing, in pixels.
const LEFT = 34;
const RIGHT = 10;
const TOP = 22;
const UNDER = 40;

function render({ model, el }) {
  const find = frame(el, "The latent plane and its decoder", "vk-latent", `
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
    <p class="vk-hint">Drag the ring, click anywhere in the plane, or press Tab and then the
      arrow keys; 0 leads back to the middle. The picture is what the decoder makes of z: the more
      ink a square shows, the more probable is a 1 at that pixel. Each numeral stands where the
      encoder puts a test digit of that class; circles mark 1, 2 and 3 standard deviations of the
      prior N(0, I).</p>`);
  const plane = find(".vk-plane svg");
  const layers = model.get("layers").map(
    ({ weight, bias }) => ({ weight: unpack(weight), bias: unpack(bias) }));
  const codes = model.get("codes");
  const labels = model.get("labels");
  const colors = model.get("colors");
  const limit = model.get("limit");
  const [rows, columns] = model.get("image_shape");
  let width = 400;
  const size = () => width - LEFT - RIGHT;
  const x = (z1) => LEFT + ((z1 + limit) / (2 * limit)) * size();
  const y = (z2) => TOP + ((limit - z2) / (2 * limit)) * size();

  const image = find(".vk-decoded svg");
  image.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
  const pixels = Array.from({ length: rows * columns }, (_, i) =>
    svg("rect", { x: i % columns, y: Math.floor(i / columns), width: 1.01, height: 1.01 }));
  image.append(...pixels);

  function move(z) {
    const inside = z.map((value) => Math.min(limit, Math.max(-limit, value)));
    model.set("z", inside.map((value) => Math.round(value * STEPS_PER_UNIT) / STEPS_PER_UNIT));
    model.save_changes();
    draw();
  }
  function moveToPointer(event) {
    const box = plane.getBoundingClientRect();
    const scale = (box.width / width) * (size() / (2 * limit)); // screen pixels for one unit of z
    const origin = { x: (box.width / width) * x(0), y: (box.width / width) * y(0) };
    move([
      (event.clientX - box.left - origin.x) / scale,
      (origin.y - event.clientY + box.top) / scale,
    ]);
  }

  // The handle lives as long as the widget, so that focus and a drag survive every redraw.
  const handle = makeHandle("vk-point", {
    "aria-roledescription": "two-dimensional slider", "aria-label": "z",
    "aria-valuemin": -limit, "aria-valuemax": limit,
  },
  svg("circle", { class: "vk-touch", r: 20 }),
  svg("circle", { class: "vk-ring", r: 9 }),
  svg("circle", { r: 2.5 }));
  steps(handle, (event) => {
    const step = event.shiftKey ? BIG_STEP : ARROW_STEP;
    const [z1, z2] = model.get("z");
    return {
      ArrowRight: [z1 + step, z2], End: [limit, z2],
      ArrowLeft: [z1 - step, z2], Home: [-limit, z2],
      ArrowUp: [z1, z2 + step], PageUp: [z1, z2 + BIG_STEP],
      ArrowDown: [z1, z2 - step], PageDown: [z1, z2 - BIG_STEP],
      0: [0, 0],
    };
  }, move);
  drags(plane, handle, (event) => {
    // A mouse drags from anywhere; a finger only from the ring, so that the page still scrolls.
    if (event.pointerType !== "mouse" && !handle.contains(event.target)) return null;
    moveToPointer(event);
    return moveToPointer;
  });
  plane.onclick = moveToPointer;

  const background = svg("g");
  plane.append(background, handle);

  function drawBackground() {
    background.replaceChildren();
    const bottom = TOP + size();
    plane.setAttribute("viewBox", `0 0 ${width} ${bottom + UNDER}`);
    background.append(
      svg("rect", { class: "vk-frame", x: LEFT, y: TOP, width: size(), height: size() }),
      ...[1, 2, 3].map((radius) =>
        svg("circle", { class: "vk-prior", cx: x(0), cy: y(0), r: x(radius) - x(0) })));
    const spacing = Math.ceil(limit / 4);
    for (let v = -Math.floor(limit / spacing) * spacing; v <= limit; v += spacing) {
      background.append(
        line("axis", x(v), bottom, x(v), bottom + 4),
        write("tick", fixed(v, 0), x(v), bottom + 17, "middle"),
        line("axis", LEFT - 4, y(v), LEFT, y(v)),
        write("tick", fixed(v, 0), LEFT - 8, y(v) + 4, "end"));
    }
    background.append(
      write("label", "z₁", LEFT + size(), bottom + 34, "end"),
      write("label", "z₂", LEFT - 8, 12, "end"),
      ...codes.map(([z1, z2], i) =>
        write("code", labels[i], x(z1), y(z2) + 4, "middle")));
    background.querySelectorAll(".vk-code").forEach((numeral, i) => {
      numeral.style.fill = colors[labels[i]];
    });
  }

  function draw() {
    const z = model.get("z");
    const text = z.map((value) => fixed(value, 2)).join(", ");
    decode(layers, z).forEach((ink, i) => pixels[i].setAttribute("fill-opacity", ink.toFixed(3)));
    image.setAttribute("aria-label", `The decoded image at z = (${text})`);
    find("output").textContent = text;
    const distances = codes.map(([z1, z2]) => Math.hypot(z1 - z[0], z2 - z[1]));
    const nearest = distances.indexOf(Math.min(...distances));
    find(".vk-nearest").innerHTML =
      `nearest test digit: <b>${labels[nearest]}</b>, at distance ${fixed(distances[nearest], 2)}`;
    handle.setAttribute("transform", `translate(${x(z[0])} ${y(z[1])})`);
    handle.setAttribute("aria-valuenow", z[0]);
    handle.setAttribute("aria-valuetext", `(${text}), nearest test digit ${labels[nearest]}`);
  }

  model.on("change:z", draw);
  keepKeys(el);
  const forget = remember(model);
  drawBackground();
  draw();
  const unfollow = followWidth(plane, (wide) => {
    width = Math.max(260, wide);
    drawBackground();
    draw();
  });
  return () => {
    forget();
    unfollow();
    model.off("change:z", draw);
  };
}

export default { render };
