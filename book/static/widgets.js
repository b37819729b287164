// Mounts the page's widgets from the state that was stored when the book was built, by the part of
// the anywidget protocol that needs no kernel. Works from file://, where only blob URLs import.
(async () => {
  const stored = document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]');
  const views = document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]');
  if (!stored) return;
  const { state: widgets } = JSON.parse(stored.textContent);

  function bytes(base64) {
    return new DataView(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)).buffer);
  }

  function makeModel({ state, buffers = [] }) {
    for (const { path, data } of buffers) {
      path.slice(0, -1).reduce((value, key) => value[key], state)[path.at(-1)] = bytes(data);
    }
    const listeners = new Map();
    const emit = (event, ...values) => [...(listeners.get(event) ?? [])].forEach((f) => f(...values));
    return {
      get: (key) => state[key],
      set(key, value) {
        if (state[key] === value) return;
        state[key] = value;
        emit(`change:${key}`, this, value);
        emit("change", this);
      },
      on: (event, f) => listeners.set(event, (listeners.get(event) ?? new Set()).add(f)),
      off: (event, f) => (f ? listeners.get(event)?.delete(f) : listeners.delete(event)),
      save_changes() {},
      send() {},
    };
  }

  const mounted = new Map();
  async function mount(id) {
    const model = makeModel(widgets[id]);
    const url = URL.createObjectURL(new Blob([model.get("_esm")], { type: "text/javascript" }));
    const { default: exported } = await import(url);
    const widget = typeof exported === "function" ? await exported() : exported;
    const style = document.createElement("style");
    style.textContent = model.get("_css") ?? "";
    document.head.append(style);
    await widget.initialize?.({ model });
    return { model, widget };
  }

  for (const view of views) {
    const { model_id: id } = JSON.parse(view.textContent);
    if (!widgets[id]?.state._esm) continue; // a child of a widget, such as its layout
    if (!mounted.has(id)) mounted.set(id, mount(id));
    const { model, widget } = await mounted.get(id);
    const el = document.createElement("div");
    view.after(el);
    await widget.render?.({ model, el });
  }
})();
