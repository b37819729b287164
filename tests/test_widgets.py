"""The widgets: Python's half by itself, the `.js` half in a browser and against Python."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_rgb
from torch import nn
from torch.distributions import Normal, kl_divergence
from traitlets import TraitError

from vaekit.divergence import kl_gaussian
from vaekit.likelihoods import BernoulliLikelihood
from vaekit.models import VAE, digits_vae, mlp, swiss_roll_vae
from vaekit.plotting import CLASS_COLORS
from vaekit.widgets import KLWidget, LatentPlane, TypeFormula, base

KL_NAMES = ("mu_p", "sigma_p", "mu_q", "sigma_q")
STEPS = {
    "ArrowRight": 0.05,
    "ArrowUp": 0.05,
    "ArrowLeft": -0.05,
    "ArrowDown": -0.05,
    "Shift+ArrowRight": 0.5,
    "PageDown": -0.5,
}

# What the decoder of a mounted latent plane makes of each z.
DECODE = """(all) => {
  const unpacked = ({ weight, bias }) =>
    ({ weight: widget.unpack(weight), bias: widget.unpack(bias) });
  const layers = model.get("layers").map(unpacked);
  return all.map((z) => widget.decode(layers, z));
}"""


@pytest.fixture(scope="module")
def plane() -> LatentPlane:
    vae = digits_vae(latent=2, seed=1)
    x = (torch.rand(40, 64, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    return LatentPlane.from_vae(vae, x, torch.arange(40) % 10)


def settings(n: int) -> tuple[Normal, Normal, list]:
    """n random settings of p and q, float64, and the same as lists of arguments for the `.js`."""
    u = torch.rand(4, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mu_p, mu_q = 8 * u[:2] - 4
    sigma_p, sigma_q = 0.4 * (3 / 0.4) ** u[2:]
    arguments = torch.stack([mu_p, sigma_p, mu_q, sigma_q], 1).tolist()
    return Normal(mu_p, sigma_p), Normal(mu_q, sigma_q), arguments


def parameters(page) -> list[float]:
    """What the handles of the page say, in the order of `KL_NAMES`."""
    return [float(page.get_attribute(f"[data-name={name}]", "aria-valuenow")) for name in KL_NAMES]


def shown(page) -> tuple[str, str]:
    return tuple(page.inner_text(f"[data-kl={direction}]") for direction in ("pq", "qp"))


def as_shown(page) -> tuple[str, str]:
    """Both divergences at those parameters, by Python."""
    mu_p, sigma_p, mu_q, sigma_q = torch.tensor(parameters(page), dtype=torch.float64)
    p, q = Normal(mu_p, sigma_p), Normal(mu_q, sigma_q)
    return f"{kl_gaussian(p, q):.4f}", f"{kl_gaussian(q, p):.4f}"


def drag(page, handle, dx, dy=0):
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


# Python's half


def test_vaekit_imports_without_anywidget():
    code = "import sys, vaekit, vaekit.divergence, vaekit.models; print('anywidget' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_state_survives_json(plane):
    kl = KLWidget(mu_p=-1, sigma_q=0.5, direction="qp")
    state = json.loads(json.dumps(kl.get_state()))
    assert [state[name] for name in (*KL_NAMES, "direction")] == [-1.0, 1.0, 1.0, 0.5, "qp"]
    again = KLWidget(**{name: state[name] for name in (*KL_NAMES, "direction")})
    assert {**again.get_state(), "layout": state["layout"]} == {
        **kl.get_state(),
        "layout": state["layout"],
    }
    for widget in (kl, plane):
        state = widget.get_state()
        assert "export default" in state["_esm"] and ".vk-widget" in state["_css"]
        assert not re.search(r"^import ", state["_esm"], re.MULTILINE)


def test_widgets_share_their_drawing_and_their_formulas():
    """Nothing that a shared script defines is written again in a widget's own."""
    folder = Path(base.__file__).parent
    files = {folder / "drawing.js", folder / "gaussian.js"}
    text = "".join(file.read_text() for file in files)
    shared = re.findall(r"^export (?:function|const) (\w+)", text, re.M)
    assert {"fixed", "svg", "drags", "followWidth", "live", "logDensity"} <= set(shared)
    for own in set(folder.glob("*.js")) - files:
        again = re.findall(r"(?:function|const|let) (\w+)", own.read_text())
        assert not set(shared) & set(again), own.name
        assert "ResizeObserver" not in own.read_text(), own.name


def test_plain_text_is_one_sentence(plane):
    for widget in (KLWidget(), plane):
        text = repr(widget)
        assert text.endswith(".") and "Colab" in text and " object at " not in text
        assert widget._repr_mimebundle_()[0]["text/plain"] == text


SAVING = """() => {
  const [metadata, said] = [{}, []];
  let heard = null;
  const view = { data: { "application/vnd.jupyter.widget-view+json": { model_id: "a1" } } };
  const outputs = { length: 2, get: (i) => [{ data: {} }, view][i] };
  const context = {
    saveState: {
      connect: (f) => { heard = f; },
      disconnect: (f) => { if (f === heard) heard = null; },
    },
    model: { cells: [{}, { outputs }], setMetadata: (key, value) => { metadata[key] = value; } },
  };
  const a1 = { state: { layout: "IPY_MODEL_b2" } };
  const state = { a1, b2: { state: {} }, old: { state: {} } };
  const get_state_sync = () => ({ version_major: 2, version_minor: 0, state });
  const forget = widget.remember({ widget_manager: { context, get_state_sync } });
  heard(null, "completed");
  said.push(Object.keys(metadata).length);
  heard(null, "started");
  forget();
  return [...said, metadata.widgets, heard];
}"""


def test_a_saved_notebook_keeps_the_widgets_that_it_shows(mount):
    """Jupyter keeps none by itself, and without a kernel says "model not found"."""
    early, kept, heard = mount(KLWidget()).evaluate(SAVING)
    assert (early, heard) == (0, None)
    assert kept == {
        "application/vnd.jupyter.widget-state+json": {
            "version_major": 2,
            "version_minor": 0,
            "state": {"a1": {"state": {"layout": "IPY_MODEL_b2"}}, "b2": {"state": {}}},
        }
    }


@pytest.mark.parametrize("name", KL_NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 7.0, "wide", True, None])
def test_kl_widget_refuses(name, value):
    with pytest.raises(TraitError, match=name):
        KLWidget(**{name: value})


def test_kl_widget_refuses_and_keeps_the_last_good_value():
    widget = KLWidget()
    for bad in (0, -1.0):
        with pytest.raises(TraitError, match=r"sigma_p must lie between 0\.4 and 3"):
            widget.sigma_p = bad
    with pytest.raises(TraitError, match="direction"):
        widget.direction = "forward"
    assert (widget.sigma_p, widget.direction) == (1.0, "pq")


def test_latent_plane_fits_a_page(plane):
    data = {k: v for k, v in plane.get_state().items() if not k.startswith("_") and k != "layout"}
    assert len(json.dumps(data)) < 150_000


def layers(*sizes):
    return [(layer.weight, layer.bias) for layer in mlp(sizes)[::2]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder_weights": layers(3, 5, 64)}, "2 latent dimensions"),
        ({"decoder_weights": layers(2, 5, 63)}, "63 pixels"),
        ({"decoder_weights": layers(2, 500, 64)}, "28000 at most"),
        ({"codes": torch.zeros(4, 3)}, "codes must have shape"),
        ({"labels": torch.zeros(3)}, "labels"),
        ({"codes": torch.full((4, 2), torch.nan)}, "finite"),
    ],
)
def test_latent_plane_refuses(changes, message):
    good = {
        "decoder_weights": layers(2, 5, 64),
        "codes": torch.zeros(4, 2),
        "labels": torch.ones(4),
    }
    LatentPlane(**good)
    with pytest.raises(ValueError, match=message):
        LatentPlane(**{**good, **changes})


def test_python_hears_what_the_page_sends(plane):
    kl = KLWidget()
    kl.set_state({"mu_q": 2, "direction": "qp"})  # JSON knows no 2.0
    assert (kl.mu_q, kl.direction) == (2.0, "qp")
    plane.set_state({"z": [0.5, -1]})
    assert plane.z == (0.5, -1.0)
    plane.z = (0.0, 0.0)


def test_latent_plane_refuses_z_outside(plane):
    for z in ((9.0, 0.0), (0.0, float("nan"))):
        with pytest.raises(TraitError, match="z must lie between"):
            plane.z = z


def test_latent_plane_refuses_other_decoders():
    with pytest.raises(ValueError, match="Bernoulli"):
        LatentPlane.from_vae(swiss_roll_vae(), torch.zeros(1, 2), torch.zeros(1), (1, 2))
    tanh = VAE(mlp([64, 8, 4]), mlp([2, 8, 64], nn.Tanh), BernoulliLikelihood())
    with pytest.raises(ValueError, match="Linear and ReLU"):
        LatentPlane.from_vae(tanh, torch.zeros(1, 64), torch.zeros(1))


# The formulas of the .js


def test_kl_js_agrees_with_python(mount):
    page = mount(KLWidget())
    p, q, arguments = settings(60)
    both = page.evaluate(
        "(all) => all.map((a) => [widget.klGaussian(...a), widget.areas(...a)])", arguments
    )
    value = torch.tensor([kl for kl, _ in both], dtype=torch.float64)
    for reference in (kl_gaussian(p, q), kl_divergence(p, q)):
        torch.testing.assert_close(value, reference, rtol=1e-12, atol=0)
    area = torch.tensor([above - below for _, (above, below) in both], dtype=torch.float64)
    torch.testing.assert_close(area, kl_gaussian(p, q), rtol=1e-9, atol=0)


def test_kl_js_densities_agree_with_torch(mount):
    page = mount(KLWidget())
    p, q, arguments = settings(60)
    x = p.mean + 2 * p.stddev
    log_p, f = torch.tensor(
        page.evaluate(
            """([all, x]) => all.map((a, i) =>
              [widget.logDensity(x[i], a[0], a[1]), widget.integrand(x[i], ...a)])""",
            [arguments, x.tolist()],
        ),
        dtype=torch.float64,
    ).T
    torch.testing.assert_close(log_p, p.log_prob(x), rtol=1e-12, atol=1e-14)
    expected = p.log_prob(x).exp() * (p.log_prob(x) - q.log_prob(x))
    torch.testing.assert_close(f, expected, rtol=1e-12, atol=1e-14)


def test_kl_js_is_finite_in_the_tails(mount):
    page = mount(KLWidget())
    tails = page.evaluate("[-1e200, -50, 50, 1e200].map((x) => widget.integrand(x, 0, 3, 0, 0.4))")
    assert tails == pytest.approx([0, 0, 0, 0], abs=1e-50)
    assert page.evaluate("[-1e-9, 0, -1.25].map((v) => widget.fixed(v, 2))") == [
        "0.00",
        "0.00",
        "−1.25",
    ]


def test_decoder_js_agrees_with_torch(mount):
    torch.manual_seed(0)
    vae = digits_vae(latent=2, seed=2)
    for weight in vae.decoder.parameters():  # as large as after training, so that ReLUs differ
        weight.data *= 3
    plane = LatentPlane.from_vae(vae, torch.zeros(5, 64), torch.arange(5))
    z = 6 * torch.rand(60, 2, generator=torch.Generator().manual_seed(0)) - 3
    pixels = mount(plane).evaluate(DECODE, z.tolist())
    expected = vae.decode(z).mean.detach()
    assert expected.std() > 0.1
    torch.testing.assert_close(torch.tensor(pixels), expected, rtol=0, atol=1e-5)


# In the hand: mouse, finger, keyboard


def test_kl_widget_reads_without_being_touched(mount):
    page = mount(KLWidget())
    text = page.inner_text("#widget")
    for words in (
        "p = N(0.00, 1.00²)",
        "q = N(1.00, 2.00²)",
        "0.4431 nats",
        "1.3069 nats",
        "where p is the higher curve",
    ):
        assert words in " ".join(text.split())
    assert page.locator(".vk-area .vk-label").all_text_contents() == ["x", "p(x) ln[p(x)/q(x)]"]


@pytest.mark.parametrize("name", KL_NAMES)
def test_kl_widget_follows_the_mouse(mount, name):
    page = mount(KLWidget())
    before = shown(page)
    assert before == as_shown(page)
    start = page.evaluate(f"model.get('{name}')")
    drag(page, page.locator(f"[data-name={name}]"), 30)
    unit = page.evaluate("(document.querySelector('.vk-densities').clientWidth - 56) / 16")
    assert page.evaluate(f"model.get('{name}')") == pytest.approx(start + 30 / unit, abs=0.03)
    assert shown(page) == as_shown(page) != before
    page.mouse.move(10, 10)  # released: the handle follows no more
    assert shown(page) == as_shown(page)


def swipe(page, x, y, dx, dy):
    """Move a finger: Playwright has no call for it, Chromium's protocol has."""
    session = page.context.new_cdp_session(page)
    steps = [("touchStart", 0), *(("touchMove", i / 8) for i in range(1, 9)), ("touchEnd", None)]
    for kind, part in steps:
        points = [] if part is None else [{"x": x + part * dx, "y": y + part * dy}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_timeout(100)


def test_kl_widget_follows_a_finger_and_the_page_still_scrolls(mount):
    page = mount(KLWidget(), width=390, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator("[data-name=mu_q]").bounding_box()
    swipe(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 50, -60)
    assert page.evaluate("model.get('mu_q')") > 3
    assert shown(page) == as_shown(page)
    assert page.evaluate("scrollY") == 0
    swipe(page, 200, 500, 0, -200)
    assert page.evaluate("scrollY") > 100


def test_latent_plane_follows_a_finger_and_the_page_still_scrolls(mount, plane):
    page = mount(plane, width=390, has_touch=True, is_mobile=True)
    box = page.locator(".vk-point").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    unit = page.evaluate("(document.querySelector('.vk-plane').clientWidth - 44)") / 6
    page.touchscreen.tap(x - 80, y)
    assert page.evaluate("model.get('z')") == pytest.approx([-80 / unit, 0], abs=0.05)
    swipe(page, x - 80, y, 120, -60)
    dragged = page.evaluate("model.get('z')")
    assert dragged == pytest.approx([40 / unit, 60 / unit], abs=0.05)
    assert page.evaluate("scrollY") == 0
    swipe(page, x - 80, y + 80, 0, -200)
    assert page.evaluate("scrollY") > 100
    assert page.evaluate("model.get('z')") == dragged


def test_kl_widget_follows_the_keyboard(mount):
    page = mount(KLWidget())
    page.locator(".vk-presets button").last.focus()
    for name in KL_NAMES:
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.get_attribute("data-name") == name
        assert focused.get_attribute("role") == "slider"
        start = float(focused.get_attribute("aria-valuenow"))
        for key, step in STEPS.items():
            before = float(focused.get_attribute("aria-valuenow"))
            page.keyboard.press(key)
            assert float(focused.get_attribute("aria-valuenow")) == pytest.approx(before + step)
            assert shown(page) == as_shown(page)
        assert float(focused.get_attribute("aria-valuenow")) == pytest.approx(start)
        for key, end in [
            ("End", "aria-valuemax"),
            ("ArrowRight", "aria-valuemax"),
            ("Home", "aria-valuemin"),
        ]:
            page.keyboard.press(key)
            assert focused.get_attribute("aria-valuenow") == focused.get_attribute(end)
            assert shown(page) == as_shown(page)
        ring = "getComputedStyle(document.activeElement.querySelector('.vk-touch')).strokeWidth"
        assert page.evaluate(ring) == "2.5px"


def test_kl_widget_changes_direction_and_answers_the_kernel(mount):
    page = mount(KLWidget(sigma_q=0.5))
    both = shown(page)
    page.get_by_label("KL(q‖p)").check()
    assert page.evaluate("model.get('direction')") == "qp"
    assert page.locator(".vk-area .vk-label").last.text_content() == "q(x) ln[q(x)/p(x)]"
    assert "That is KL(q‖p)" in page.inner_text(".vk-sentence")
    assert shown(page) == both
    page.evaluate("tell('mu_p', -3)")
    assert shown(page) == as_shown(page) != both
    page.get_by_role("button", name="p = q").click()
    assert shown(page) == ("0.0000", "0.0000")
    assert "p and q are equal" in page.inner_text(".vk-sentence")
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0


def test_kl_widgets_of_one_page_do_not_meet(mount):
    page = mount(KLWidget())
    page.evaluate(
        """() => {
          const other = document.body.appendChild(document.createElement("div"));
          const state = { mu_p: 0, sigma_p: 1, mu_q: 0, sigma_q: 1, direction: "qp",
            mu_limits: [-4, 4], sigma_limits: [0.4, 3] };
          widget.default.render({ model: { ...model, get: (name) => state[name] }, el: other });
        }"""
    )
    assert page.locator("input:checked").evaluate_all("all => all.map((r) => r.value)") == [
        "pq",
        "qp",
    ]


def test_latent_plane_follows_mouse_and_keyboard(mount, plane):
    page = mount(plane)
    ink = lambda: page.locator(".vk-decoded rect").evaluate_all(  # noqa: E731
        "all => all.map((r) => Number(r.getAttribute('fill-opacity')))"
    )
    decoded = lambda: page.evaluate(DECODE, [page.evaluate("model.get('z')")])[0]  # noqa: E731
    handle = page.locator(".vk-point")
    before = ink()
    drag(page, handle, 70, -40)
    z = page.evaluate("model.get('z')")
    unit = page.evaluate("(document.querySelector('.vk-plane').clientWidth - 44)") / 6
    assert z == pytest.approx([70 / unit, 40 / unit], abs=0.05)
    assert ink() == pytest.approx(decoded(), abs=6e-4)
    assert ink() != before
    handle.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert page.evaluate("model.get('z')") == pytest.approx([z[0] - 0.1, z[1] - 0.5])
    assert ink() == pytest.approx(decoded(), abs=6e-4)
    z2 = page.evaluate("model.get('z')[1]")
    limit = page.evaluate("model.get('limit')")
    for key, expected in {  # none of them may scroll the page
        "End": [limit, z2],
        "Home": [-limit, z2],
        "PageUp": [-limit, z2 + 0.5],
        "PageDown": [-limit, z2],
        "0": [0, 0],
    }.items():
        page.keyboard.press(key)
        assert page.evaluate("model.get('z')") == pytest.approx(expected)
    assert page.evaluate("scrollY") == 0
    assert page.inner_text(".vk-decoded output") == "0.00, 0.00"
    page.evaluate("tell('z', [-1, 2])")
    assert page.inner_text(".vk-decoded output") == "−1.00, 2.00"
    assert ink() == pytest.approx(decoded(), abs=6e-4)
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0


def test_latent_plane_fits_a_phone_and_names_every_class(mount, plane):
    page = mount(plane, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator(".vk-code").all_text_contents() == [str(i % 10) for i in range(40)]
    assert "nearest test digit" in page.inner_text(".vk-nearest")


def test_widgets_follow_the_width_of_the_page(mount, plane):
    for widget, drawing in ((KLWidget(), ".vk-densities"), (plane, ".vk-plane svg")):
        page = mount(widget)
        drawn = "s => [...document.querySelectorAll(s)].map((e) => e.viewBox.baseVal.width)[0]"
        given = "s => Math.max(260, document.querySelector(s).clientWidth)"
        for width in (800, 500, 320, 390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            page.evaluate("new Promise((r) => setTimeout(r, 100))")
            # a phone of 320 px gets the narrowest drawing, scaled down
            wide = max(page.evaluate(given, drawing), 280 if widget is not plane else 260)
            assert page.evaluate(drawn, drawing) == wide
        node = f"document.querySelector('{drawing}')"
        # What changes the height alone draws nothing anew.
        page.evaluate(f"window.before = {node}.querySelector('text')")
        page.evaluate(f"{node}.style.height = '123px'")
        page.evaluate("new Promise((r) => setTimeout(r, 100))")
        assert page.evaluate("window.before.isConnected")
        assert page.evaluate("errors") == []


def test_a_widget_in_a_fold_is_drawn_when_it_opens(mount):
    page = mount(KLWidget())
    page.evaluate("document.getElementById('widget').style.display = 'none'")
    page.set_viewport_size({"width": 420, "height": 800})
    page.evaluate("new Promise((r) => setTimeout(r, 100))")
    page.evaluate("document.getElementById('widget').style.display = ''")
    page.wait_for_function("document.querySelector('.vk-densities').viewBox.baseVal.width < 420")
    assert page.evaluate("errors") == []


def test_the_point_stands_on_its_line(mount, plane):
    """Bootstrap makes a block of every output, which WebKit lifts off the line."""
    page = mount(plane)
    page.add_style_tag(content="output { display: inline-block }")
    assert page.locator("output").evaluate("e => getComputedStyle(e).display") == "inline"


def test_jupyter_leaves_the_keys_to_the_widgets(mount, plane):
    for widget in (KLWidget(), plane):
        focusable = mount(widget).locator("[tabindex], button, input")
        inside = focusable.evaluate_all(
            "all => all.map((e) => e.dataset.lmSuppressShortcuts === 'true')"
        )
        assert inside and all(inside)


def test_classes_have_one_colour_in_figures_and_widgets(mount, plane):
    page = mount(plane)
    shown = page.locator(".vk-code").evaluate_all("a => a.map((e) => getComputedStyle(e).fill)")
    rgb = [[round(255 * c) for c in to_rgb(color)] for color in CLASS_COLORS]
    assert shown == ["rgb({}, {}, {})".format(*rgb[i % 10]) for i in range(40)]
    assert len(set(CLASS_COLORS)) == 10


# In the built page


def test_kl_widget_lives_in_the_built_page(browser, built_book):
    """From the folder, with no kernel and the network cut, as a reader opens it."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    page.goto(f"{built_book.as_uri()}/chapters/03_kl_divergence.html")
    stored = page.locator('script[type="application/vnd.jupyter.widget-state+json"]')
    states = json.loads(stored.text_content())["state"].values()
    scripts = [entry["state"]["_esm"] for entry in states if "_esm" in entry["state"]]
    now = {str(KLWidget._esm), str(TypeFormula._esm)}
    assert set(scripts) == now  # none that a cached run has kept

    page.locator(".vk-widget .vk-densities").wait_for()
    assert parameters(page) == [0, 1, 1, 2]
    for name in KL_NAMES:
        handle = page.locator(f"[data-name={name}]")
        handle.scroll_into_view_if_needed()
        start = parameters(page)
        drag(page, handle, 30)
        dragged = parameters(page)
        assert shown(page) == as_shown(page)
        page.keyboard.press("ArrowLeft")
        assert start != dragged != parameters(page)
        assert shown(page) == as_shown(page)
    page.get_by_label("KL(q‖p)").check()
    assert "That is KL(q‖p)" in page.inner_text(".vk-sentence")
    context.close()
