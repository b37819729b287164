"""The widget of chapter 6: a guess to move, and ln p(x) as the ELBO and what it lacks."""

from math import isfinite
from numbers import Real

import traitlets

from vaekit.widgets.base import Widget, script


class ElboWidget(Widget):
    """Move q = N(μ, σ²) against a fixed posterior; ln p(x) splits into the ELBO and the gap.

    The model is p(z) = N(0, 1), p(x|z) = N(z, s²), and x was observed, so that the posterior is
    N(x/(1 + s²), s²/(1 + s²)) and p(x) = N(x; 0, 1 + s²). The curves, the ELBO with its two terms
    and the gap are computed in `elbo.js`, in nats, so the widget answers without a kernel. The
    formulas are derived in chapter 6, claims `elbo-kl-decomposition` and `elbo-two-terms`.

    Parameters
    ----------
    mu : float
        Mean of the guess, within `mu_limits`. Default 0.
    sigma : float
        Its standard deviation, within `sigma_limits`. Default 1: the prior.

    Raises
    ------
    traitlets.TraitError
        If a parameter is no finite number, or lies outside what the widget draws. The widget keeps
        its last good value.

    Examples
    --------
    >>> ElboWidget(mu=1.0, sigma=0.6)
    ELBO widget: open the book's page, or run this cell in Jupyter or Colab, to move the guess.
    """

    _esm = script("elbo.js")
    plain_text = (
        "ELBO widget: open the book's page, or run this cell in Jupyter or Colab, "
        "to move the guess."
    )

    mu = traitlets.Any(0.0).tag(sync=True)
    sigma = traitlets.Any(1.0).tag(sync=True)

    # The model, whose posterior is N(1, 0.6²): a guess on the widget's grid can hit it.
    x = traitlets.Float(1.5625, read_only=True).tag(sync=True)
    s = traitlets.Float(0.75, read_only=True).tag(sync=True)
    # What fits the picture. The .js reads these too, so there is one place to change them.
    mu_limits = traitlets.Tuple((-2.5, 2.5), read_only=True).tag(sync=True)
    sigma_limits = traitlets.Tuple((0.1, 2.0), read_only=True).tag(sync=True)

    @traitlets.validate("mu", "sigma")
    def _within_limits(self, proposal: traitlets.Bunch) -> float:
        name, value = proposal.trait.name, proposal.value
        low, high = self.mu_limits if name == "mu" else self.sigma_limits
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
            raise traitlets.TraitError(f"{name} must be a finite number, not {value!r}")
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low:g} and {high:g}, not {value}")
        return float(value)
