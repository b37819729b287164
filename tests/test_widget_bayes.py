"""The widget of chapter 4: its `.js` against Python, and in the hand."""

import json

import pytest
import torch
from traitlets import TraitError

from vaekit.bayes import LinearGaussian
from vaekit.estimates import integrate
from vaekit.widgets import BayesWidget


def settings(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    u = torch.rand(2, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 8 * u[0] - 4, 0.3 * 10 ** u[1]


def model_of(s: torch.Tensor) -> LinearGaussian:
    return LinearGaussian(torch.ones(len(s), 1, 1).double(), torch.zeros(len(s), 1).double(), s)


def shown(page) -> str:
    return page.inner_text("[data-value=evidence]")


def as_shown(page) -> str:
    x, s = (torch.tensor([page.evaluate(f"model.get('{name}')")]).double() for name in "xs")
    return f"{model_of(s).evidence.log_prob(x[:, None]).exp().item():.4f}"


@pytest.mark.parametrize("name", ["x", "s"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 9.0, "wide", True])
def test_it_refuses_bad_values_and_keeps_the_last_good_one(name, value):
    widget = BayesWidget()
    with pytest.raises(TraitError, match=name):
        setattr(widget, name, value)
    assert (widget.x, widget.s) == (1.5, 1.0)
    with pytest.raises(TraitError, match=name):
        BayesWidget(**{name: None})


def test_state_survives_json():
    state = json.loads(json.dumps(BayesWidget(x=-1, s=0.5).get_state()))
    assert (state["x"], state["s"]) == (-1.0, 0.5)
    assert "Colab" in repr(BayesWidget())


def test_js_agrees_with_python(mount):
    page = mount(BayesWidget())
    x, s = settings()
    pairs = torch.stack([x, s], 1).tolist()
    found = page.evaluate(
        "(all) => all.map((a) => [...widget.posterior(...a), widget.evidence(...a)])", pairs
    )
    mean, sd, evidence = torch.tensor(found, dtype=torch.float64).T
    exact, at = model_of(s), x[:, None]
    torch.testing.assert_close(mean, exact.posterior(at).mean[:, 0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(sd, exact.posterior(at).stddev[:, 0], rtol=1e-12, atol=0)
    torch.testing.assert_close(evidence, exact.evidence.log_prob(at).exp(), rtol=1e-11, atol=0)


def test_js_area_is_the_evidence(mount):
    page = mount(BayesWidget())
    x, s = settings()
    pairs, z = torch.stack([x, s], 1).tolist(), 0.7
    found = page.evaluate("([all, z]) => all.map((a) => widget.product(z, ...a))", [pairs, z])
    exact = model_of(s)
    joint = exact.log_joint(x[:, None], torch.full((len(s), 1), z, dtype=torch.float64)).exp()
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), joint, rtol=1e-11, atol=0)
    area = integrate(lambda z: exact.log_joint(x[:, None], z.expand(len(s), 1)).exp(), -15, 15)
    torch.testing.assert_close(area.value, exact.evidence.log_prob(x[:, None]).exp())


def test_it_reads_without_being_touched(mount):
    page = mount(BayesWidget())
    text = " ".join(page.inner_text("#widget").split())
    for words in ("N(0, 1)", "x = 1.50, s = 1.00", "N(0.75, 0.71²)", "p(x) = 0.1607", "1 + 1.00"):
        assert words in text, words
    assert shown(page) == as_shown(page)


@pytest.mark.parametrize("name", ["x", "s"])
def test_it_follows_the_mouse_and_the_keyboard(mount, name):
    page = mount(BayesWidget())
    before = shown(page)
    handle = page.locator(f"[data-name={name}]")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y)
    page.mouse.up()
    assert shown(page) == as_shown(page) != before
    handle.focus()
    assert handle.get_attribute("role") == "slider"
    start = float(handle.get_attribute("aria-valuenow"))
    for key, step in (("ArrowRight", 0.05), ("ArrowDown", -0.05), ("PageUp", 0.5)):
        page.keyboard.press(key)
        start += step
        assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(start)
        assert shown(page) == as_shown(page)
    page.keyboard.press("Home")
    assert handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemin")


def test_it_fits_a_phone_answers_the_kernel_and_leaves(mount):
    page = mount(BayesWidget(), width=390, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("sharp", "noisy", "surprise"):
        page.get_by_role("button", name=name).click()
        assert shown(page) == as_shown(page)
        box = page.locator("[data-name=s]").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.evaluate("tell('x', -2)")
    assert shown(page) == as_shown(page)
    controls = page.locator("#widget [tabindex], #widget button")
    kept = controls.evaluate_all(
        "all => all.every((c) => c.dataset.lmSuppressShortcuts === 'true')"
    )
    assert kept
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0
