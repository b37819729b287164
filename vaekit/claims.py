r"""A claim of the book and the check that stands beside its proof.

A check compares independent routes to the same number, says how small an error it would have
caught, and shows that it tells the wrong versions from the right one::

    claim("kl-gaussian").agree(
        formula=formula,  # the theorem in its own symbols: exact, to rounding
        integral=kl_quadrature(p, q),  # an Approximation: exact to its own error bound
        monte_carlo=kl_monte_carlo(p, q, n),  # an Estimate: to some standard errors
    ).refute({"σ where σ² belongs": wrong, "without the −½": formula + 1 / 2})

A check that fails raises `ClaimError` at once. One that passes shows itself as a picture, a
sentence and a table (`vaekit.display`), and carries the same facts as data in the output's
metadata, from which the book makes its ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from scipy.stats import norm
from torch import Tensor

from vaekit import display
from vaekit.estimates import Approximation, Estimate

ROUNDING = 1e-12  # relative error granted to exact routes: some thousand roundings of float64
FALSE_ALARM = 1e-7  # chance that a true Monte Carlo route is rejected, over its whole batch
# An estimate whose variance rests on fewer samples is refused. The chance of being k standard
# errors off is that of a Gaussian times about exp(±k³ skewness / 6√n) (Cramér 1938), where
# skewness / √n is at most 1 / √contributions: at k = 5.6 the factor stays below e.
CONTRIBUTIONS = 1000

Route = Approximation | Estimate | Tensor | float


class ClaimError(AssertionError):
    """A check failed, was too weak, or could not tell a wrong version from the right one."""


@dataclass
class _Values:
    """A route as numbers: value and tolerance of every setting in the batch."""

    name: str
    role: str
    kind: str
    value: Tensor
    tolerance: Tensor
    standard_error: Tensor | None = None

    @classmethod
    def of(cls, name: str, role: str, route: Route) -> _Values:
        raw = route.value if isinstance(route, Approximation) else route
        # a Python float would become float32 and lose half its digits
        raw = raw if isinstance(raw, Tensor) else torch.tensor(raw, dtype=torch.float64)
        value = _flat(raw)
        if not value.numel():
            raise ClaimError(f"{name} has no settings")
        # float32 rounds more coarsely than the course's float64
        eps = torch.finfo(raw.dtype).eps if raw.is_floating_point() else 0
        share = max(ROUNDING, 64 * eps)
        # finite even where the value is not: an infinite tolerance would accept anything
        rounding = share * value.abs().nan_to_num(posinf=1).clamp(min=1)
        if isinstance(route, Approximation) and not route.error.isfinite().all():
            raise ClaimError(f"{name} does not know its error")
        if isinstance(route, Estimate):
            few = route.contributions.min().item()
            if not few >= CONTRIBUTIONS:  # NaN where the samples' fourth powers overflow
                raise ClaimError(
                    f"{name}: its standard error deserves no trust. The variance rests on about "
                    f"{few:.0f} of {route.n} samples, where {CONTRIBUTIONS} are wanted: draw more, "
                    "or choose settings whose tails are lighter"
                )
            error = _flat(route.error)
            widths = norm.isf(FALSE_ALARM / (2 * value.numel()))
            return cls(name, role, "monte carlo", value, widths * error + rounding, error)
        if isinstance(route, Approximation):
            return cls(name, role, "quadrature", value, _flat(route.error) + rounding)
        return cls(name, role, "exact", value, rounding)

    def facts(self, resolution: float | None) -> dict[str, Any]:
        errors = self.standard_error
        return {
            "name": self.name,
            "role": self.role,
            "kind": self.kind,
            "values": self.value.tolist(),
            "standard_errors": None if errors is None else errors.tolist(),
            "resolution": resolution,
        }


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
    _groups: list[dict[str, Any]] = field(default_factory=list)
    _refuted: list[dict[str, Any]] = field(default_factory=list)
    _last: list[_Values] = field(default_factory=list)  # what `refute` compares with
    _resolutions: list[float] = field(default_factory=list)  # of comparisons between exact routes
    _samplings: list[float] = field(default_factory=list)  # of comparisons with a Monte Carlo route

    def agree(self, case: str = "", /, **routes: Route) -> Self:
        """Compare routes to the same values; the first, which must be exact, is the reference.

        Parameters
        ----------
        case : str
            Heading of these rows, where a check has several.
        **routes : Tensor, float, Approximation or Estimate
            Two or more routes of one shape, or a single number, which stands for every setting.
            None may call another.

        Raises
        ------
        ClaimError
            If two routes disagree, one is too coarse to count, or the standard error of one cannot
            be trusted.
        """
        if len(routes) < 2:
            raise ClaimError(f"{self.label}: one route alone checks nothing")
        roles = ["reference"] + ["route"] * (len(routes) - 1)
        reference, *others = values = [
            self._values(name.replace("_", " "), role, route)
            for role, (name, route) in zip(roles, routes.items(), strict=True)
        ]
        if reference.kind == "monte carlo":
            raise ClaimError(f"{self.label}: the first route must be exact, not Monte Carlo")
        resolutions = [None] + [self._compare(reference, other) for other in others]
        self._add(case, "agreement", values, resolutions)
        self._last = values
        return self

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
            a single number. For a maximum, `larger` is the maximum and `smaller` its rivals.
        equal : pair of the same
            The two sides in settings where the claim says that they are equal.

        Raises
        ------
        ClaimError
            If the gap is not larger than the tolerance in every strict setting, or the sides of
            the equality case differ.
        """
        left = self._values("larger side", "larger", larger)
        right = self._values("smaller side", "smaller", smaller)
        a, b = self._same_settings(left, right)
        gap, tolerance = a - b, left.tolerance + right.tolerance
        if not (gap > tolerance).all():
            i = int((~(gap > tolerance)).nonzero()[0])
            raise ClaimError(
                f"{self.label}: {case}: in setting {i + 1} of {gap.numel()} the gap is "
                f"{gap[i]:.3g}, which is not above {tolerance.expand_as(gap)[i]:.2g}"
            )
        sides = [
            self._values(name, name, side)
            for name, side in zip(("left", "right"), equal, strict=True)
        ]
        resolutions = [None, None, None, self._compare(*sides)]
        self._add(case, "inequality", [left, right, *sides], resolutions)
        self._last = []
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
        if not self._groups or self._groups[-1]["kind"] != "derivation":
            self._groups.append({"case": "", "kind": "derivation", "settings": 0, "routes": []})
            self._last = []
        group = self._groups[-1]
        here = self._values(f"line {len(self._last) + 1}", "line", value)
        resolution = self._compare(self._last[-1], here) if self._last else None
        group["settings"] = max(group["settings"], here.value.numel())
        group["routes"].append(here.facts(resolution) | {"formula": formula, "reason": reason})
        self._last.append(here)
        return self

    def refute(self, wrong: Mapping[str, Route], *, above: Route | None = None) -> Self:
        """Show that the check tells wrong versions from the right one.

        Parameters
        ----------
        wrong : dict
            By the wrong version in words, what it gives in the settings of the last `agree`, or of
            the derivation. Each is put in the place of the reference, or of the first line, and
            some other route or line has to reject it.
        above : Tensor, float, Approximation or Estimate, optional
            If given, the wrong version says that its value is above this in every setting, and one
            setting has to contradict it.

        Raises
        ------
        ClaimError
            If a wrong version passes, or is no number.
        """
        for statement, value in wrong.items():
            version = self._values(statement, "wrong", value)
            if version.value.isnan().any():
                raise ClaimError(f"{self.label}: the wrong version “{statement}” is NaN")
            facts = self._order(version, above) if above is not None else self._rejected(version)
            if not facts["settings"]:
                raise ClaimError(
                    f"{self.label}: cannot tell the wrong version “{statement}” from the right one"
                )
            self._refuted.append({"statement": statement, "group": len(self._groups) - 1} | facts)
        return self

    def _order(self, wrong: _Values, above: Route) -> dict[str, Any]:
        """Return where a wrong order meets a counterexample."""
        bound = self._values("its bound", "route", above)
        a, b = self._same_settings(wrong, bound)
        tolerance = wrong.tolerance + bound.tolerance
        exact = wrong.kind == bound.kind == "exact"
        seen = b - a >= -tolerance if exact else b - a > tolerance
        return {
            "by": ["a counterexample"],
            "settings": int(seen.sum()),
            "of": seen.numel(),
            "error": (b - a).clamp(min=0).max().item(),
            "values": None,
        }

    def _rejected(self, wrong: _Values) -> dict[str, Any]:
        """Return which routes of the last comparison reject a wrong value, and where."""
        if len(self._last) < 2:
            raise ClaimError(f"{self.label}: refute values after a comparison, orders with above=")
        _, *others = self._last
        for route in self._last:
            self._same_settings(wrong, route)
        a, b, *_ = torch.broadcast_tensors(wrong.value, *(route.value for route in self._last))
        rejections = {
            route.name: _differ(a, route.value, wrong.tolerance + route.tolerance)
            for route in others
        }
        seen = torch.stack([each.expand_as(a) for each in rejections.values()]).any(0)
        return {
            "by": [name for name, rejected in rejections.items() if rejected.any()],
            "settings": int(seen.sum()),
            "of": seen.numel(),
            "error": torch.where(a == b, 0.0, (a - b).abs()).max().item(),
            "values": a.tolist(),
        }

    def _values(self, name: str, role: str, route: Route) -> _Values:
        try:
            return _Values.of(name, role, route)
        except ClaimError as error:
            raise ClaimError(f"{self.label}: {error}") from None

    def _same_settings(self, a: _Values, b: _Values) -> tuple[Tensor, Tensor]:
        """Return both values, a single number in every setting of the other."""
        if a.value.shape != b.value.shape and 1 not in (a.value.numel(), b.value.numel()):
            raise ClaimError(
                f"{self.label}: {a.name} has {a.value.numel()} values, "
                f"{b.name} has {b.value.numel()}"
            )
        return torch.broadcast_tensors(a.value, b.value)

    def _compare(self, a: _Values, b: _Values) -> float:
        """Return the resolution of comparing two routes, or raise.

        It is twice the tolerance: an error of this size, less what the routes may differ by when
        both are right, is still more than what is tolerated.
        """
        left, right = self._same_settings(a, b)
        tolerance = (a.tolerance + b.tolerance).expand_as(left)
        wrong = _differ(left, right, tolerance)
        if wrong.any():
            i = int(wrong.nonzero()[0])
            raise ClaimError(
                f"{self.label}: {b.name} disagrees with {a.name} in setting {i + 1} of "
                f"{wrong.numel()}: {right[i]:.10g} against {left[i]:.10g}, "
                f"where {tolerance[i]:.2g} is allowed"
            )
        finite = left.isfinite()
        relative = (2 * tolerance / left.abs().clamp(min=1))[finite]
        resolution = relative.max().item() if finite.any() else 2 * ROUNDING
        sampled = "monte carlo" in (a.kind, b.kind)
        allowed = self.sampling if sampled else self.resolution
        if not resolution <= allowed:
            raise ClaimError(
                f"{self.label}: too weak. {b.name} would miss an error of {resolution:.2g}; "
                f"this claim wants {allowed:.2g}"
            )
        (self._samplings if sampled else self._resolutions).append(resolution)
        return resolution

    def _add(
        self, case: str, kind: str, values: list[_Values], resolutions: list[float | None]
    ) -> None:
        routes = [v.facts(r) for v, r in zip(values, resolutions, strict=True)]
        settings = max(v.value.numel() for v in values)
        self._groups.append({"case": case, "kind": kind, "settings": settings, "routes": routes})

    @property
    def verdict(self) -> str:
        """``passed``, or ``incomplete: …`` while something is missing."""
        if not any(len(group["routes"]) > 1 for group in self._groups):
            return "incomplete: nothing was compared"
        if not self._refuted:
            return "incomplete: no wrong version was refuted"
        return "passed"

    def facts(self) -> dict[str, Any]:
        """Return the check as JSON data, infinities as "inf": what the ledger and readers see.

        `resolution` is the coarsest of all comparisons between exact routes, `sampling` that of
        all comparisons with a Monte Carlo route; each is None where there is none.
        """
        facts = {
            "label": self.label,
            "verdict": self.verdict,
            "settings": max((group["settings"] for group in self._groups), default=0),
            "resolution": max(self._resolutions, default=None),
            "sampling": max(self._samplings, default=None),
            "declared": {"resolution": self.resolution, "sampling": self.sampling},
            "groups": self._groups,
            "refuted": self._refuted,
        }
        # JSON has no infinite number
        return json.loads(
            json.dumps(facts), parse_constant={"Infinity": "inf", "-Infinity": "-inf"}.get
        )

    def __str__(self) -> str:
        return display.text(self.facts())

    __repr__ = __str__

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        facts = self.facts()
        return display.bundle(facts), {"vaekit": {"claim": facts}}


def claim(label: str, *, resolution: float = 1e-10, sampling: float = 0.2) -> Claim:
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
        To be followed by `agree`, `at_least` or `line`, and by `refute`.
    """
    return Claim(label, resolution, sampling)


derivation = claim
"""Begin the check of a derivation, line by line: `claim`, to be followed by `line`."""


def _flat(x: Tensor) -> Tensor:
    return x.detach().to("cpu", torch.float64).reshape(-1)


def _differ(a: Tensor, b: Tensor, tolerance: Tensor) -> Tensor:
    """Where a and b differ by more than the tolerance; equal infinities agree, NaN never does."""
    return ~((a == b) | ((a - b).abs() <= tolerance))
