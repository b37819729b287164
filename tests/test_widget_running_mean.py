"""The widget of chapter 1: its draws, means and error bars against Python, and in the hand."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from traitlets import TraitError

from tests.test_widgets import drag
from vaekit.estimates import Estimate
from vaekit.widgets import RunningMean
from vaekit.widgets.running_mean import SOURCES

VALUES = {
    "waiting": lambda u: -np.log(u),
    "lottery": lambda u: np.where(u < 0.01, 1e4, np.where(u < 0.11, 100.0, 0.0)),
    "pareto": lambda u: u ** (-1 / 1.5),
    "cauchy": lambda u: np.tan(np.pi * (u - 0.5)),
}


def uniforms(player: int, n: int) -> np.ndarray:
    """The first n numbers of a player: MurmurHash3's finaliser, in 32 bits."""

    def mixed(k):
        k ^= k >> 16
        k = k * 0x85EBCA6B & 0xFFFFFFFF
        k ^= k >> 13
        k = k * 0xC2B2AE35 & 0xFFFFFFFF
        return k ^ k >> 16

    key = mixed(player * 0x9E3779B1 & 0xFFFFFFFF)
    i = np.arange(1, n + 1, dtype=np.uint64)
    return (mixed((i * 0x85EBCA77 & 0xFFFFFFFF) ^ np.uint64(key)) + 0.5) / 2**32


def estimate(source: str, player: int, n: int) -> Estimate:
    return Estimate.of(torch.tensor(VALUES[source](uniforms(player, n))))


def covering(source: str, n: int) -> int:
    """How many of 100 intervals hold the truth."""
    truth = {"waiting": 1, "lottery": 110, "pareto": 3, "cauchy": 0}[source]
    all_ = [estimate(source, player, n) for player in range(1, 101)]
    return sum(abs(e.value.item() - truth) <= 1.96 * e.error.item() for e in all_)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 9), ("n", 10_001), ("n", 2.5), ("n", True), ("seed", 0), ("seed", 101), ("seed", "7")],
)
def test_refuses_what_it_cannot_draw(name, value):
    widget = RunningMean(n=50)
    with pytest.raises(TraitError, match=name):
        setattr(widget, name, value)
    assert (widget.n, widget.seed) == (50, 1)
    with pytest.raises(TraitError, match="source"):
        RunningMean(source="dice")


def test_says_in_a_sentence_where_it_comes_alive():
    assert "Colab" in repr(RunningMean()) and repr(RunningMean()).endswith(".")


def test_draws_are_uniform_and_unrelated():
    u = np.stack([uniforms(player, 10_000) for player in range(1, 101)])
    assert 0 < u.min() < 1e-5 and 1 - 1e-5 < u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    limit = 5 / math.sqrt(u.size)
    assert abs(np.corrcoef(u[:, 1:].ravel(), u[:, :-1].ravel())[0, 1]) < limit
    assert abs(np.corrcoef(u[1:].ravel(), u[:-1].ravel())[0, 1]) < limit
    assert stats.kstest(u.mean(1), stats.norm(0.5, math.sqrt(1 / 12 / 10_000)).cdf).pvalue > 1e-3


@pytest.mark.parametrize("source", SOURCES)
def test_js_agrees_with_python(mount, source):
    page = mount(RunningMean())
    found = page.evaluate(
        """([source, players, n]) => players.map((player) => {
          const { value } = widget.SOURCES[source];
          const { means, errors } = widget.running(value, player, n);
          return [Array.from({ length: n }, (_, i) => widget.uniform(player, i)), [...means],
            [...errors], widget.contributions(value, player, n, means[n - 1])];
        })""",
        [source, [1, 2, 99], 3000],
    )
    for player, (u, means, errors, rests) in zip((1, 2, 99), found, strict=True):
        assert np.array_equal(u, uniforms(player, 3000))
        for n in (2, 10, 333, 3000):
            reference = estimate(source, player, n)
            assert means[n - 1] == pytest.approx(reference.value.item(), rel=1e-9, abs=1e-9)
            assert errors[n - 1] == pytest.approx(reference.error.item(), rel=1e-9)
        assert rests == pytest.approx(reference.contributions.item(), rel=1e-9)


def test_reads_without_being_touched(mount):
    page = mount(RunningMean(source="lottery", seed=3))
    text = " ".join(page.inner_text("#widget").split())
    e = estimate("lottery", 3, 100)
    for words in (
        "Player 3, n = 100",
        f"mean {e.value:.1f}",
        f"standard error {e.error:.1f}",
        f"{covering('lottery', 100)} of 100 intervals cover 110",
    ):
        assert words in text


def test_follows_mouse_keyboard_and_kernel(mount):
    page = mount(RunningMean())
    n, player = page.locator(".vk-knob").all()
    shown = lambda: page.inner_text(".vk-all")  # noqa: E731
    drag(page, n, 120)
    dragged = page.evaluate("model.get('n')")
    assert dragged > 200
    assert f"{covering('waiting', dragged)} of 100" in shown()
    drag(page, player, 200)
    chosen = page.evaluate("model.get('seed')")
    assert 20 < chosen < 60
    assert f"Player {chosen}, n = {dragged}" in page.inner_text(".vk-one")
    n.focus()
    for key, expected in (("End", 10_000), ("ArrowLeft", 8913), ("Home", 10), ("PageUp", 32)):
        page.keyboard.press(key)
        assert page.evaluate("model.get('n')") == expected
        assert n.get_attribute("aria-valuenow") == str(expected)
    page.keyboard.press("Tab")
    for key, expected in (("End", 100), ("ArrowRight", 100), ("Home", 1), ("ArrowUp", 2)):
        page.keyboard.press(key)
        assert page.evaluate("model.get('seed')") == expected
    page.get_by_label("Cauchy").check()
    assert page.evaluate("model.get('source')") == "cauchy"
    assert "without a mean" in page.inner_text(".vk-about")
    page.evaluate("tell('n', 1000)")
    assert f"{covering('cauchy', 1000)} of 100 intervals cover 0" in shown()
    assert page.evaluate("scrollY") == 0
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0


def test_every_value_of_n_is_reached_by_arrows(mount):
    page = mount(RunningMean(n=10))
    page.locator(".vk-knob").first.focus()
    seen = []
    for _ in range(60):
        page.keyboard.press("ArrowRight")
        seen.append(page.evaluate("model.get('n')"))
    assert seen == sorted(set(seen)) and seen[-1] == 10_000


@pytest.mark.parametrize("width", [320, 390, 800])
def test_fits_the_page_and_answers_within_a_frame(mount, width):
    page = mount(RunningMean(source="pareto"), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(".vk-knob").first.focus()
    page.keyboard.press("End")
    took = page.evaluate(
        """() => { const start = performance.now();
          for (let i = 0; i < 10; i++) tell("n", 10000 - i);
          return (performance.now() - start) / 10; }"""
    )
    assert took < 50  # ms, on a busy machine
    assert page.evaluate("errors") == []


def test_jupyter_leaves_the_keys_to_the_widget(mount):
    focusable = mount(RunningMean()).locator("[tabindex], button, input")
    inside = focusable.evaluate_all(
        "all => all.map((e) => e.dataset.lmSuppressShortcuts === 'true')"
    )
    assert len(inside) == 6 and all(inside)
