"""A page with one widget in it, for the tests of widgets."""

import json

import pytest

# The least a page may give a widget: a model whose `set` tells nobody, as none but the widget is
# there to hear. `tell` plays a kernel that changes a value.
HARNESS = """<!doctype html><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>%s</style>
<p style="height: 40px">above</p><div id="widget"></div><p style="height: 1200px">below</p>
<script type="module">
const state = %s;
const heard = {};
window.errors = [];  // what is uncaught, a resize observer's loop among it, which no console shows
window.addEventListener("error", (event) => window.errors.push(event.message));
window.model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; },
  on: (event, f) => { (heard[event] ??= new Set()).add(f); },
  off: (event, f) => { heard[event]?.delete(f); },
  save_changes() {}, send() {},
};
window.listeners = () => Object.values(heard).reduce((n, fs) => n + fs.size, 0);
window.tell = (name, value) => {
  state[name] = value;
  heard[`change:${name}`].forEach((f) => f());
};
const url = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
window.widget = await import(url);
window.leave = widget.default.render({ model, el: document.getElementById("widget") });
window.ready = true;
</script>"""


@pytest.fixture
def mount(browser):
    """Return a function that opens a page with a widget in it; errors in the page fail the test."""
    contexts, errors = [], []

    def open_page(widget, width=800, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        state = {k: v for k, v in widget.get_state().items() if k != "layout"}
        page.set_content(HARNESS % (state["_css"], json.dumps(state).replace("</", "<\\/")))
        page.wait_for_function("window.ready")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
