"""The widget of chapter 2: its formulas against Python's, and the widget in the hand."""

import json

import pytest
import torch
from scipy import stats
from traitlets import TraitError

from vaekit.gaussian import interval_probability, log_prob
from vaekit.widgets import GaussianArea

HANDLES = ("mu", "sigma", "lower", "upper")


def shown(page, value):
    return page.inner_text(f"[data-value={value}]")


def as_shown(page) -> tuple[str, float]:
    """The probability as the page should print it and the density in the middle, by Python."""
    names = ("lower", "upper", "mu", "sigma")
    values = [page.evaluate(f"model.get('{name}')") for name in names]
    lower, upper, mu, sigma = torch.tensor(values, dtype=torch.float64)
    lower, upper = torch.minimum(lower, upper), torch.maximum(lower, upper)
    middle = (lower + upper) / 2
    area = interval_probability(lower, upper, mu, sigma)
    return f"{area:.4f}", log_prob(middle, mu, sigma).exp().item()


def agrees(page) -> bool:
    area, density = as_shown(page)
    size = 100 if page.evaluate("model.get('unit')") == "cm" else 1
    seen = float(shown(page, "density"))
    return shown(page, "probability") == area and seen == pytest.approx(
        density / size, rel=6e-3, abs=6e-5
    )


def drag(page, name, dx):
    box = page.locator(f"[data-name={name}]").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y)
    page.mouse.move(x + dx, y)
    page.mouse.up()


# Python's half


def test_state_survives_json():
    widget = GaussianArea(mu=1.7, lower=1.795, upper=1.805, unit="cm")
    state = json.loads(json.dumps(widget.get_state()))
    assert [state[name] for name in (*HANDLES, "unit")] == [1.7, 0.07, 1.795, 1.805, "cm"]
    assert repr(widget).endswith(".") and "Colab" in repr(widget)


@pytest.mark.parametrize("name", HANDLES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 7.0, -1.0, "wide", True, None])
def test_it_refuses(name, value):
    with pytest.raises(TraitError, match=name):
        GaussianArea(**{name: value})


def test_it_refuses_other_units():
    with pytest.raises(TraitError, match="unit"):
        GaussianArea(unit="inch")


# The formulas of the .js


def test_js_agrees_with_python(mount):
    page = mount(GaussianArea())
    u = torch.rand(4, 80, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mu, sigma = 4 * u[0] - 2, 0.05 + 2 * u[1]
    lower = mu - 9 * sigma * u[2]
    upper = mu + 9 * sigma * u[3]
    arguments = torch.stack([lower, upper, mu, sigma], 1).tolist()
    area = page.evaluate("(all) => all.map((a) => widget.probability(...a))", arguments)
    expected = interval_probability(lower, upper, mu, sigma)
    torch.testing.assert_close(
        torch.tensor(area, dtype=torch.float64), expected, rtol=0, atol=2e-15
    )
    height = page.evaluate("(all) => all.map((a) => widget.density(a[0], a[2], a[3]))", arguments)
    torch.testing.assert_close(
        torch.tensor(height, dtype=torch.float64),
        log_prob(lower, mu, sigma).exp(),
        rtol=1e-12,
        atol=1e-300,
    )


def test_js_cumulative_is_that_of_scipy(mount):
    t = torch.linspace(-12, 12, 97, dtype=torch.float64)
    phi = mount(GaussianArea()).evaluate("(all) => all.map(widget.cumulative)", t.tolist())
    torch.testing.assert_close(
        torch.tensor(phi, dtype=torch.float64),
        torch.from_numpy(stats.norm.cdf(t)),
        rtol=0,
        atol=2e-15,
    )


# In the hand


def test_it_reads_without_being_touched(mount):
    page = mount(GaussianArea())
    text = " ".join(page.inner_text("#widget").split())
    for words in ("N(1.750, 0.070²), in m", "0.2625", "5.35", "per metre"):
        assert words in text
    assert agrees(page)


def test_the_unit_changes_the_density_and_not_the_probability(mount):
    page = mount(GaussianArea(lower=1.795, upper=1.805))
    area, density = shown(page, "probability"), float(shown(page, "density"))
    assert (area, density) == ("0.0441", 4.42)
    page.get_by_label("centimetres").check()
    assert page.evaluate("model.get('unit')") == "cm"
    assert shown(page, "probability") == area
    assert float(shown(page, "density")) == pytest.approx(density / 100, rel=2e-3)
    assert "179.5 and 180.5 cm" in page.inner_text("#widget")
    assert page.locator(".vk-bell .vk-label").all_text_contents() == [
        "height in cm",
        "density per centimetre",
    ]


@pytest.mark.parametrize("name", HANDLES)
def test_it_follows_the_mouse(mount, name):
    page = mount(GaussianArea())
    start = page.evaluate(f"model.get('{name}')")
    unit = page.evaluate("(document.querySelector('.vk-bell').clientWidth - 60) / 0.5")
    drag(page, name, 30)
    assert page.evaluate(f"model.get('{name}')") == pytest.approx(start + 30 / unit, abs=0.003)
    assert agrees(page)


def test_the_ends_may_cross(mount):
    page = mount(GaussianArea())
    drag(page, "lower", 200)
    assert page.evaluate("model.get('lower') > model.get('upper')")
    assert agrees(page) and float(shown(page, "probability")) > 0


def test_it_follows_the_keyboard(mount):
    page = mount(GaussianArea())
    page.locator(".vk-presets button").last.focus()
    for name in HANDLES:
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.get_attribute("data-name") == name
        assert focused.get_attribute("role") == "slider"
        leap = 0.02 if name == "sigma" else 0.05
        for key, step in {
            "ArrowRight": 0.005,
            "ArrowDown": -0.005,
            "Shift+ArrowLeft": -leap,
            "PageUp": leap,
        }.items():
            before = float(focused.get_attribute("aria-valuenow"))
            page.keyboard.press(key)
            assert float(focused.get_attribute("aria-valuenow")) == pytest.approx(before + step)
            assert agrees(page)
        for key, end in (("End", "aria-valuemax"), ("Home", "aria-valuemin")):
            page.keyboard.press(key)
            assert focused.get_attribute("aria-valuenow") == focused.get_attribute(end)
            assert agrees(page)
        page.keyboard.press("PageUp")
    inside = page.locator("[tabindex], button, input").evaluate_all(
        "all => all.map((e) => e.dataset.lmSuppressShortcuts === 'true')"
    )
    assert inside and all(inside)


def test_examples_and_the_kernel(mount):
    page = mount(GaussianArea())
    page.get_by_role("button", name="μ ± σ").click()
    assert shown(page, "probability") == "0.6827"
    page.get_by_role("button", name="1.80 m to the cm").click()
    assert shown(page, "probability") == "0.0441"
    page.evaluate("tell('mu', 1.8)")
    assert agrees(page)
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0


def test_it_fits_a_phone_and_answers_a_finger(mount):
    page = mount(GaussianArea(), width=390, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator("[data-name=mu]").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)
    for kind, dx in (("touchStart", 0), ("touchMove", 25), ("touchMove", 50), ("touchEnd", None)):
        points = [] if dx is None else [{"x": x + dx, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_timeout(100)
    assert page.evaluate("model.get('mu')") > 1.8
    assert agrees(page)
