"""What a check shows: the same text on every machine, a picture, a sentence and a table."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
import torch

from vaekit.claims import Claim, claim, derivation
from vaekit.display import power_of_ten, sentence
from vaekit.estimates import Approximation, Estimate


def values(n: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noisy(x: torch.Tensor) -> Estimate:
    return Estimate(x + 1e-3, torch.full_like(x, 1e-3), 9000, torch.full_like(x, 3000.0))


def agreement(x: torch.Tensor) -> Claim:
    """Make a check of several kinds of route with a name and a case that HTML must escape."""
    return (
        claim("a-claim")
        .agree("a < b", closed_form=x, integral=Approximation(x, 1e-12 * x.abs()), mean=noisy(x))
        .refute({"it is <twice>": 2 * x + 1, "a bit & more": x + 0.5})
    )


def inequality(x: torch.Tensor) -> Claim:
    return (
        claim("an-order")
        .at_least("KL(p|q) ≥ 0", x.abs() + 1, 0.5, equal=(x, x))
        .refute({"never below 1": 1.0}, above=x.abs() + 2)
    )


def lines(x: torch.Tensor) -> Claim:
    return (
        derivation("steps")
        .line(r"\ln p(x)", x)
        .line(r"\mathrm{KL}(q\,\|\,p) + \left|x\right|", x, r"since $p(x|z)$, $\|x\|$, or x | z")
        .line("z", Approximation(x, 1e-12 * x.abs()), "by quadrature")
        .refute({"half": x / 2})
    )


ALL = {
    "agreement": agreement,
    "inequality": inequality,
    "derivation": lines,
    "a derivation and more": lambda x: (
        lines(x)
        .agree("of p(x | z)", a=x, b=x)
        .refute({"c": x + 1})
        .at_least("p | q", x + 1, x, equal=(1.0, 1.0))
    ),
    "infinite": lambda x: (
        agreement(x).agree(a=math.inf, b=x.abs() * math.inf).refute({"finite": x, "−∞": -math.inf})
    ),
    "nothing yet": lambda x: claim("c"),
    "not refuted": lambda x: claim("c").agree(a=x, b=x),
    "one line": lambda x: derivation("c").line("a", x),
}


def svg(checked: Claim) -> ET.Element | None:
    page = checked._repr_mimebundle_()[0]["text/html"]
    found = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    return found and ET.fromstring(found[0])


def crosses(picture: ET.Element) -> int:
    return "".join(path.get("d") for path in picture.iter("path")).count("l6 6m0-6l-6 6")


@pytest.mark.parametrize("kind", ALL)
def test_the_text_holds_no_number_that_was_computed(kind):
    one, other = ALL[kind](values()), ALL[kind](1000 * values(seed=1))
    assert str(one) == repr(one) == str(other) == one._repr_mimebundle_()[0]["text/plain"]


@pytest.mark.parametrize("kind", ALL)
def test_what_is_shown_is_the_same_at_every_run(kind):
    assert ALL[kind](values())._repr_mimebundle_() == ALL[kind](values())._repr_mimebundle_()


def test_the_text():
    assert str(agreement(values())).splitlines() == [
        "a-claim: passed, in 24 settings",
        "  a < b: closed form = integral = mean",
        "  refuted: it is <twice>",
        "  refuted: a bit & more",
    ]
    assert str(inequality(values(1))).splitlines() == [
        "an-order: passed",
        "  KL(p|q) ≥ 0: larger ≥ smaller, strictly; equal where claimed",
        "  refuted: never below 1",
    ]
    assert "  3 lines, each equal to the one before" in str(lines(values()))


def test_only_a_derivation_is_markdown():
    assert set(agreement(values())._repr_mimebundle_()[0]) == {"text/plain", "text/html"}
    assert set(lines(values())._repr_mimebundle_()[0]) == {"text/plain", "text/markdown"}


# the picture


@pytest.mark.parametrize("kind", ["agreement", "inequality", "infinite", "not refuted"])
def test_the_picture_is_well_formed_and_has_a_text_alternative(kind):
    picture = svg(ALL[kind](values()))
    assert picture.tag == "svg"
    assert picture.get("role") == "img"
    assert "in 24 settings" in picture.get("aria-label")
    assert "nan" not in ET.tostring(picture, "unicode").lower()
    for path in picture.iter("path"):  # nothing is drawn outside
        for x, y in re.findall(r"M(-?\d+) (-?\d+)", path.get("d")):
            assert 0 <= int(x) <= 640
            assert 0 <= int(y) <= 120


def test_crosses_are_drawn_exactly_when_wrong_versions_have_values():
    x = values()
    for checked, wrong in (
        (agreement(x), 2),
        (inequality(x), 0),
        (ALL["not refuted"](x), 0),
    ):
        picture = svg(checked)
        assert crosses(picture) == 24 * wrong
        said = re.search(r"Crosses for (\d+)", picture.get("aria-label"))
        assert (int(said[1]) if said else 0) == wrong
    assert svg(claim("c")) is None


def test_routes_lie_on_the_line_and_wrong_versions_on_their_side_of_it():
    x = values()
    picture = svg(claim("c").agree(a=x, b=x).refute({"more": x + 1, "less": -math.inf}))
    middle, high, low = 60, 0, 0
    for path in picture.iter("path"):
        marks = re.findall(r"M\d+ (\d+)(m-3|h0)", path.get("d"))
        assert all(int(y) == middle for y, mark in marks if mark == "h0")
        high += sum(int(y) < middle for y, _ in marks)
        low += sum(int(y) > middle for y, _ in marks)
    assert (high, low) == (24, 24)


def test_the_picture_is_small():
    x = values()
    routes = {f"route_{i}": x for i in range(10)}
    wrong = {f"wrong {i}": x + i for i in range(1, 4)}
    page = claim("c").agree(**routes).refute(wrong)._repr_mimebundle_()[0]["text/html"]
    assert len(page.encode()) < 8000
    many = values(2000)
    large = claim("c").agree(a=many, b=many).refute({"c": many + 1})
    assert len(large._repr_mimebundle_()[0]["text/html"].encode()) < 16_000


# the words


def test_the_sentence_says_what_would_have_shown_and_what_was_caught():
    assert sentence(agreement(values()).facts()) == (
        "All agree. In any setting an error of 6·10⁻¹² or one of 0.01 by sampling would have "
        "shown. 2 wrong versions were tried, and each was caught."
    )
    once = claim("c").agree(a=1.0, b=1.0).refute({"c": 2.0})
    assert sentence(once.facts()) == (
        "All agree. In any setting an error of 4·10⁻¹² would have shown. "
        "One wrong version was tried, and it was caught."
    )
    assert sentence(claim("c").facts()) == ""


@pytest.mark.parametrize(
    ("x", "digits", "text"),
    [
        (2.3e-13, 1, "2·10⁻¹³"),
        (9.7e-13, 1, "1·10⁻¹²"),
        (0.0234, 1, "0.02"),
        (0.001, 1, "0.001"),
        (12, 1, "10"),
        (120, 2, "120"),
        (1234, 2, "1200"),
        (1.25e5, 2, "1.2·10⁵"),
        (0.5, 2, "0.5"),
    ],
)
def test_numbers_are_written_without_an_e(x, digits, text):
    assert power_of_ten(x, digits) == text


def test_html_escapes_what_it_is_given():
    page = agreement(values())._repr_mimebundle_()[0]["text/html"]
    root = ET.fromstring(page)
    words = "".join(root.itertext())
    for part in ("a-claim: passed, in 24 settings", "it is <twice>", "a bit & more", "a < b", "±"):
        assert part in words
    classes = {found for node in root.iter() for found in (node.get("class") or "").split()}
    assert {"vk-claim", "vk-claim-head", "vk-pass", "vk-table", "vk-refuted"} <= classes


def test_a_wrong_version_is_shown_with_its_largest_error():
    page = "".join(
        ET.fromstring(agreement(values())._repr_mimebundle_()[0]["text/html"]).itertext()
    )
    assert "a bit & more: wrong by up to 0.5 (in 24 of 24 settings)" in page
    small = claim("c").agree(a=0.0, b=0.0).refute({"x": 2e-10})
    assert "x: wrong by up to 2·10⁻¹⁰<" in small._repr_mimebundle_()[0]["text/html"]
    infinite = claim("c").agree(a=math.inf, b=math.inf).refute({"x": 5.0})
    assert "x: infinitely wrong<" in infinite._repr_mimebundle_()[0]["text/html"]
    counter = inequality(values(1))._repr_mimebundle_()[0]["text/html"]
    assert "never below 1: a counterexample<" in counter


def test_an_incomplete_check_does_not_look_like_a_passed_one():
    page = ALL["not refuted"](values())._repr_mimebundle_()[0]["text/html"]
    assert "incomplete: no wrong version was refuted" in page
    assert "vk-incomplete" in page
    for sign in ("vk-pass", "✓", "Caught"):
        assert sign not in page
    draft = ALL["one line"](values())._repr_mimebundle_()[0]["text/markdown"]
    assert "✓" not in draft
    assert "Caught" not in draft


def test_rounding_left_over_is_not_printed():
    near = claim("c").agree(a=1.0 + 1e-15, b=-1e-16 + 1.0).refute({"zero": -1e-15})
    plain = claim("c").agree(a=1.0, b=1.0).refute({"zero": 0.0})
    for one, other in zip(
        near._repr_mimebundle_()[0].values(), plain._repr_mimebundle_()[0].values(), strict=True
    ):
        assert one == other
    assert "−0" not in claim("c").agree(a=-1e-15, b=0.0)._repr_mimebundle_()[0]["text/html"]


@pytest.mark.parametrize("kind", ["derivation", "a derivation and more"])
def test_markdown_tables_have_three_columns(kind):
    markdown = ALL[kind](values())._repr_mimebundle_()[0]["text/markdown"]
    table = [row for row in markdown.splitlines() if row.startswith("|")]
    assert len(table) >= 5
    for row in table:
        assert len(re.findall(r"(?<!\\)\|", row)) == 4, row


def test_bars_have_names_in_formulas_and_strokes_in_words():
    x = torch.tensor([0.3], dtype=torch.float64)
    markdown = ALL["a derivation and more"](x)._repr_mimebundle_()[0]["text/markdown"]
    assert r"\mathrm{KL}(q\,\Vert \,p) + \left\vert x\right\vert $ | 0.3 | since" in markdown
    assert r"$p(x\vert z)$, $\Vert x\Vert $, or x \| z |" in markdown
    assert r"| of p(x \| z) | | |" in markdown
    assert "| 0.3 | by quadrature |" in markdown
    assert "- ✗ half: wrong by up to 0.15" in markdown
