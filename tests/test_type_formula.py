"""The exercise that answers in the page: its parser against Python, its answers in a browser."""

import json
import math
import random

import pytest
import torch

from vaekit.estimates import Approximation, Estimate
from vaekit.widgets import TypeFormula
from vaekit.widgets.formula import _GREEK, _TAKEN, _canonical

PLACE = {"m": 1.2, "n": -0.4, "r": 0.7, "s": 1.9, "σ_p": 0.6, "μ": 2.5, "x": -1.5, "y": 3.0}
m, n, r, s, sigma_p, mu, x, y = PLACE.values()
ln, sqrt, exp, pi, e = math.log, math.sqrt, math.exp, math.pi, math.e

# What a reader may type, and what it means.
READ = {
    "ln(s/r) + (r^2 + (m-n)^2)/(2*s^2) - 1/2": ln(s / r) + (r**2 + (m - n) ** 2) / (2 * s**2) - 0.5,
    "ln(s/r) + (r² + (m−n)²)/(2s²) − ½": ln(s / r) + (r**2 + (m - n) ** 2) / (2 * s**2) - 0.5,
    # precedence
    "1 + 2*3": 7,
    "1 - 2 - 3": -4,
    "8/4/2": 1,
    "8/4*2": 4,
    "2^3^2": 512,
    "2**3**2": 512,
    "(2^3)^2": 64,
    "-x^2": -(x**2),
    "−x²": -(x**2),
    "(-x)^2": x**2,
    "2^-1": 0.5,
    "2^-x^2": 2 ** -(x**2),
    "2^+1": 2,
    "y - -x": y + x,
    "--y": y,
    "+y": y,
    "-x y": -x * y,
    "m - -x y": m + x * y,
    "y * -x": -x * y,
    "y/-x": y / -x,
    "-m/-n": m / n,
    "1/2 x": x / 2,
    "r/s m": r / s * m,
    "-2^2": -4,
    "y^(1/2)": sqrt(y),
    "y^½": sqrt(y),
    "y^{1/2}": sqrt(y),
    "e^-x^2": exp(-(x**2)),
    # implicit products
    "2μσ_p": 2 * mu * sigma_p,
    "2(m+n)": 2 * (m + n),
    "m n": m * n,
    "mn": m * n,
    "rsm": r * s * m,
    "(m+n)(m-n)": (m + n) * (m - n),
    "x(y)": x * y,
    "x²y": x**2 * y,
    "x^2y": x**2 * y,
    "2 ln(y)": 2 * ln(y),
    "2ln(y)": 2 * ln(y),
    "rln(y)": r * ln(y),
    "rs ln(y)m": r * s * ln(y) * m,
    "ln(y) ln(s)": ln(y) * ln(s),
    "2|x|": 2 * abs(x),
    "|x| |y|": abs(x) * y,
    "|x||y|": abs(x) * y,
    "√2 y": sqrt(2) * y,
    "2√y": 2 * sqrt(y),
    # names
    "sigma_p": sigma_p,
    "σₚ": sigma_p,
    "σ_{p}": sigma_p,
    "sigma_{p}": sigma_p,
    "σₚ²": sigma_p**2,
    "σ_p^2": sigma_p**2,
    "σ_pμ": sigma_p * mu,
    "sigma_pmu": sigma_p * mu,
    "μσ_p": sigma_p * mu,
    "musigma_p": sigma_p * mu,
    "mu": mu,
    "µ": mu,  # the micro sign of a keyboard
    "𝜇": mu,  # pasted from typeset mathematics
    "2πs": 2 * pi * s,
    "2 pi s": 2 * pi * s,
    "2pis": 2 * pi * s,
    # numbers
    "½": 0.5,
    "¾y": 0.75 * y,
    "2½": 2.5,
    "½²": 0.25,
    ".5": 0.5,
    "5.": 5,
    "1e-3": 1e-3,
    "2.5E2": 250,
    "2e": 2 * e,
    "1e3y": 3000,
    # signs
    "m·n": m * n,
    "m×n": m * n,
    "m⋅n": m * n,
    "m÷n": m / n,
    "m∕n": m / n,
    "m–n": m - n,
    "x⁻²": x**-2,
    "x¹⁰": x**10,
    "[m+n]{m-n}": (m + n) * (m - n),
    " m\u00a0+\u2009n\u200b ": m + n,
    # functions
    "log(y)": ln(y),
    "Ln(y)": ln(y),
    "ln y": ln(y),
    "ln y²": ln(y**2),
    "ln y + 1": ln(y) + 1,
    "ln y - ln s": ln(y) - ln(s),
    "ln y ln s": ln(y) * ln(s),
    "ln²(y)": ln(y) ** 2,
    "ln^2 y": ln(y) ** 2,
    "ln(y)^2": ln(y) ** 2,
    "ln ½": ln(0.5),
    "ln|x|": ln(abs(x)),
    "ln ln y": ln(ln(y)),
    "ln[y]": ln(y),
    "√y": sqrt(y),
    "√(2π)": sqrt(2 * pi),
    "√y²": y,
    "√(y)²": y,
    "√y/s": sqrt(y) / s,
    "ln√y": ln(y) / 2,
    "sqrt(y)": sqrt(y),
    "exp(x)": exp(x),
    "tanh(x)": math.tanh(x),
    "tanh x": math.tanh(x),
    "sinh(x) + cosh(x)": exp(x),
    "sin(x)^2 + cos(x)^2": 1,
    "tan(x)": math.tan(x),
    "|x|": -x,
    "abs(x)": -x,
    "|x|^2": x**2,
    "||x|-2|": 0.5,
    "|x - |m - y||": abs(x - abs(m - y)),
    "|(m)(x)|": abs(m * x),
    "(|x|)": -x,
    "exp(-|x|)": exp(x),
}

# What cannot be read: the sentence, and the place that is marked, from and up to.
UNREAD = {
    "alert(1)": ("“alert” is unknown. The formula may use m, n, r, s, σ_p, μ, x and y.", 0, 5),
    "m + constructor": ("“constructor” is unknown", 4, 15),
    "__proto__": ("subscript", 0, 1),
    "toString": ("“toString” is unknown", 0, 8),
    "hasOwnProperty(m)": ("“hasOwnProperty” is unknown", 0, 14),
    "this": ("“this” is unknown", 0, 4),
    "m.constructor": ("The sign “.” has no meaning here", 1, 2),
    "m[`x`]": ("The sign “`” has no meaning here", 2, 3),
    "(() => 1)()": ("Type only what stands on the right of the equals sign", 4, 5),
    "σ_q": ("“σ_q” is unknown", 0, 3),
    "2 + σ": ("“σ” is unknown", 4, 5),
    "M": ("“M” is unknown", 0, 1),
    "log10(y)": ("“log10” is unknown", 0, 5),
    "1/2x": ("read in two ways: write 1/(2x)", 3, 4),
    "m/2(n+r)": ("read in two ways", 3, 4),
    "ln s/r": ("Say with brackets where it ends: ln(…)", 0, 2),
    "ln 2πs": ("Say with brackets", 0, 2),
    "ln y·s": ("Say with brackets", 0, 2),
    "√2π": ("Say with brackets where it ends: √(…)", 0, 1),
    "exp -x": ("Put what exp acts on in brackets", 0, 3),
    "ln": ("Put what ln acts on in brackets", 0, 2),
    "ln⁻¹(y)": ("Write the power behind: (ln(x))^", 2, 4),
    "x 2": ("Write the number first, or · or ^ before 2", 2, 3),
    "x2": ("Write the number first, or · or ^ before 2", 1, 2),
    "2 3": ("Two numbers stand side by side", 2, 3),
    "1.2.3": ("Two numbers stand side by side", 3, 5),
    "x²³^2": ("Two powers stand in a row", 3, 4),
    "(m + n": ("This “(” is never closed", 0, 1),
    "m + n)": ("This “)” closes nothing", 5, 6),
    "(m + n]": ("Here a “)” should stand", 6, 7),
    "()": ("nothing in between", 1, 2),
    "ln()": ("nothing in between", 3, 4),
    "||": ("nothing in between", 1, 2),
    "|m": ("This “|” is never closed", 0, 1),
    "m +": ("After “+” something must follow", 2, 3),
    "(m −)": ("After “−” something must follow", 3, 4),
    "|m + |": ("After “+” something must follow", 3, 4),
    "m * / n": ("After “*” something must follow", 2, 3),
    "* m": ("Before “*” something is missing", 0, 1),
    "m^": ("After “^” something must follow", 1, 2),
    "²": ("A power needs something before it", 0, 1),
    "y = m": ("Type only what stands on the right of the equals sign", 2, 3),
    "0,5": ("a decimal point is written 0.5", 1, 2),
    "m; n": ("The sign “;” has no meaning here", 1, 2),
    "m + 😀 n": ("The sign “😀” has no meaning here", 4, 6),
    "(" * 200 + "m": ("too much inside each other", 61, 62),
    "-" * 300 + "m": ("too much inside each other", 61, 62),
    "m+" * 300 + "m": ("too long for a formula", 400, 601),
}

ALL = """([formulas, symbols, place]) => {
  const values = new Map(symbols.map((symbol, i) => [widget.canonical(symbol), place[i]]));
  return formulas.map((formula) => {
    try {
      return { value: widget.evaluate(widget.parse(formula, symbols), values) };
    } catch (error) {
      const { message, start, end } = error;
      return { message, start, end, own: error instanceof widget.FormulaError };
    }
  });
}"""


def two_rates(count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    u = torch.rand(2, count, generator=torch.Generator().manual_seed(11), dtype=torch.float64)
    return tuple(0.5 + 2 * u)


def exponentials(**changes) -> TypeFormula:
    """The exercise of chapter 3; the truth by the book here, as what is tested is the widget."""
    a, b = two_rates()
    options = {
        "prompt": "KL(Exp(a)‖Exp(b)) =",
        "symbols": {"a": a, "b": b},
        "truth": torch.log(a / b) + b / a - 1,
        "slips": {"the two arguments swapped": "ln(b/a) + a/b - 1"},
    }
    return TypeFormula(**{**options, **changes})


def evaluated(page, formulas, place=PLACE):
    return page.evaluate(ALL, [list(formulas), list(place), list(place.values())])


def check(page, formula: str) -> tuple[str, str]:
    """Type the formula, press Enter; what the widget answers, and its verdict."""
    page.get_by_role("textbox").fill(formula)
    page.keyboard.press("Enter")
    return (
        page.inner_text("[role=status]"),
        page.locator(".vk-widget").get_attribute("data-verdict"),
    )


# The parser


def test_formulas_mean_what_they_mean_on_paper(mount):
    results = evaluated(mount(exponentials()), READ)
    for (formula, expected), result in zip(READ.items(), results, strict=True):
        assert "message" not in result, (formula, result)
        assert result["value"] == pytest.approx(expected, rel=1e-14), formula


def test_what_cannot_be_read_is_named_and_marked(mount):
    results = evaluated(mount(exponentials()), UNREAD)
    for (formula, (message, start, end)), result in zip(UNREAD.items(), results, strict=True):
        assert result.get("own"), (formula, result)
        assert message in result["message"], formula
        assert (result["start"], result["end"]) == (start, end), formula
        assert result["message"].endswith("."), formula


def random_formula(rng: random.Random, depth: int) -> tuple[str, str]:
    """A formula as a reader may write it, and the same for Python's `eval`."""
    if depth == 0 or rng.random() < 0.1:
        if rng.random() < 0.4:
            number = rng.choice(["2", "0.5", "3.25", "1e-1", "7"])
            return number, number
        name = rng.choice(list(PLACE))
        spelled = {
            "σ_p": ["σ_p", "sigma_p", "σₚ", "σ_{p}"],
            "μ": ["μ", "mu", "µ"],
        }.get(name, [name])
        return rng.choice(spelled), {"σ_p": "sigma_p", "μ": "mu"}.get(name, name)
    a, pa = random_formula(rng, depth - 1)
    b, pb = random_formula(rng, depth - 1)
    space = rng.choice(["", " ", "  "])
    kind = rng.choice("+-*/^²~fg|ijk")
    bare = rng.random() < 0.7  # without the brackets that would settle precedence
    wrapped, pwrapped = (a, pa) if bare else (f"({a})", f"({pa})")
    if kind in "+-*/":
        sign = rng.choice({"-": "-−", "*": "*·×⋅", "/": "/÷"}.get(kind, kind))
        if kind in "*/" and not bare:
            b, pb = f"({b})", f"({pb})"
        return f"{wrapped}{space}{sign}{space}{b}", f"{pwrapped}{kind}{pb}"
    if kind == "^":
        power = rng.choice(["^", "**"])
        return f"({a}){power}-({b})^2", f"cpow(({pa}), -({pb})**2)"
    if kind == "²":
        return f"({a})²", f"({pa})**2"
    if kind == "~":
        return f"-({a})^2", f"-({pa})**2"
    if kind == "f":
        return f"tanh{space}({a})", f"math.tanh({pa})"
    if kind == "g":
        return f"√({a})", f"csqrt({pa})"
    if kind == "|":
        return f"|{a}|", f"abs({pa})"
    if kind == "i":
        return f"(({a}){space}({b}))", f"(({pa})*({pb}))"
    if kind == "j":
        return f"[2{space}({a})]", f"(2*({pa}))"
    return f"(exp(-|{a}|/9)(({b})-½))", f"(math.exp(-abs({pa})/9)*(({pb})-0.5))"


def csqrt(value):
    return math.sqrt(value) if value >= 0 else math.nan


def cpow(base, exponent):
    value = base**exponent
    return value if isinstance(value, float | int) else math.nan


def test_random_formulas_agree_with_python(mount):
    rng = random.Random(5)
    names = {
        "math": math,
        "csqrt": csqrt,
        "cpow": cpow,
        **dict(zip("m n r s sigma_p mu x y".split(), PLACE.values(), strict=True)),
    }
    formulas, expected = [], []
    while len(formulas) < 1500:
        formula, python = random_formula(rng, rng.randint(1, 4))
        try:
            value = eval(python, names)
        except (ZeroDivisionError, OverflowError):
            continue
        if len(formula) <= 400 and not (math.isfinite(value) and abs(value) > 1e200):
            formulas.append(formula)
            expected.append(value)
    results = evaluated(mount(exponentials()), formulas)
    close = 0
    for formula, value, result in zip(formulas, expected, results, strict=True):
        assert "message" not in result, (formula, result)
        got = math.nan if result["value"] is None else result["value"]
        assert got == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), formula
        close += math.isfinite(value)
    assert close > 1300


def test_no_typed_text_breaks_the_parser(mount):
    """Noise: the answer is a number or an error of our own, with a place inside the text."""
    rng = random.Random(8)
    signs = "mn σ_p μ x ( ) [ ] { } | √ ln exp + - * / ^ ² ½ 2 0.5 , = _ ₚ π e ; ' < 😀".split()
    formulas = ["".join(rng.choices([*signs, " "], k=rng.randint(1, 14))) for _ in range(4000)]
    results = evaluated(mount(exponentials()), formulas)
    for formula, result in zip(formulas, results, strict=True):
        if "message" in result:
            assert result["own"], (formula, result)
            units = len(formula.encode("utf-16-le")) // 2
            assert 0 <= result["start"] <= result["end"] <= units, (formula, result)
            assert result["message"][0].isupper() or result["message"][0] == "“", formula


def test_symbols_have_one_spelling_in_python_and_in_the_page(mount):
    names = [
        "a",
        "σ",
        "sigma",
        "σ_p",
        "sigma_p",
        "mu_1",
        "μ_1",
        "σ_θ",
        "rate",
        "Σ",
        "x_12",
        "λ_post",
    ]
    there = mount(exponentials()).evaluate("(names) => names.map(widget.canonical)", names)
    assert there == [_canonical(name) for name in names]
    script = str(TypeFormula._esm)
    for letter, name in _GREEK.items():
        assert f'{name}: "{letter}"' in script
    page = mount(exponentials())
    for name in _TAKEN:  # refused by Python since the page reads it as something else
        (result,) = evaluated(page, [f"{name}(2)"])
        assert "value" in result, name


# What Python refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbols": {}}, "at least one symbol"),
        ({"symbols": {"σ": two_rates()[0], "sigma": two_rates()[1]}}, "are the same"),
        ({"symbols": {"a": two_rates(5)[0]}}, r"a has shape \(5,\), the truth \(24,\)"),
        ({"symbols": {"a": two_rates()[0] / 0}}, "a must be finite"),
        ({"symbols": {"a b": two_rates()[0]}}, "cannot be read"),
        ({"symbols": {"2a": two_rates()[0]}}, "cannot be read"),
        ({"symbols": {"ln": two_rates()[0]}}, "means something else"),
        ({"symbols": {"π": two_rates()[0]}}, "means something else"),
        ({"symbols": {"e": two_rates()[0]}}, "means something else"),
        ({"truth": torch.ones(24)}, "float64"),
        ({"truth": torch.ones((), dtype=torch.float64)}, r"shape \(n,\)"),
        ({"truth": torch.full((24,), torch.nan, dtype=torch.float64)}, "finite"),
        ({"truth": torch.zeros(24, dtype=torch.float64)}, "zero in every setting"),
        (
            {"truth": Approximation(two_rates()[0], torch.full((24,), 1e-8))},
            "known to 1e-08 only",
        ),
        ({"slips": {"none": two_rates()[0].log() * torch.inf}}, "the slip 'none' must be finite"),
        (
            {"slips": {"none": (lambda a, b: torch.log(a / b) + b / a - 1 + 1e-7)(*two_rates())}},
            "the slip 'none' equals the truth",
        ),
    ],
)
def test_type_formula_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        exponentials(**changes)


def test_a_sampled_truth_is_refused():
    a, _ = two_rates()
    estimate = Estimate(a, torch.full((24,), 1e-3), 1000, torch.full((24,), 500.0))
    with pytest.raises(ValueError, match=r"known to 0\.001 only"):
        exponentials(truth=estimate)


def test_numbers_reach_the_page_with_every_digit(mount):
    a, b = two_rates()
    truth = Approximation(a / 3 + b, torch.full((24,), 1e-13))
    widget = exponentials(truth=truth)
    state = json.loads(json.dumps(widget.get_state()))
    assert state["truth"] == (a / 3 + b).tolist()
    assert state["settings"] == [a.tolist(), b.tolist()]
    assert check(mount(widget), "a/3 + b")[1] == "right"


def test_plain_text_asks_the_question():
    text = repr(exponentials())
    assert text.startswith("KL(Exp(a)‖Exp(b)) = ? Open")
    assert exponentials()._repr_mimebundle_()[0]["text/plain"] == text
    assert text.endswith(".") and "Colab" in text


# The answers


def test_right_in_every_spelling(mount):
    page = mount(exponentials())
    for formula in ("ln(a/b) + b/a - 1", "b/a − 1 − ln b + ln a", "(b-a)/a + log(a) - log(b)"):
        text, verdict = check(page, formula)
        assert verdict == "right"
        assert text == "Right. In all 24 settings it equals the true value to ten digits."


def test_wrong_by_how_much_and_where(mount):
    a, b = two_rates()
    page = mount(exponentials())
    wrong = torch.log(a / b) + b / a - 1 + (b / a - 1) ** 2
    truth = torch.log(a / b) + b / a - 1
    text, verdict = check(page, "ln(a/b) + b/a - 1 + (b/a - 1)²")
    worst = (wrong - truth).abs().argmax()
    assert verdict == "wrong"
    assert text == (
        f"Not yet. In all 24 settings it is off, by up to {(wrong - truth).abs().max():.2g}, "
        f"for instance at a ≈ {a[worst]:.3g}, b ≈ {b[worst]:.3g}: "
        f"yours {wrong[worst]:.2f}, right {truth[worst]:.2f}."
    )


def test_wrong_in_some_settings_only(mount):
    m = torch.tensor([-1.5, -0.25, 0.5, 1.0, 2.0], dtype=torch.float64)
    page = mount(TypeFormula("max(m, −m) =", {"m": m}, m.abs()))
    text, verdict = check(page, "m")
    assert verdict == "wrong"
    assert text == (
        "Not yet. In 2 of 5 settings it is off, by up to 3, for instance at m = −1.5: "
        "yours −1.50, right 1.50."
    )
    assert check(page, "|m|")[1] == check(page, "√(m²)")[1] == "right"


def test_ten_digits_are_asked_and_shown(mount):
    page = mount(exponentials())
    assert check(page, "ln(a/b) + b/a - 1 + 0.9e-10")[1] == "right"
    text, verdict = check(page, "ln(a/b) + b/a - 1 + 3e-10 a")
    assert verdict == "wrong"
    yours, right = text.split("yours ")[1].rstrip(".").split(", right ")
    assert yours != right  # as many decimals as tell them apart


def test_a_slip_is_named(mount):
    a, b = two_rates()
    slips = {
        "the two arguments swapped": "ln(b/a) + a/b - 1",
        "the mean of Exp(a) taken for a": torch.log(a / b) - (a - b) * a,
    }
    page = mount(exponentials(slips=slips))
    text, verdict = check(page, "a/b - 1 - ln(a/b)")
    assert (text, verdict) == (
        "Not right, and a known slip: the two arguments swapped.",
        "slip",
    )
    text, verdict = check(page, "ln a - ln b - a(a - b)")
    assert "the mean of Exp(a) taken for a" in text and verdict == "slip"
    assert check(page, "ln(a/b) + b/a - 1")[1] == "right"


def test_a_slip_that_is_infinite_is_still_named(mount):
    m = torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    page = mount(TypeFormula("?", {"m": m}, m + 1, slips={"divided by m": "(m² + m)/m"}))
    assert check(page, "m²/m + m/m")[1] == "slip"


def test_a_constant_a_factor_and_a_sign_are_told(mount):
    page = mount(exponentials())
    text, _ = check(page, "ln(a/b) + b/a")
    assert "off, by up to 1," in text
    assert text.endswith("It is too large by the same amount everywhere.")
    assert check(page, "ln(a/b) + b/a - 2")[0].endswith("too small by the same amount everywhere.")
    assert check(page, "2(ln(a/b) + b/a - 1)")[0].endswith(
        "It is 2 times the right value everywhere."
    )
    assert check(page, "1 - b/a - ln(a/b)")[0].endswith("Its sign is wrong everywhere.")
    assert "everywhere" not in check(page, "a")[0]


def test_no_finite_number_is_said(mount):
    page = mount(exponentials())
    for formula, reason in {
        "1/(a - a)": "it divides by 0",
        "(a-a)^-1": "it divides by 0",
        "ln(-a)": "it takes the logarithm of −",
        "√(-a)": "it takes the root of −",
        "(-a)^½": "to the power 0.5",
        "exp(exp(9a))": "a number grows too large",
        "1 + 1/tanh(a - a)": "it divides by 0",
    }.items():
        text, verdict = check(page, formula)
        assert verdict == "none"
        assert text.startswith("In all 24 settings") or formula.startswith("exp")
        assert "gives no finite number, for instance at a ≈ " in text
        assert reason in text.split(": there ")[1] and text.endswith(".")


def test_an_unreadable_formula_is_marked_where_it_stops(mount):
    page = mount(exponentials())
    text, verdict = check(page, "ln(a/b) + c - 1")
    assert verdict == "unreadable"
    assert text == "“c” is unknown. The formula may use a and b."
    assert page.inner_text(".vk-place") == "ln(a/b) + c - 1"
    assert page.inner_text(".vk-place mark") == "c"
    box = page.get_by_role("textbox")
    assert box.get_attribute("aria-invalid") == "true"
    assert box.evaluate("e => [e.selectionStart, e.selectionEnd]") == [10, 11]
    assert not page.locator(".vk-read").is_visible()
    page.keyboard.type("b/a")  # replaces what was marked
    assert not page.locator(".vk-place").is_visible()
    assert box.get_attribute("aria-invalid") is None
    assert page.inner_text("[role=status]") == ""
    page.keyboard.press("Enter")
    assert "Right" in page.inner_text("[role=status]")


def test_nothing_typed_runs(mount):
    page = mount(exponentials())
    for formula in (
        "alert(1)",
        "window.hacked=1",
        "a<img src=x onerror=hacked=1>",
        "</math><script>hacked=1</script>",
        "${hacked=1}",
        "a;hacked=1",
    ):
        assert check(page, formula)[1] == "unreadable"
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("#widget :is(img, script)").count() == 0
    script = TypeFormula._esm
    for door in ("eval(", "new Function", "Function(", "setTimeout", "import("):
        assert door not in str(script)


def test_an_empty_input_gets_no_verdict(mount):
    page = mount(exponentials(hint="The mean of Exp(a) is 1/a."))
    for formula in ("", "   "):
        assert check(page, formula) == ("", "")
        assert not page.locator(".vk-read, .vk-place").filter(visible=True).count()
    assert "The formula may use a and b" in page.inner_text("#widget")
    assert "1/a" not in page.inner_text("#widget")
    page.get_by_text("Hint").click()
    assert "The mean of Exp(a) is 1/a." in page.inner_text("#widget")
    assert mount(exponentials()).locator("details").is_hidden()


@pytest.mark.parametrize(
    ("slips", "message"),
    [
        ({"none": "b/a - 1 + ln(a) - ln(b)"}, "The slip “none” equals the truth."),
        ({"none": "b/a - 1 + ln(c)"}, "“c” is unknown"),
    ],
)
def test_a_broken_exercise_says_so(mount, slips, message):
    page = mount(exponentials(slips=slips))
    assert "This exercise is broken." in page.inner_text("[role=status]")
    assert message in page.inner_text("[role=status]")
    assert check(page, "a")[0].startswith("This exercise is broken.")


# The formula as it was understood


def mathml(page, formula: str) -> str:
    page.get_by_role("textbox").fill(formula)
    found = page.locator(".vk-read math").evaluate_all("all => all.map((m) => m.innerHTML)")
    text = " ; ".join(found).replace("<mrow>", "").replace("</mrow>", "")
    return text.replace('<mspace width="0.12em"></mspace>', "").replace("\u2062", "")


def test_the_formula_is_typeset_as_it_was_understood(mount):
    place = {name: torch.full((3,), value, dtype=torch.float64) for name, value in PLACE.items()}
    page = mount(TypeFormula("?", place, torch.ones(3, dtype=torch.float64)))
    for formula, expected in {
        "1/2 x": "<mfrac><mn>1</mn><mn>2</mn></mfrac><mo></mo><mi>x</mi>",
        "(m+n)/(2s)": "<mfrac><mi>m</mi><mo>+</mo><mi>n</mi><mn>2</mn><mo></mo><mi>s</mi></mfrac>",
        "sigma_p^2": "<msup><msub><mi>σ</mi><mi>p</mi></msub><mn>2</mn></msup>",
        "√(2π)": "<msqrt><mn>2</mn><mo></mo><mi>π</mi></msqrt>",
        "-x^2": "<mo>−</mo><msup><mi>x</mi><mn>2</mn></msup>",
        "(-x)^2": "<msup><mo>(</mo><mo>−</mo><mi>x</mi><mo>)</mo><mn>2</mn></msup>",
        "½": "<mfrac><mn>1</mn><mn>2</mn></mfrac>",
        "2*3": "<mn>2</mn><mo>·</mo><mn>3</mn>",
        "|x|": "<mo>|</mo><mi>x</mi><mo>|</mo>",
        "ln y": "<mi>ln</mi><mo>(</mo><mi>y</mi><mo>)</mo>",
        "m - (n - r)": '<mi>m</mi> ; <mo form="infix">−</mo><mo>(</mo><mi>n</mi><mo>−</mo>'
        "<mi>r</mi><mo>)</mo>",
        "m (n + r)": "<mi>m</mi><mo></mo><mo>(</mo><mi>n</mi><mo>+</mo><mi>r</mi><mo>)</mo>",
        "(m/n)^2": "<msup><mo>(</mo><mfrac><mi>m</mi><mi>n</mi></mfrac><mo>)</mo><mn>2</mn></msup>",
    }.items():
        assert mathml(page, formula) == expected, formula
    # While a formula is half typed, nothing is said and nothing shown.
    assert mathml(page, "ln(") == "" and page.inner_text("[role=status]") == ""


# In the hand


def test_the_exercise_is_labelled_and_spoken(mount):
    page = mount(exponentials(hint="A hint."))
    box = page.get_by_label("KL(Exp(a)‖Exp(b)) =")
    assert box.get_attribute("type") == "text"
    described = box.get_attribute("aria-describedby").split()
    assert all(page.locator(f"[id='{name}']").count() == 1 for name in described)
    assert page.locator("[role=status]").count() == 1
    names = page.locator("button").evaluate_all("a => a.map((b) => b.ariaLabel ?? b.textContent)")
    assert names == ["Check", *(f"Insert {text}" for text in ("a", "b", "²", "½", "√(", "ln("))]
    for control in page.locator("input, button, summary").all():
        assert control.get_attribute("data-lm-suppress-shortcuts") == "true"


def test_the_exercise_by_keyboard_alone(mount):
    page = mount(exponentials())
    page.keyboard.press("Tab")
    page.keyboard.type("ln(a/b) + b/a - 1")
    page.keyboard.press("Enter")
    assert "Right" in page.inner_text("[role=status]")
    page.keyboard.press("Backspace")  # a new formula has no verdict yet
    assert page.inner_text("[role=status]") == ""
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Check"
    page.keyboard.press("Space")
    assert "must follow" in page.inner_text("[role=status]")


def test_the_buttons_insert_where_the_caret_stands(mount):
    page = mount(exponentials())
    for label in ("Insert ln(", "Insert a", "Insert b", "Insert ²"):
        page.get_by_role("button", name=label, exact=True).click()
    box = page.get_by_role("textbox")
    assert box.input_value() == "ln(a b²"  # ab would be a name to the eye
    page.keyboard.type(")")
    assert page.evaluate("model.get('typed')") == "ln(a b²)"
    box.evaluate("e => e.setSelectionRange(3, 5)")
    page.get_by_role("button", name="Insert ½").click()
    assert box.input_value() == "ln(½b²)"
    assert page.locator(":focus").evaluate("e => e.tagName") == "INPUT"


def test_the_exercise_fits_every_page(mount):
    page = mount(exponentials(hint="A hint."))
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        for formula in ("ln(a/b) + b/a - 1", "a^" * 30 + "b" + " + ln(a)" * 20, "sigma" * 30):
            check(page, formula)
            assert page.evaluate("document.documentElement.scrollWidth") == width
        check(page, f"({'a + ' * 14}b)/a")  # wider than a phone: the keyboard scrolls it
        assert page.locator(".vk-read[tabindex='0']").count() == (width < 800)
    size = page.get_by_role("textbox").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    assert size >= 16  # below it a phone zooms in
    heights = page.locator("form :is(input, button)").evaluate_all(
        "a => a.map((e) => e.clientHeight)"
    )
    assert min(heights) >= 40


def test_the_kernel_and_a_second_view_hear_what_is_typed(mount):
    widget = exponentials()
    page = mount(widget)
    page.get_by_role("textbox").fill("a")
    assert page.evaluate("model.get('typed')") == "a"
    page.evaluate("tell('typed', 'a/b')")
    assert page.get_by_role("textbox").input_value() == "a/b"
    assert page.locator(".vk-read mfrac").count() == 1
    page.evaluate("leave()")
    assert page.evaluate("listeners()") == 0
    widget.set_state({"typed": "b"})
    assert widget.typed == "b"
    assert mount(widget).get_by_role("textbox").input_value() == "b"  # a page opened again


def test_the_page_of_a_reader_has_no_network_and_no_kernel(mount):
    page = mount(exponentials(), offline=True)
    assert check(page, "ln(a/b) + b/a - 1")[1] == "right"
    assert page.evaluate("errors") == []


# In the built pages


def test_every_exercise_of_the_book_is_sound(browser, built_book):
    """Each can be answered, each slip is wrong somewhere, and no symbol is known from the others.

    Settings with b = 3 − a, say, would take formulas for right that are right there alone.
    """
    context = browser.new_context(offline=True)
    page = context.new_page()
    for path in sorted(built_book.rglob("*.html")):
        if "vaekit.widgets.formula.TypeFormula" not in path.read_text(encoding="utf-8"):
            continue
        page.goto(path.as_uri())
        page.locator(".vk-formula").first.wait_for(state="attached")
        for exercise in page.locator(".vk-formula").all():
            assert exercise.locator("[role=status]").text_content() == "", path.name
            assert exercise.locator("label").text_content()
        stored = page.locator("script[type='application/vnd.jupyter.widget-state+json']")
        for model in json.loads(stored.text_content())["state"].values():
            if "truth" in model["state"]:
                settings = torch.tensor(model["state"]["settings"], dtype=torch.float64).mT
                settings = settings[:, settings.std(0) > 0]
                scaled = (settings - settings.mean(0)) / settings.std(0)
                assert torch.linalg.svdvals(scaled).min() > 0.1, model["state"]["prompt"]
    context.close()
