"""The widget of chapter 5: Python's half, and the `.js` half in a browser and against Python."""

import json

import pytest
import torch
from traitlets import TraitError

from vaekit.mixture import GaussianMixture
from vaekit.widgets import EMWidget


@pytest.fixture(scope="module")
def data() -> torch.Tensor:
    u = torch.rand(150, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.where(torch.arange(150) < 50, 1 + u, 3.2 + 3 * u).round(decimals=1)


def mixture(mu: float) -> GaussianMixture:
    """The widget's model in Python."""
    means = torch.tensor([[4.0], [mu]], dtype=torch.float64)
    variances = torch.full((2, 1, 1), 0.7**2, dtype=torch.float64)
    return GaussianMixture(torch.full((2,), 0.5, dtype=torch.float64), means, variances)


def heights(data, mu, mu_q) -> list[float]:
    """Mean log-likelihood, bound and divergence by vaekit."""
    x, model = data[:, None], mixture(mu)
    q, posterior = mixture(mu_q).e_step(x), model.e_step(x)
    divergence = (q * (q / posterior).log()).sum(-1)
    return [v.mean().item() for v in (model.log_prob(x), model.elbo(x, q), divergence)]


def m_step(data, mu_q) -> float:
    x = data[:, None]
    return GaussianMixture.m_step(x, mixture(mu_q).e_step(x)).means[1].item()


# Python's half


def test_state_survives_json(data):
    state = json.loads(json.dumps(EMWidget(data, mu=2, mu_q=5.5).get_state()))
    assert (state["mu"], state["mu_q"], state["data"]) == (2.0, 5.5, data.tolist())
    assert "export default" in state["_esm"] and ".vk-widget" in state["_css"]


def test_float32_data_keep_their_digits(data):
    assert EMWidget(data.float()).data == data.tolist()


@pytest.mark.parametrize("name", ["mu", "mu_q"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 9.0, "left", True, None])
def test_refuses_a_bad_mean(data, name, value):
    with pytest.raises(TraitError, match=name):
        EMWidget(data, **{name: value})


@pytest.mark.parametrize(
    "bad",
    [
        torch.ones(3, 1),
        torch.ones(1),
        torch.ones(501),
        torch.tensor([1.0, torch.nan]),
        torch.zeros(3),
    ],
)
def test_refuses_bad_data(bad):
    with pytest.raises(ValueError, match="data must"):
        EMWidget(bad)


def test_plain_text_is_one_sentence(data):
    assert repr(EMWidget(data)).endswith("to take steps.")


# The formulas of the .js


def test_js_agrees_with_python(mount, data):
    page = mount(EMWidget(data))
    u = torch.rand(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pairs = (0.4 + 7.2 * u).tolist()
    theirs = page.evaluate(
        """([data, pairs]) => pairs.map(([mu, muQ]) => {
          const { likelihood, bound, divergence } = widget.heights(data, mu, muQ, 4.0, 0.7);
          return [likelihood, bound, divergence, widget.mStep(data, muQ, 4.0, 0.7)];
        })""",
        [data.tolist(), pairs],
    )
    for (mu, mu_q), found in zip(pairs, theirs, strict=True):
        expected = [*heights(data, mu, mu_q), m_step(data, mu_q)]
        assert found == pytest.approx(expected, rel=1e-11, abs=1e-12)
        assert found[0] == pytest.approx(found[1] + found[2], abs=1e-12)


def test_js_is_finite_far_from_the_data(mount, data):
    page = mount(EMWidget(data))
    far = page.evaluate("widget.logPosterior(1e6, 1, 4.0, 0.7)")
    assert far[0] == 0 and far[1] < -1e5


# In the hand: mouse, finger, keyboard


def shown(page) -> tuple[float, float, float]:
    """Log-likelihood, bound and divergence as the sentence gives them."""
    words = page.inner_text(".vk-sentence").replace("−", "-").split()
    return tuple(
        float(words[words.index(w) + 1]) for w in ("log-likelihood", "bound", "divergence")
    )


def as_shown(page, data):
    mu, mu_q = page.evaluate("[model.get('mu'), model.get('mu_q')]")
    return pytest.approx(heights(data, mu, mu_q), abs=1.1e-4)


def test_e_and_m_step(mount, data):
    page = mount(EMWidget(data))
    assert shown(page) == as_shown(page, data)
    likelihood, _, gap = shown(page)
    assert gap > 0
    page.get_by_role("button", name="E-step").click()
    assert shown(page) == (likelihood, likelihood, 0)
    assert "touches" in page.inner_text(".vk-sentence")
    page.get_by_role("button", name="M-step").click()
    assert page.evaluate("model.get('mu')") == pytest.approx(m_step(data, 3.3), rel=1e-12)
    assert shown(page) == as_shown(page, data)
    assert shown(page)[0] > shown(page)[1] > likelihood
    page.get_by_role("button", name="20 turns").click()
    mu = page.evaluate("model.get('mu')")
    assert m_step(data, mu) == pytest.approx(mu, abs=1e-3)
    page.get_by_role("button", name="start anew").click()
    assert page.evaluate("[model.get('mu'), model.get('mu_q')]") == [3.3, 4.0]


def test_follows_the_mouse_the_keyboard_and_the_kernel(mount, data):
    page = mount(EMWidget(data))
    handle = page.locator("[data-name=mu]")
    box = handle.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + 5)
    page.mouse.up()
    unit = page.evaluate("(document.querySelector('.vk-curves').clientWidth - 58) / 7.2")
    assert page.evaluate("model.get('mu')") == pytest.approx(3.3 + 60 / unit, abs=0.03)
    assert shown(page) == as_shown(page, data)
    assert page.evaluate("model.get('mu_q')") == 4.0  # no E-step yet
    handle.focus()
    before = page.evaluate("model.get('mu')")
    for key, step in {"ArrowLeft": -0.05, "Shift+ArrowRight": 0.5, "PageDown": -0.5}.items():
        page.keyboard.press(key)
        before += step
        assert page.evaluate("model.get('mu')") == pytest.approx(before)
    for key, end in {"End": 7.6, "Home": 0.4}.items():
        page.keyboard.press(key)
        assert float(handle.get_attribute("aria-valuenow")) == end
        assert shown(page) == as_shown(page, data)
    assert page.evaluate("scrollY") == 0
    page.evaluate("tell('mu', 5)")
    assert shown(page) == as_shown(page, data)
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0


def test_fits_a_phone_and_follows_its_width(mount, data):
    page = mount(EMWidget(data), width=390, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for width in (320, 800, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate("new Promise((r) => setTimeout(r, 100))")
        given = page.evaluate("document.querySelector('.vk-curves').clientWidth")
        drawn = page.evaluate("document.querySelector('.vk-curves').viewBox.baseVal.width")
        assert drawn == max(280, given)
    assert page.evaluate("errors") == []


def test_jupyter_leaves_the_keys_to_the_widget(mount, data):
    inside = (
        mount(EMWidget(data))
        .locator("[tabindex], button")
        .evaluate_all("all => all.map((e) => e.dataset.lmSuppressShortcuts === 'true')")
    )
    assert inside and all(inside)
