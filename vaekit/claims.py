r"""A claim of the book and the check that stands beside its proof.

A check compares independent routes to the same number, says how small an error it would have
caught, and shows that it tells the wrong versions from the right one::

    claim("kl-gaussian").agree(
        closed_form=kl_gaussian(p, q),  # exact, to rounding
        quadrature=kl_quadrature(p, q),  # an Approximation: exact to its own error bound
        monte_carlo=kl_monte_carlo(p, q, n),  # an Estimate: to some standard errors
    ).refute("½ around the log ratio too", wrong(p, q))

A check that fails raises `ClaimError` at once. One that passes shows itself as a table, and carries
the same facts as data in the output's metadata, from which the book makes its ledger.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from scipy.stats import norm
from torch import Tensor

from vaekit.estimates import Approximation, Estimate, with_error

ROUNDING = 1e-12  # relative error granted to exact routes: some thousand roundings of float64
FALSE_ALARM = 1e-7  # chance that a true Monte Carlo route is rejected, over its whole batch

Route = Approximation | Estimate | Tensor | float


class ClaimError(AssertionError):
    """A check failed, was too weak, or could not tell a wrong version from the right one."""


@dataclass
class _Values:
    """A route as numbers: value and tolerance of every setting in the batch."""

    name: str
    kind: str
    value: Tensor
    tolerance: Tensor
    standard_error: Tensor | None = None

    @classmethod
    def of(cls, name: str, route: Route) -> _Values:
        raw = route.value if isinstance(route, Approximation | Estimate) else route
        # a Python float would become float32 and lose half its digits
        raw = raw if isinstance(raw, Tensor) else torch.tensor(raw, dtype=torch.float64)
        value = raw.detach().to("cpu", torch.float64).reshape(-1)
        # float32 rounds more coarsely than the course's float64
        share = max(ROUNDING, 64 * torch.finfo(raw.dtype).eps) if raw.is_floating_point() else 0
        # finite even where the value is not: an infinite tolerance would accept anything
        rounding = share * value.abs().nan_to_num(posinf=1).clamp(min=1)
        if isinstance(route, Approximation):
            error = route.error.detach().to("cpu", torch.float64).reshape(-1)
            return cls(name, "quadrature", value, error + rounding)
        if isinstance(route, Estimate):
            error = route.standard_error.detach().to("cpu", torch.float64).reshape(-1)
            widths = norm.isf(FALSE_ALARM / (2 * value.numel()))
            return cls(name, "monte carlo", value, widths * error + rounding, error)
        return cls(name, "exact", value, rounding)

    def shown(self) -> str:
        """Return the value in the first setting, as a reader wants to see it."""
        if self.standard_error is not None:
            return with_error(self.value[0].item(), self.standard_error[0].item())
        return _number(self.value[0].item())

    def facts(self, resolution: float | None) -> dict[str, Any]:
        errors = self.standard_error
        return {
            "name": self.name,
            "kind": self.kind,
            "value": self.value.tolist(),
            "standard_error": None if errors is None else errors.tolist(),
            "resolution": resolution,
        }


@dataclass
class _Row:
    name: str
    value: str
    agreement: str


@dataclass
class Claim:
    """The check of one claim: made by `claim` or `derivation`.

    Attributes
    ----------
    label : str
        The label of the theorem, proposition, lemma or corollary that is checked.
    resolution : float
        The coarsest resolution allowed between exact routes, relative to max(1, |value|).
    sampling : float
        The same for Monte Carlo routes.
    """

    label: str
    resolution: float
    sampling: float
    kind: str = "value"
    _settings: int = 1
    _resolutions: list[float] = field(default_factory=list)  # the finest of each comparison
    _routes: list[dict[str, Any]] = field(default_factory=list)
    _groups: list[tuple[str, list[_Row]]] = field(default_factory=list)
    _refuted: list[dict[str, Any]] = field(default_factory=list)
    _last: list[_Values] = field(default_factory=list)
    _lines: list[tuple[str, str, str]] = field(default_factory=list)

    def agree(self, case: str = "", /, **routes: Route) -> Self:
        """Compare routes to the same values; the first, which must be exact, is the reference.

        Parameters
        ----------
        case : str
            Heading of these rows, where a check has several.
        **routes : Tensor, float, Approximation or Estimate
            Two or more routes of one shape. None may call another.

        Raises
        ------
        ClaimError
            If two routes disagree, or one is too coarse to count.
        """
        if len(routes) < 2:
            raise ClaimError(f"{self.label}: one route alone checks nothing")
        reference, *others = values = [
            _Values.of(name.replace("_", " "), route) for name, route in routes.items()
        ]
        if reference.kind == "monte carlo":
            raise ClaimError(f"{self.label}: the first route must be exact, not Monte Carlo")
        resolutions = [self._compare(reference, other) for other in others]
        self._resolutions.append(min(resolutions))
        self._routes.append(reference.facts(None))
        rows = [_Row(reference.name, reference.shown(), "reference")]
        for other, resolution in zip(others, resolutions, strict=True):
            self._routes.append(other.facts(resolution))
            # what is declared, not what rounding left over: the same on every machine
            noticed = resolution if other.kind == "monte carlo" else self.resolution
            rows.append(_Row(other.name, other.shown(), f"notices {noticed:.1g}"))
        self._settings = max(self._settings, reference.value.numel())
        self._groups.append((case, rows))
        self._last = values
        return self

    def _same_settings(self, a: _Values, b: _Values, one_for_all: bool = False) -> None:
        alone = one_for_all and 1 in (a.value.numel(), b.value.numel())
        if a.value.shape != b.value.shape and not alone:
            raise ClaimError(
                f"{self.label}: {a.name} has {a.value.numel()} values, "
                f"{b.name} has {b.value.numel()}"
            )

    def _compare(self, a: _Values, b: _Values) -> float:
        """Return the resolution of comparing two routes, or raise.

        It is twice the tolerance: an error of this size, less what the routes may differ by when
        both are right, is still more than what is tolerated.
        """
        self._same_settings(a, b)
        tolerance = a.tolerance + b.tolerance
        wrong = _differ(a.value, b.value, tolerance)
        if wrong.any():
            i = int(wrong.nonzero()[0])
            raise ClaimError(
                f"{self.label}: {b.name} disagrees with {a.name} in setting {i + 1} of "
                f"{wrong.numel()}: {b.value[i]:.10g} against {a.value[i]:.10g}, "
                f"where {tolerance[i]:.2g} is allowed"
            )
        finite = a.value.isfinite()
        relative = (2 * tolerance / a.value.abs().clamp(min=1))[finite]
        resolution = relative.max().item() if finite.any() else 2 * ROUNDING
        allowed = self.sampling if "monte carlo" in (a.kind, b.kind) else self.resolution
        if not resolution <= allowed:
            raise ClaimError(
                f"{self.label}: too weak. {b.name} would miss an error of {resolution:.2g}; "
                f"this claim wants {allowed:.2g}"
            )
        return resolution

    def at_least(
        self, case: str, larger: Route, smaller: Route, *, equal: tuple[Route, Route]
    ) -> Self:
        """Check larger ≥ smaller: strictly in every setting given, and where equality is claimed.

        Parameters
        ----------
        case : str
            Heading of these rows.
        larger, smaller : Tensor, float, Approximation or Estimate
            The two sides in settings where the inequality is strict: of one shape, or one of them
            a single number.
        equal : pair of the same
            The two sides in settings where the claim says that they are equal.

        Raises
        ------
        ClaimError
            If the gap is not larger than the tolerance in every strict setting, or the sides of
            the equality case differ.
        """
        left, right = _Values.of("larger side", larger), _Values.of("smaller side", smaller)
        self._same_settings(left, right, one_for_all=True)
        gap = left.value - right.value
        tolerance = left.tolerance + right.tolerance
        if not (gap > tolerance).all():
            i = int((~(gap > tolerance)).nonzero()[0])
            raise ClaimError(
                f"{self.label}: {case}: in setting {i + 1} of {gap.numel()} the gap is "
                f"{gap[i]:.3g}, which is not above {tolerance.expand_as(gap)[i]:.2g}"
            )
        a, b = (_Values.of(name, side) for name, side in zip(("left", "right"), equal, strict=True))
        equality = self._compare(a, b)
        self._resolutions.append(equality)
        for route in (left, right):
            self._routes.append(route.facts(2 * tolerance.max().item()))
        for route in (a, b):
            self._routes.append(route.facts(equality) | {"name": f"equality case, {route.name}"})
        self.kind = "inequality"
        self._settings = max(self._settings, gap.numel())
        rows = [
            _Row("strict", f"smallest gap {gap.min().item():.2g}", f"in {gap.numel()} settings"),
            _Row("equality", f"{a.shown()} = {b.shown()}", f"notices {self.resolution:.1g}"),
        ]
        self._groups.append((case, rows))
        self._last = []
        return self

    def refute(self, statement: str, value: Route, *, above: Route | None = None) -> Self:
        """Show that the check tells a wrong version from the right one.

        Parameters
        ----------
        statement : str
            The wrong version, in words.
        value : Tensor, float, Approximation or Estimate
            What the wrong version gives in the settings of the last `agree`. It is put in the place
            of that comparison's reference, and some other route has to reject it.
        above : the same, optional
            If given, the wrong version says that ``value > above`` in every setting, and one
            setting has to contradict it.

        Raises
        ------
        ClaimError
            If the wrong version passes, or is no number.
        """
        wrong = _Values.of(statement, value)
        if wrong.value.isnan().any():
            raise ClaimError(f"{self.label}: the wrong version “{statement}” is NaN")
        if above is not None:
            other = _Values.of("its bound", above)
            self._same_settings(wrong, other, one_for_all=True)
            shortfall = other.value - wrong.value
            tolerance = wrong.tolerance + other.tolerance
            exact = wrong.kind == other.kind == "exact"
            seen = shortfall >= -tolerance if exact else shortfall > tolerance
            by, error = ["a counterexample"], shortfall.clamp(min=0)
        elif len(self._last) < 2:
            raise ClaimError(f"{self.label}: refute values after a comparison, orders with above=")
        else:
            right, *others = self._last
            self._same_settings(wrong, right, one_for_all=True)
            value_ = wrong.value.expand_as(right.value)
            rejections = {
                route.name: _differ(value_, route.value, wrong.tolerance + route.tolerance)
                for route in others
            }
            by = [name for name, seen in rejections.items() if seen.any()]
            seen = torch.stack(list(rejections.values())).any(0)
            error = torch.where(value_ == right.value, 0.0, (value_ - right.value).abs())
        if not seen.any():
            raise ClaimError(
                f"{self.label}: cannot tell the wrong version “{statement}” from the right one"
            )
        self._refuted.append(
            {
                "statement": statement,
                "error": error.max().item(),
                "by": by,
                "settings": int(seen.sum()),
                "of": seen.numel(),
            }
        )
        return self

    def line(self, formula: str, value: Route, reason: str = "") -> Self:
        """Add a line of a derivation: its value must be that of the line before.

        Parameters
        ----------
        formula : str
            The line in LaTeX, without delimiters.
        value : Tensor, float, Approximation or Estimate
            The line evaluated as it is written.
        reason : str
            Why it equals the line before, in Markdown.

        Raises
        ------
        ClaimError
            If the line disagrees with the one before, or is too coarse to count.
        """
        here = _Values.of(f"line {len(self._lines) + 1}", value)
        resolution = self._compare(self._last[-1], here) if self._last else None
        self._resolutions += [resolution] if self._last else []
        self._routes.append(here.facts(resolution))
        self._lines.append((formula, here.shown(), reason))
        self._settings = max(self._settings, here.value.numel())
        self._last.append(here)
        return self

    @property
    def verdict(self) -> str:
        """``passed``, or ``incomplete: …`` while something is missing."""
        if len(self._routes) < 2:
            return "incomplete: nothing was compared"
        if not self._refuted:
            return "incomplete: no wrong version was refuted"
        return "passed"

    def facts(self) -> dict[str, Any]:
        """Return the check as JSON data, infinities as "inf": what the ledger reads."""
        facts = {
            "label": self.label,
            "kind": self.kind,
            "settings": self._settings,
            "routes": self._routes,
            "resolution": max(self._resolutions, default=None),
            "declared_resolution": self.resolution,
            "declared_sampling": self.sampling,
            "refuted": self._refuted,
            "verdict": self.verdict,
        }
        # JSON has no infinite number
        return json.loads(
            json.dumps(facts), parse_constant={"Infinity": "inf", "-Infinity": "-inf"}.get
        )

    def _head(self) -> str:
        settings = f", {self._settings} settings (the first is shown)" if self._settings > 1 else ""
        return f"{self.label}: {self.verdict}{settings}"

    def _refutations(self) -> list[str]:
        texts = []
        for r in self._refuted:
            order = r["by"] == ["a counterexample"]
            how = "false" if order else f"off by up to {r['error']:.2g}"
            where = f", seen in {r['settings']} of {r['of']} settings" if r["of"] > 1 else ""
            texts.append(f"{r['statement']}: {how}{where}")
        return texts

    def __str__(self) -> str:
        lines = [self._head()]
        for number, (_, value, _) in enumerate(self._lines, 1):
            lines.append(f"  line {number}: {value}")
        names = [len(row.name) for _, rows in self._groups for row in rows]
        width = max(names, default=0)
        for case, rows in self._groups:
            lines += [f"  {case}"] if case else []
            lines += [f"  {row.name:<{width}}  {row.value:<22} {row.agreement}" for row in rows]
        return "\n".join(lines + [f"  refuted: {text}" for text in self._refutations()])

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        text = {"text/plain": str(self)}
        # a derivation is Markdown, so that every reader typesets its formulas
        text |= {"text/markdown": self._markdown()} if self._lines else {"text/html": self._html()}
        return text, {"vaekit": {"claim": self.facts()}}

    def _markdown(self) -> str:
        rows = []
        for number, (formula, value, reason) in enumerate(self._lines):
            # a bar would end the table's column
            formula, reason = (
                " ".join(text.split()).replace(r"\|", r"\Vert ").replace("|", r"\vert ")
                for text in (formula, reason)
            )
            rows.append(
                f"| {'=' if number else ''} $\\displaystyle {formula}$ | {value} | {reason} |"
            )
        table = ["| line | value | because |", "|:---|---:|:---|", *rows]
        for case, group in self._groups:
            table += [f"| {case} {row.name} | {row.value} | {row.agreement} |" for row in group]
        refuted = [f"- ✗ {text}" for text in self._refutations()]
        return "\n".join([f"**{self._head()}**", "", *table, "", *refuted])

    def _html(self) -> str:
        passed = "vk-pass" if self.verdict == "passed" else "vk-incomplete"
        body = []
        for case, rows in self._groups:
            if case:
                body.append(f'<tr><th class="vk-case" colspan="3">{html.escape(case)}</th></tr>')
            body += [
                f"<tr><td>{html.escape(row.name)}</td><td>{html.escape(row.value)}</td>"
                f"<td>{html.escape(row.agreement)}</td></tr>"
                for row in rows
            ]
        refuted = "".join(f"<li>{html.escape(text)}</li>" for text in self._refutations())
        return (
            f'<div class="vk-claim"><p class="vk-claim-head {passed}">'
            f"{html.escape(self._head())}</p>"
            f'<table class="vk-table"><tbody>{"".join(body)}</tbody></table>'
            + (f'<p>Refuted:</p><ul class="vk-refuted">{refuted}</ul>' if refuted else "")
            + "</div>"
        )


def claim(label: str, *, resolution: float = 1e-10, sampling: float = 0.1) -> Claim:
    """Begin the check of the claim with this label.

    Parameters
    ----------
    label : str
        Label of the theorem, proposition, lemma or corollary.
    resolution : float
        The check fails as too weak if an exact route could miss an error of this size, relative to
        max(1, |value|).
    sampling : float
        The same for Monte Carlo routes. Their tolerance is as many standard errors as keep the
        chance of rejecting a true claim below 10⁻⁷ for each route and its whole batch; an error of
        twice that is missed as rarely.

    Returns
    -------
    Claim
        To be followed by `agree` or `at_least`, and by `refute`.
    """
    return Claim(label, resolution, sampling)


def derivation(label: str, *, resolution: float = 1e-10, sampling: float = 0.1) -> Claim:
    """Begin the check of a derivation, line by line: like `claim`, followed by `line`."""
    return Claim(label, resolution, sampling, kind="derivation")


def _differ(a: Tensor, b: Tensor, tolerance: Tensor) -> Tensor:
    """Where a and b differ by more than the tolerance; equal infinities agree, NaN never does."""
    return ~((a == b) | ((a - b).abs() <= tolerance))


def _number(x: float) -> str:
    # rounding first: what is left of an exact zero must not be printed
    return f"{round(x, 9) + 0.0:.6g}"
