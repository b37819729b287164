"""The widget of chapter 2: the probability of an interval as an area, the density as a height."""

from math import isfinite
from numbers import Real

import traitlets

from vaekit.widgets.base import Widget, script


class GaussianArea(Widget):
    """A Gaussian of heights and an interval to drag: a probability is an area, a density a height.

    The curve, the probability of the interval (by Φ) and the density in its middle are computed in
    `gaussian_area.js`, so the widget answers without a kernel. They are derived in chapter 2,
    claim `gaussian-interval`.

    Parameters
    ----------
    mu : float
        Mean in metres, within `x_limits`. Default 1.75.
    sigma : float
        Standard deviation in metres, within `sigma_limits`. Default 0.07.
    lower, upper : float
        Ends of the interval in metres, within `x_limits`, in either order. Default 1.75 and 1.8.
    unit : {"m", "cm"}
        What the axis and the density are shown in; everything above stays in metres.

    Raises
    ------
    traitlets.TraitError
        If a parameter is no finite number, lies outside what the widget draws, or names no unit.
        The widget keeps its last good value.

    Examples
    --------
    >>> GaussianArea(lower=1.795, upper=1.805, unit="cm")
    Area widget: open the book's page, or run this cell in Jupyter or Colab, to drag the interval.
    """

    _esm = script("gaussian_area.js")
    plain_text = (
        "Area widget: open the book's page, or run this cell in Jupyter or Colab, "
        "to drag the interval."
    )

    mu = traitlets.Any(1.75).tag(sync=True)
    sigma = traitlets.Any(0.07).tag(sync=True)
    lower = traitlets.Any(1.75).tag(sync=True)
    upper = traitlets.Any(1.8).tag(sync=True)
    unit = traitlets.Enum(("m", "cm"), "m").tag(sync=True)

    # What fits the picture. The .js reads these too, so there is one place to change them.
    x_limits = traitlets.Tuple((1.5, 2.0), read_only=True).tag(sync=True)
    sigma_limits = traitlets.Tuple((0.02, 0.12), read_only=True).tag(sync=True)

    @traitlets.validate("mu", "sigma", "lower", "upper")
    def _within_limits(self, proposal: traitlets.Bunch) -> float:
        name, value = proposal.trait.name, proposal.value
        low, high = self.sigma_limits if name == "sigma" else self.x_limits
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
            raise traitlets.TraitError(f"{name} must be a finite number, not {value!r}")
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low:g} and {high:g}, not {value}")
        return float(value)
