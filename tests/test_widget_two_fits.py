"""The widget of chapter 7: its formulas against Python, and in the hand."""

import json

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal
from traitlets import TraitError

from vaekit.divergence import fit_reverse, kl_reverse
from vaekit.widgets import TwoFits

NAMES = ("d", "w", "tau")


def settings(n: int) -> tuple[MixtureSameFamily, list[dict]]:
    """n random targets, float64, and the same as the `.js` takes them."""
    u = torch.rand(3, n, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    d, w, tau = 5 * u[0], 0.05 + 0.9 * u[1], 0.4 + 1.6 * u[2]
    parts = Normal(torch.stack([-d, d], -1), torch.stack([torch.ones_like(tau), tau], -1))
    p = MixtureSameFamily(Categorical(torch.stack([1 - w, w], -1)), parts)
    rows = torch.stack([d, w, tau], -1).tolist()
    return p, [dict(zip(NAMES, row, strict=True)) for row in rows]


def as_tensor(rows: list) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_state_survives_json_and_bad_values_are_refused():
    widget = TwoFits(d=2, w=0.3, start="right")
    state = json.loads(json.dumps(widget.get_state()))
    assert [state[name] for name in (*NAMES, "start")] == [2.0, 0.3, 1.0, "right"]
    assert "export default" in state["_esm"] and ".vk-widget" in state["_css"]
    for name, bad in (("d", -1), ("d", 6.0), ("w", 0), ("tau", float("nan")), ("w", True)):
        with pytest.raises(TraitError, match=name):
            setattr(widget, name, bad)
    with pytest.raises(TraitError, match="start"):
        widget.start = "top"
    assert (widget.d, widget.w, widget.tau, widget.start) == (2.0, 0.3, 1.0, "right")
    assert repr(widget).startswith("Two fits") and "Colab" in repr(widget)


def test_js_target_agrees_with_torch(mount):
    p, rows = settings(40)
    x = (2 * p.mean.sin() + p.mean).requires_grad_()
    log = p.log_prob(x)
    (slope,) = torch.autograd.grad(log.sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    found = mount(TwoFits()).evaluate(
        """([all, x]) => all.map((p, i) => {
          const { log, slope, bend } = widget.target(x[i], p);
          return [log, slope, bend];
        })""",
        [rows, x.tolist()],
    )
    expected = torch.stack([log, slope, bend], -1).detach()
    torch.testing.assert_close(as_tensor(found), expected, rtol=1e-10, atol=1e-10)


def test_js_forward_fit_and_divergence_agree_with_python(mount):
    p, rows = settings(40)
    found = mount(TwoFits()).evaluate(
        """(all) => all.map((p) => {
          const fit = widget.forwardFit(p);
          return [...fit, widget.forwardKl(...fit, p)];
        })""",
        rows,
    )
    mu, sigma, kl = as_tensor(found).T
    torch.testing.assert_close(mu, p.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sigma, p.stddev, rtol=1e-12, atol=1e-12)
    x = torch.linspace(-30, 30, 6001, dtype=torch.float64)[:, None]
    log_p = p.log_prob(x)
    log_ratio = log_p - Normal(p.mean, p.stddev).log_prob(x)
    expected = torch.trapezoid(log_p.exp() * log_ratio, x, dim=0)
    torch.testing.assert_close(kl, expected, rtol=1e-8, atol=1e-8)


def test_js_reverse_fit_agrees_with_python(mount):
    p, rows = settings(40)
    page = mount(TwoFits())
    found = page.evaluate(
        """(all) => all.map((p) => ["left", "right"].map((where) => {
          const fit = widget.reverseFit(widget.startOf(where, p), p);
          return [...fit, widget.reverseKl(...fit, p)];
        }))""",
        rows,
    )
    mu, sigma, kl = as_tensor(found).permute(2, 1, 0)
    q = Normal(mu, sigma)
    torch.testing.assert_close(kl, kl_reverse(q, p.log_prob), rtol=1e-9, atol=1e-9)
    # at rest: Python's walk from there goes nowhere
    again = fit_reverse(p.log_prob, q)
    torch.testing.assert_close(again.mean, mu, rtol=0, atol=1e-6)
    torch.testing.assert_close(again.stddev, sigma, rtol=0, atol=1e-6)
    # hills that are far apart: both walk to the same valley
    apart = torch.tensor([row["d"] > 4 and 0.2 < row["w"] < 0.8 for row in rows])
    part = p.component_distribution
    walked = fit_reverse(p.log_prob, Normal(part.mean.T, part.stddev.T))
    torch.testing.assert_close(walked.mean[:, apart], mu[:, apart], rtol=0, atol=1e-6)


def test_reads_without_being_touched_and_answers_within_a_frame(mount):
    page = mount(TwoFits())
    text = " ".join(page.inner_text("#widget").split())
    assert "forward fit q = N(−0.60, 3.10²)" in text
    assert "reverse fit q = N(−2.99, 1.02²)" in text
    assert "Reverse: KL(q‖p) = 0.507 nats" in text
    spent = page.evaluate(
        """() => { tell("d", 1); const t = performance.now();
          for (let i = 0; i < 20; i++) tell("d", 1 + i / 5);
          return (performance.now() - t) / 20; }"""
    )
    assert spent < 200  # a frame of 16 ms on an idle machine; the tests share theirs


def test_follows_keyboard_and_kernel(mount):
    page = mount(TwoFits())
    page.locator("[data-name=d]").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("model.get('d')") == pytest.approx(3.05)
    before = page.inner_text("[data-kl=reverse]")
    page.get_by_label("on the right hill").check()
    assert page.evaluate("model.get('start')") == "right"
    assert page.inner_text("[data-kl=reverse]") != before
    page.evaluate("tell('w', 0.5)")
    assert page.inner_text("[data-shown=w]") == "0.50"
    before = float(page.inner_text("[data-kl=forward]"))
    page.evaluate("tell('d', 4.5)")
    assert float(page.inner_text("[data-kl=forward]")) > before + 0.2
    controls = page.locator("#widget input")
    for i in range(controls.count()):
        assert controls.nth(i).get_attribute("data-lm-suppress-shortcuts") == "true"
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0


def test_fits_a_phone(mount):
    page = mount(TwoFits(), width=390, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.touchscreen.tap(*_middle(page.locator("[data-name=d]")))
    assert page.evaluate("model.get('d')") == pytest.approx(2.5, abs=0.15)


def _middle(locator) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
