"""The widget of chapter 6: its `.js` against Python, and in the hand."""

import math

import pytest
import torch
from torch.distributions import Normal
from traitlets import TraitError

from vaekit.bayes import LinearGaussian
from vaekit.bounds import elbo_quadrature
from vaekit.divergence import kl_gaussian, kl_standard_normal
from vaekit.widgets import ElboWidget

PIECES = "(all) => all.map((a) => Object.values(widget.pieces(...a)))"


def expected(mu, sigma, x, s):
    """Evidence, ELBO, gap, fit and KL term, by chapter 4's model and by an integral."""
    n = len(mu)
    model = LinearGaussian(torch.ones(n, 1, 1).double(), torch.zeros(n, 1).double(), s)
    q, exact = Normal(mu, sigma), model.posterior(x[:, None])
    exact = Normal(exact.mean[:, 0], exact.variance[:, 0].sqrt())
    bound = elbo_quadrature(lambda z: model.log_joint(x[:, None], z[:, None]), q).value
    kl = kl_standard_normal(mu, sigma)
    evidence = model.evidence.log_prob(x[:, None])
    return torch.stack([evidence, bound, kl_gaussian(q, exact), bound + kl, kl], -1)


def test_elbo_js_agrees_with_python(mount):
    page = mount(ElboWidget())
    u = torch.rand(4, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mu, sigma, x, s = 5 * u[0] - 2.5, 0.1 + 1.9 * u[1], 4 * u[2] - 2, 0.3 + u[3]
    found = page.evaluate(PIECES, torch.stack([mu, sigma, x, s], -1).tolist())
    found = torch.tensor(found, dtype=torch.float64)
    torch.testing.assert_close(found, expected(mu, sigma, x, s), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found[:, 0], found[:, 1] + found[:, 2], rtol=1e-12, atol=1e-12)


def shown(page):
    """The sum in the sentence below the bars."""
    text = page.inner_text(".vk-sentence").split("posterior): ")[1].split(" nats")[0]
    return [float(part.replace("−", "-")) for part in text.replace("+", "=").split("=")]


def as_shown(page):
    names = ("mu", "sigma", "x", "s")
    values = [page.evaluate(f"model.get('{name}')") for name in names]
    numbers = expected(*(torch.tensor([v], dtype=torch.float64) for v in values))[0]
    return numbers[:3].tolist()


def test_elbo_widget_reads_without_being_touched(mount):
    page = mount(ElboWidget())
    text = " ".join(page.inner_text("#widget").split())
    assert "guess q = N(0.00, 1.00²)" in text
    evidence, bound, gap = shown(page)
    assert [evidence, bound, gap] == pytest.approx(as_shown(page), abs=1.1e-3)
    assert evidence == pytest.approx(bound + gap, abs=1e-9)
    labels = page.locator(".vk-bars .vk-label").all_text_contents()
    assert labels[0].startswith("ln p(x) = −") and labels[1].startswith("ELBO = −")
    assert page.locator("[data-bar]").count() == 5


@pytest.mark.parametrize("name", ["mu", "sigma"])
def test_elbo_widget_follows_mouse_and_keys(mount, name):
    page = mount(ElboWidget())
    handle = page.locator(f"[data-name={name}]")
    start = page.evaluate(f"model.get('{name}')")
    box = handle.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1])
    page.mouse.up()
    dragged = page.evaluate(f"model.get('{name}')")
    assert dragged > start
    assert shown(page) == pytest.approx(as_shown(page), abs=1.1e-3)
    handle.focus()
    for key, step in (("ArrowRight", 0.05), ("ArrowDown", -0.05), ("Shift+ArrowLeft", -0.5)):
        before = page.evaluate(f"model.get('{name}')")
        page.keyboard.press(key)
        assert page.evaluate(f"model.get('{name}')") == pytest.approx(before + step)
        assert shown(page) == pytest.approx(as_shown(page), abs=1.1e-3)
    for key, end in (("End", "aria-valuemax"), ("Home", "aria-valuemin")):
        page.keyboard.press(key)
        assert handle.get_attribute("aria-valuenow") == handle.get_attribute(end)


def test_elbo_widget_closes_the_gap_and_leaves(mount):
    page = mount(ElboWidget(mu=-1.0), width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="the posterior").click()
    evidence, bound, gap = shown(page)
    assert gap == 0 and evidence == bound
    assert "the gap is closed" in page.inner_text(".vk-sentence")
    page.evaluate("tell('mu', 2)")
    assert shown(page)[2] > 1
    focusable = page.locator("[tabindex], button")
    kept = focusable.evaluate_all("all => all.map((e) => e.dataset.lmSuppressShortcuts === 'true')")
    assert len(kept) == 7 and all(kept)
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0


@pytest.mark.parametrize(("name", "value"), [("mu", 9.0), ("sigma", 0.0), ("sigma", math.nan)])
def test_elbo_widget_refuses(name, value):
    widget = ElboWidget()
    with pytest.raises(TraitError, match=name):
        setattr(widget, name, value)
    assert (widget.mu, widget.sigma) == (0.0, 1.0)


def test_elbo_widget_says_where_it_lives():
    assert repr(ElboWidget()).startswith("ELBO widget:") and "Colab" in repr(ElboWidget())
