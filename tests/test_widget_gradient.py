"""The widget of chapter 8: its formulas against Python and torch, and in the hand."""

import json

import pytest
import torch
from torch.distributions import Normal
from traitlets import TraitError

from vaekit.estimates import integrate
from vaekit.gradients import pathwise, score_function
from vaekit.widgets import GradientWidget

LOSSES = {
    "quadratic": lambda z: z**2 / 2,
    "step": lambda z: (z > 0).double(),
    "wave": lambda z: (8 * z).sin(),
}


def settings(n=12):
    u = torch.rand(2, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return 2 * u[0] - 1, 0.4 + u[1]


@pytest.mark.parametrize("name", ["n", "seed"])
@pytest.mark.parametrize("value", [-1, 1.5, float("nan"), True, None, "many", 10**7])
def test_refuses(name, value):
    with pytest.raises(TraitError, match=name):
        GradientWidget(**{name: value})


def test_keeps_the_last_good_value():
    widget = GradientWidget(n=8, loss="wave", seed=3)
    with pytest.raises(TraitError, match="n must lie between 1 and 256"):
        widget.n = 0
    with pytest.raises(TraitError, match="loss"):
        widget.loss = "cubic"
    assert (widget.n, widget.loss, widget.seed) == (8, "wave", 3)
    assert json.loads(json.dumps(widget.get_state()))["n"] == 8
    assert repr(widget).endswith(".") and "Colab" in repr(widget)


@pytest.mark.parametrize("loss", LOSSES)
def test_js_samples_agree_with_vaekit(mount, loss):
    mu, sigma = settings()
    options = {"n": 5, "seed": 2}
    path, _ = pathwise(LOSSES[loss], Normal, mu, sigma, **options)
    score, _ = score_function(LOSSES[loss], Normal, mu, sigma, **options)
    # both draw the same z from the same seed; a quadratic's path is z itself
    z, _ = pathwise(lambda z: z**2 / 2, Normal, mu, sigma, **options)
    rows = torch.stack([mu.expand(5, 12), sigma.expand(5, 12), (z - mu) / sigma], -1).flatten(0, 1)
    both = mount(GradientWidget()).evaluate(
        "([loss, all]) => all.map((a) => widget.perSample(loss, ...a))", [loss, rows.tolist()]
    )
    expected = torch.stack([path.flatten(), score.flatten()], 1)
    torch.testing.assert_close(torch.tensor(both, dtype=torch.float64), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_js_means_and_variances_are_integrals(mount, loss):
    mu, sigma = settings()
    known = mount(GradientWidget()).evaluate(
        """([loss, all]) => all.map(([mu, sigma]) => {
          const { truth, pathwise, score } = widget.exact(loss, mu, sigma);
          return [truth, ...pathwise, ...score];
        })""",
        [loss, torch.stack([mu, sigma], 1).tolist()],
    )
    slope = {
        "quadratic": lambda z: z,
        "step": torch.zeros_like,
        "wave": lambda z: 8 * (8 * z).cos(),
    }

    def moments(t):  # on both sides of z = 0, where the step jumps
        total = 0
        for sign in (1, -1):
            eps = -mu / sigma + sign * t
            z = mu + sigma * eps
            density = Normal(0.0, 1.0).log_prob(eps).exp()
            path, score = slope[loss](z), LOSSES[loss](z) * eps / sigma
            total = total + density * torch.stack([path, path**2, score, score**2])
        return total

    path, path_2, score, score_2 = integrate(moments, 0.0, 14.0).value
    expected = torch.stack([score, path, path_2 - path**2, score, score_2 - score**2], 1)
    torch.testing.assert_close(
        torch.tensor(known, dtype=torch.float64), expected, rtol=1e-9, atol=1e-9
    )


def test_js_normals_are_normal(mount):
    page = mount(GradientWidget())
    x = torch.tensor(page.evaluate("[...widget.normals(100000, 7)]"), dtype=torch.float64)
    moments = torch.stack([x, x**2, x**3, x**4]).mean(1)
    torch.testing.assert_close(moments, torch.tensor([0.0, 1, 0, 3]).double(), rtol=0, atol=0.08)
    assert page.evaluate("widget.normals(3, 7)[2] === widget.normals(9, 7)[2]")
    cdf = page.evaluate("[-3, -0.5, 0, 1, 4].map((t) => widget.cumulative(t))")
    expected = Normal(0.0, 1.0).cdf(torch.tensor([-3, -0.5, 0, 1, 4], dtype=torch.float64))
    torch.testing.assert_close(torch.tensor(cdf, dtype=torch.float64), expected, atol=1e-12, rtol=0)


def test_reads_without_being_touched(mount):
    text = " ".join(mount(GradientWidget()).inner_text("#widget").split())
    assert "score function needs 7.5 times as many samples" in text
    for words in ("pathwise", "score function", "truth 1.000", "n = 1", "beyond the picture"):
        assert words in text


def test_follows_keys_mouse_and_radios(mount):
    page = mount(GradientWidget())
    handle = page.locator("[role=slider]")
    handle.focus()
    for key, expected in {
        "ArrowRight": 2, "PageUp": 4, "Shift+ArrowUp": 14, "PageDown": 7, "ArrowLeft": 6,
        "End": 256, "Home": 1,
    }.items():  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate("model.get('n')") == expected
    assert page.evaluate("scrollY") == 0
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 200, y)
    page.mouse.up()
    n = page.evaluate("model.get('n')")
    assert 2 < n < 20
    assert page.inner_text("[data-sd=pathwise]") == f"{n**-0.5:.3f}"
    page.get_by_label("1 if z > 0").check()
    assert "0 every time" in page.inner_text(".vk-sentence")
    page.get_by_label("sin 8z").check()
    assert "the pathwise gradient needs" in page.inner_text(".vk-sentence")
    bars = page.get_attribute("[data-bars=score]", "d")
    page.get_by_text("draw again").click()
    assert page.get_attribute("[data-bars=score]", "d") != bars
    page.evaluate("tell('n', 256)")
    assert page.get_attribute("[role=slider]", "aria-valuenow") == "256"
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0


def test_fits_a_phone_answers_a_finger_and_keeps_its_keys(mount):
    page = mount(GradientWidget(), width=390, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    inside = page.locator("[tabindex], button, input").evaluate_all(
        "all => all.map((e) => e.dataset.lmSuppressShortcuts === 'true')"
    )
    assert len(inside) == 5 and all(inside)


def test_answers_within_a_frame(mount):
    page = mount(GradientWidget())
    took = page.evaluate(
        """() => {
          const start = performance.now();
          for (let n = 1; n <= 20; n++) tell("n", n);
          return (performance.now() - start) / 20;
        }"""
    )
    assert took < 50  # a frame on a free machine; tests share theirs
