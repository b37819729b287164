"""The widget of chapter 7: two hills, and the Gaussian that is nearest in either direction."""

from math import isfinite
from numbers import Real

import traitlets

from vaekit.widgets.base import Widget, script


class TwoFits(Widget):
    """Move two hills apart; the best Gaussian of either direction follows, and what it pays where.

    The target is p = (1 − w) N(−d, 1) + w N(d, τ²). The forward fit has its mean and variance
    (`forward-kl-moments`); the reverse fit walks downhill on KL(q‖p) from a start on one of the
    hills or between them (`reverse-kl-mode-seeking`). Both fits, both divergences and both
    integrands are computed in `two_fits.js`, in nats, so the widget answers without a kernel.

    Parameters
    ----------
    d : float
        Half the distance between the hills. Default 3.
    w : float
        Share of the right hill. Default 0.4.
    tau : float
        Standard deviation of the right hill. Default 1.
    start : {"left", "middle", "right"}
        Where the reverse fit begins its walk. Default "left".

    Raises
    ------
    traitlets.TraitError
        If a parameter is no finite number, lies outside what the widget draws, or names no start.
        The widget keeps its last good value.

    Examples
    --------
    >>> TwoFits(d=2.0, start="right")
    Two fits: open the book's page, or run this cell in Jupyter or Colab, to move the hills.
    """

    _esm = script("two_fits.js")
    plain_text = (
        "Two fits: open the book's page, or run this cell in Jupyter or Colab, to move the hills."
    )

    d = traitlets.Any(3.0).tag(sync=True)
    w = traitlets.Any(0.4).tag(sync=True)
    tau = traitlets.Any(1.0).tag(sync=True)
    start = traitlets.Enum(("left", "middle", "right"), "left").tag(sync=True)

    # What fits the picture. The .js reads these too, so there is one place to change them.
    limits = traitlets.Dict(
        {"d": (0.0, 5.0), "w": (0.05, 0.95), "tau": (0.4, 2.0)}, read_only=True
    ).tag(sync=True)

    @traitlets.validate("d", "w", "tau")
    def _within_limits(self, proposal: traitlets.Bunch) -> float:
        name, value = proposal.trait.name, proposal.value
        low, high = self.limits[name]
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
            raise traitlets.TraitError(f"{name} must be a finite number, not {value!r}")
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low:g} and {high:g}, not {value}")
        return float(value)
