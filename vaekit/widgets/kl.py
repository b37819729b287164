"""The widget of chapter 3: two Gaussians, and their KL divergence as an area."""

from math import isfinite
from numbers import Real

import traitlets

from vaekit.widgets.base import Widget, script


class KLWidget(Widget):
    """Two Gaussians to move, and the integrand of KL(p‖q) or KL(q‖p) as a signed area.

    The curves, both divergences (closed form) and the area (trapezoid rule) are computed in
    `kl.js`, in nats, so the widget answers without a kernel. The formula is derived in chapter 3,
    claim `kl-gaussian`.

    Parameters
    ----------
    mu_p, mu_q : float
        Means, within `mu_limits`. Default 0 and 1.
    sigma_p, sigma_q : float
        Standard deviations, within `sigma_limits`. Default 1 and 2.
    direction : {"pq", "qp"}
        Which integrand is drawn: "pq" for KL(p‖q), the default, or "qp" for KL(q‖p).

    Raises
    ------
    traitlets.TraitError
        If a parameter is no finite number, lies outside what the widget draws, or names no
        direction. The widget keeps its last good value.

    Examples
    --------
    >>> KLWidget(mu_q=2.0, sigma_q=0.5, direction="qp")
    KL widget: open the book's page, or run this cell in Jupyter or Colab, to move p and q.
    """

    _esm = script("kl.js")
    plain_text = (
        "KL widget: open the book's page, or run this cell in Jupyter or Colab, to move p and q."
    )

    mu_p = traitlets.Any(0.0).tag(sync=True)
    sigma_p = traitlets.Any(1.0).tag(sync=True)
    mu_q = traitlets.Any(1.0).tag(sync=True)
    sigma_q = traitlets.Any(2.0).tag(sync=True)
    direction = traitlets.Enum(("pq", "qp"), "pq").tag(sync=True)

    # What fits the picture. The .js reads these too, so there is one place to change them.
    mu_limits = traitlets.Tuple((-4.0, 4.0), read_only=True).tag(sync=True)
    sigma_limits = traitlets.Tuple((0.4, 3.0), read_only=True).tag(sync=True)

    @traitlets.validate("mu_p", "sigma_p", "mu_q", "sigma_q")
    def _within_limits(self, proposal: traitlets.Bunch) -> float:
        name, value = proposal.trait.name, proposal.value
        low, high = self.mu_limits if name.startswith("mu") else self.sigma_limits
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
            raise traitlets.TraitError(f"{name} must be a finite number, not {value!r}")
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low:g} and {high:g}, not {value}")
        return float(value)
