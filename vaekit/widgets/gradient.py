"""The widget of chapter 8: histograms of pathwise and of score-function gradients."""

from __future__ import annotations

import traitlets

from vaekit.widgets.base import Widget, script


class GradientWidget(Widget):
    """Many estimates of ∂/∂μ E[L(z)] at μ = σ = 1, each the mean over n samples; drag n.

    Both estimators stand one above the other, for three losses: a quadratic, where the pathwise
    gradient is the less noisy one; a step, where it is zero and wrong; and a fast wave, where the
    score function is the less noisy one. Samples are drawn in `gradient.js`.

    Parameters
    ----------
    n : int
        Samples in each estimate, 1 (the default) to 256.
    loss : {"quadratic", "step", "wave"}
        L(z) = ½ z², the default; 1 if z > 0, else 0; sin 8z.
    seed : int
        Which noise is drawn, 0 to 999 999.

    Raises
    ------
    traitlets.TraitError
        If n or seed is no whole number within its limits, or loss is none of the three. The widget
        keeps its last good value.

    Examples
    --------
    >>> GradientWidget(n=8, loss="wave")
    Gradient widget: open the book's page, or run this cell in Jupyter or Colab, to drag n.
    """

    _esm = script("gradient.js")
    plain_text = (
        "Gradient widget: open the book's page, or run this cell in Jupyter or Colab, to drag n."
    )

    n = traitlets.Any(1).tag(sync=True)
    loss = traitlets.Enum(("quadratic", "step", "wave"), "quadratic").tag(sync=True)
    seed = traitlets.Any(0).tag(sync=True)

    # The .js reads this too, so there is one place to change it.
    n_limits = traitlets.Tuple((1, 256), read_only=True).tag(sync=True)

    @traitlets.validate("n", "seed")
    def _within_limits(self, proposal: traitlets.Bunch) -> int:
        name, value = proposal.trait.name, proposal.value
        low, high = self.n_limits if name == "n" else (0, 999_999)
        if isinstance(value, bool) or not isinstance(value, int):
            raise traitlets.TraitError(f"{name} must be a whole number, not {value!r}")
        if not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low} and {high}, not {value}")
        return value
