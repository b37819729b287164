"""The widget of chapter 5: EM with one unknown, and the bound that touches and pushes up."""

from __future__ import annotations

from math import isfinite
from numbers import Real

import traitlets
from torch import Tensor

from vaekit.widgets.base import Widget, script

MOST = 500  # data that a page redraws within a frame


class EMWidget(Widget):
    """EM for ½ N(4, 0.7²) + ½ N(μ, 0.7²) with unknown μ: log-likelihood and bound as curves.

    Everything is computed in `em.js`, in nats per point, so the widget answers without a kernel:
    the log-likelihood, the bound and the divergence (`em-decomposition`), the E-step
    (`em-e-step`) and the M-step (`em-gmm-updates`).

    Parameters
    ----------
    data : Tensor
        Points, of shape (N,), on any device, with N from 2 to 500, each within `limits`.
    mu : float
        The current μ, within `limits`. Default 3.3.
    mu_q : float
        The μ whose posteriors are the responsibilities q. Default 4, the known mean: there each
        point is shared half and half.

    Raises
    ------
    ValueError
        If the data are no such tensor.
    traitlets.TraitError
        If mu or mu_q is no finite number within `limits`. The widget keeps its last good value.

    Examples
    --------
    >>> EMWidget(torch.tensor([1.4, 1.5, 4.7, 5.1]))
    EM widget: open the book's page, or run this cell in Jupyter or Colab, to take steps.
    """

    _esm = script("em.js")
    plain_text = (
        "EM widget: open the book's page, or run this cell in Jupyter or Colab, to take steps."
    )

    data = traitlets.List(read_only=True).tag(sync=True)
    mu = traitlets.Any(3.3).tag(sync=True)
    mu_q = traitlets.Any(4.0).tag(sync=True)

    # The model and what fits the picture. The .js reads these too.
    known = traitlets.Float(4.0, read_only=True).tag(sync=True)
    sd = traitlets.Float(0.7, read_only=True).tag(sync=True)
    limits = traitlets.Tuple((0.4, 7.6), read_only=True).tag(sync=True)

    def __init__(self, data: Tensor, **widget_options: object):
        low, high = self.limits
        if data.ndim != 1 or not 2 <= len(data) <= MOST:
            raise ValueError(f"data must have shape (N,) with N from 2 to {MOST}")
        if not ((low <= data) & (data <= high)).all():
            raise ValueError(f"data must lie between {low:g} and {high:g}")
        # Set before the widget opens, so that its first message holds all. Rounded: the page need
        # not carry the digits that float32 invents.
        self.set_trait("data", [round(value, 6) for value in data.detach().double().tolist()])
        super().__init__(**widget_options)

    @traitlets.validate("mu", "mu_q")
    def _within_limits(self, proposal: traitlets.Bunch) -> float:
        name, value = proposal.trait.name, proposal.value
        low, high = self.limits
        if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
            raise traitlets.TraitError(f"{name} must be a finite number, not {value!r}")
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low:g} and {high:g}, not {value}")
        return float(value)
