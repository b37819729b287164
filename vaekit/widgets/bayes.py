"""The widget of chapter 4: prior, likelihood and posterior of one number, and the evidence."""

from math import isfinite
from numbers import Real

import traitlets

from vaekit.widgets.base import Widget, script


class BayesWidget(Widget):
    """A cause z ~ N(0, 1), observed as x = z + s ε: drag the observation and its noise.

    Drawn are the prior, the likelihood as a function of z, the posterior, and below them the
    product of prior and likelihood, whose area is the evidence p(x). Everything is computed in
    `bayes.js`, so the widget answers without a kernel. The formulas are derived in chapter 4,
    claim `bayes-linear-gaussian`, with w = 1 and b = 0.

    Parameters
    ----------
    x : float
        The observation, within `x_limits`. Default 1.5.
    s : float
        Standard deviation of the noise, within `s_limits`. Default 1.

    Raises
    ------
    traitlets.TraitError
        If a parameter is no finite number or lies outside what the widget draws. The widget keeps
        its last good value.

    Examples
    --------
    >>> BayesWidget(x=3.0, s=0.5)
    Bayes widget: open the book's page, or run this cell in Jupyter or Colab, to drag x and s.
    """

    _esm = script("bayes.js")
    plain_text = (
        "Bayes widget: open the book's page, or run this cell in Jupyter or Colab, to drag x and s."
    )

    x = traitlets.Any(1.5).tag(sync=True)
    s = traitlets.Any(1.0).tag(sync=True)

    # What fits the picture. The .js reads these too, so there is one place to change them.
    x_limits = traitlets.Tuple((-4.0, 4.0), read_only=True).tag(sync=True)
    s_limits = traitlets.Tuple((0.3, 3.0), read_only=True).tag(sync=True)

    @traitlets.validate("x", "s")
    def _within_limits(self, proposal: traitlets.Bunch) -> float:
        name, value = proposal.trait.name, proposal.value
        low, high = getattr(self, f"{name}_limits")
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
            raise traitlets.TraitError(f"{name} must be a finite number, not {value!r}")
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low:g} and {high:g}, not {value}")
        return float(value)
