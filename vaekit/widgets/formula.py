"""An exercise that answers in the page: the reader types a formula, the widget checks it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import traitlets
from torch import Tensor

from vaekit.widgets.base import Widget, script

_TOLERANCE = 1e-10  # what counts as right, relative to max(1, |truth|), as in formula.js
_DIFFERENT = 1e-6  # by how much a slip must be off in some setting, as there

_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
        "sigma tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi "
        "Omega".split(),
        strict=True,
    )
)
_LETTERS = f"[A-Za-z]+|[{''.join(_GREEK)}]"
_SYMBOL = re.compile(rf"({_LETTERS})(?:_({_LETTERS}|[A-Za-z0-9]+))?")
# What the parser of formula.js reads as something else.
_TAKEN = {*"ln log exp sqrt abs tanh sinh cosh sin cos tan".split(), "pi", "e"}


class TypeFormula(Widget):
    """Ask for a formula, read what is typed, and say at once whether it is right.

    `formula.js` reads usual notation (`ln(s/r) + (m-n)²/(2s²) - ½`), typesets it as it understood
    it, and evaluates it in every setting, with neither kernel nor network. The answer is *right*
    if it agrees with `truth` to ten digits everywhere; otherwise by how much and where it is off,
    or which of the circulating slips it is.

    Parameters
    ----------
    prompt : str
        What is asked, shown before the input: ``"KL(Exp(a)‖Exp(b)) ="``.
    symbols : mapping from str to Tensor
        What the formula may use, and its value in each setting, shape (n,). A symbol is a name or a
        Greek letter, with or without a subscript: ``a``, ``σ``, ``sigma_p``. The reader may write
        σ_p, σₚ or sigma_p for either.
    truth : Tensor or object with `value`
        The right value in each setting, shape (n,), float64, by a route that does not use the
        formula: an integral, for example. Its `error`, if it has one, must be small enough.
    slips : mapping from str to (str or Tensor), optional
        Wrong formulas that circulate: the statement that the reader gets, and the formula in the
        same notation, or its values, shape (n,). A page that is handed a slip that cannot be read,
        or that equals the truth, says so in place of the exercise.
    hint : str, optional
        Shown when the reader asks for it.

    Raises
    ------
    ValueError
        If shapes differ, a number is not finite, a symbol cannot be read or is given twice, the
        truth is not known to ten digits or is zero everywhere, or a slip's values equal it.

    Examples
    --------
    >>> a = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    >>> TypeFormula("∫₀ᵃ x dx =", {"a": a}, a**2 / 2)
    ∫₀ᵃ x dx = ? Open the book's page, or run this cell in Jupyter or Colab, to type the formula.
    """

    _esm = script("formula.js")

    prompt = traitlets.Unicode(read_only=True).tag(sync=True)
    symbols = traitlets.List(read_only=True).tag(sync=True)
    settings = traitlets.List(read_only=True).tag(sync=True)
    truth = traitlets.List(read_only=True).tag(sync=True)
    slips = traitlets.List(read_only=True).tag(sync=True)
    hint = traitlets.Unicode(read_only=True).tag(sync=True)
    typed = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        prompt: str,
        symbols: Mapping[str, Tensor],
        truth: Tensor | Any,
        slips: Mapping[str, str | Tensor] | None = None,
        hint: str = "",
        **widget_options: object,
    ):
        if not symbols:
            raise ValueError("a formula needs at least one symbol")
        names = [_canonical(symbol) for symbol in symbols]
        if len(set(names)) < len(names):
            raise ValueError(f"two of the symbols {', '.join(symbols)} are the same")
        right = _known_to_ten_digits(truth)
        settings = [_numbers(name, values, right.shape) for name, values in symbols.items()]
        if right.abs().max() <= _DIFFERENT:
            raise ValueError("the truth is zero in every setting, so that 0 would be right")
        stored = []
        for statement, wrong in (slips or {}).items():
            if isinstance(wrong, str):
                stored.append({"statement": statement, "formula": wrong})
                continue
            values = _numbers(f"the slip {statement!r}", wrong, right.shape)
            if (values - right).abs().max() <= _DIFFERENT:
                raise ValueError(f"the slip {statement!r} equals the truth")
            stored.append({"statement": statement, "values": values.tolist()})
        # Set before the widget opens, so that its first message holds all.
        self.set_trait("prompt", prompt)
        self.set_trait("symbols", list(symbols))
        self.set_trait("settings", [values.tolist() for values in settings])
        self.set_trait("truth", right.tolist())
        self.set_trait("slips", stored)
        self.set_trait("hint", hint)
        asked = prompt.rstrip().removesuffix("=").rstrip()
        self.plain_text = (
            f"{asked} = ? Open the book's page, or run this cell in Jupyter or Colab, "
            "to type the formula."
        )
        super().__init__(**widget_options)


def _canonical(symbol: str) -> str:
    """Spell a symbol with letters alone, as `canonical` in formula.js does, or refuse it."""
    match = _SYMBOL.fullmatch(symbol)
    if not match:
        raise ValueError(
            f"the symbol {symbol!r} cannot be read:"
            " a name or a Greek letter, and after _ a subscript"
        )
    name = "_".join(_GREEK.get(part, part) for part in match.groups() if part)
    if name in _TAKEN or name.lower() in _TAKEN - {"e"}:
        raise ValueError(f"the symbol {symbol!r} means something else in a formula")
    return name


def _numbers(name: str, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the values as float64 after a look at their shape and whether they are finite."""
    numbers = torch.as_tensor(values).detach().cpu().double()
    if numbers.shape != shape:
        raise ValueError(f"{name} has shape {tuple(numbers.shape)}, the truth {tuple(shape)}")
    if not numbers.isfinite().all():
        raise ValueError(f"{name} must be finite in every setting")
    return numbers


def _known_to_ten_digits(truth: Tensor | Any) -> Tensor:
    """Take the truth's value, and refuse it unless ten digits of it are known."""
    value = torch.as_tensor(getattr(truth, "value", truth)).detach().cpu()
    if value.dtype != torch.float64:
        raise ValueError(f"the truth must be float64 to be right to ten digits, not {value.dtype}")
    if value.ndim != 1 or len(value) == 0:
        raise ValueError(f"the truth must have shape (n,), got {tuple(value.shape)}")
    _numbers("the truth", value, value.shape)
    error = getattr(truth, "error", getattr(truth, "standard_error", 0.0))
    relative = torch.as_tensor(error).detach().cpu().double() / value.abs().clamp(min=1.0)
    if not (relative <= _TOLERANCE).all():
        raise ValueError(f"the truth is known to {relative.max():.1g} only, not to ten digits")
    return value
