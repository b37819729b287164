"""What p(x|h) can be: a decoder's output h as a Gaussian, Bernoulli or continuous Bernoulli.

Each class gives the distribution (`forward`) and the log density that training maximises
(`log_prob`), summed over the D data dimensions, in nats. h and x keep their device and dtype;
a Gaussian's variance is stored in torch's default dtype.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli, ContinuousBernoulli, Distribution, Independent, Normal

from vaekit.estimates import generator
from vaekit.gaussian import log_density

__all__ = [
    "BernoulliLikelihood",
    "ContinuousBernoulliLikelihood",
    "GaussianLikelihood",
    "binarize",
]


class GaussianLikelihood(nn.Module):
    """N(x; h, s²) with the decoder's output h as the mean (claim `loss-gaussian-decoder`).

    Parameters
    ----------
    variance : float or Tensor
        s²: one number or shape () for all dimensions alike, shape (D,) for one per dimension.
    learn : bool
        Whether s² is trained with the network. It is stored as `log_variance` = ln s².
    """

    support, binary = (-math.inf, math.inf), False

    def __init__(self, variance: float | Tensor = 1.0, learn: bool = False):
        super().__init__()
        variance = torch.as_tensor(variance, dtype=torch.get_default_dtype())
        if variance.ndim > 1 or variance.numel() == 0:
            raise ValueError(f"variance must have shape () or (D,), got {tuple(variance.shape)}")
        if not ((variance > 0) & variance.isfinite()).all():
            raise ValueError(f"variance must be positive and finite, got {variance.tolist()}")
        self.log_variance = nn.Parameter(variance.log(), requires_grad=learn)

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x|h) with batch shape `h.shape[:-1]` and event shape (D,)."""
        return Independent(Normal(h, (self.log_variance / 2).exp().expand(h.shape)), 1)

    def log_prob(self, h: Tensor, x: Tensor) -> Tensor:
        """Return ln p(x|h) in nats, summed over D; `h` (…, D) and `x` (…, D) broadcast."""
        return log_density(x, h, self.log_variance).sum(-1)


class BernoulliLikelihood(nn.Module):
    """Bernoulli pixels with the decoder's output h as logits (claim `loss-bernoulli`).

    Parameters
    ----------
    grey : bool
        Accept pixels between 0 and 1. The value is then the cross-entropy, which is not a
        normalised log-likelihood (claim `loss-continuous-bernoulli`).
    """

    support = (0.0, 1.0)

    def __init__(self, grey: bool = False):
        super().__init__()
        self.binary = not grey

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x|h) with batch shape `h.shape[:-1]` and event shape (D,)."""
        check = None if self.binary else False
        return Independent(Bernoulli(logits=h, validate_args=check), 1, validate_args=check)

    def log_prob(self, h: Tensor, x: Tensor) -> Tensor:
        """Return x·h − Σ ln(1 + eʰ) in nats, the form without overflow (`loss-bce-logits`)."""
        return -F.binary_cross_entropy_with_logits(h, x.expand_as(h), reduction="none").sum(-1)


class ContinuousBernoulliLikelihood(nn.Module):
    """Grey pixels in [0, 1], logits h, normalised (claim `loss-continuous-bernoulli`)."""

    support, binary = (0.0, 1.0), False

    def forward(self, h: Tensor) -> Distribution:
        """Return p(x|h) with batch shape `h.shape[:-1]` and event shape (D,)."""
        return Independent(ContinuousBernoulli(logits=h), 1)

    def log_prob(self, h: Tensor, x: Tensor) -> Tensor:
        """Return x·h − Σ ln(1 + eʰ) + Σ ln(h / tanh(h/2)) in nats.

        The last term is the logarithm of the normalising constant. Near h = 0, where the quotient
        is 0/0, its Taylor series stands in for it; what that leaves out is below 3·10⁻¹⁶.
        """
        near = h.abs() < 0.1
        safe = torch.where(near, 1.0, h)
        s = h**2
        series = math.log(2) + s / 12 - 7 * s**2 / 1440 + 31 * s**3 / 90720 - 127 * s**4 / 4838400
        log_constant = torch.where(near, series, (safe / torch.tanh(safe / 2)).log())
        return (x * h - F.softplus(h) + log_constant).sum(-1)


def binarize(x: Tensor, *, seed: int | torch.Generator = 0) -> Tensor:
    """Return pixels drawn from Bernoulli(x): each is 1 with probability equal to its grey value.

    Raises
    ------
    ValueError
        If x is not of floating point, or a value is outside [0, 1].
    """
    if not x.is_floating_point() or not ((x >= 0) & (x <= 1)).all():
        raise ValueError("x must hold grey values between 0 and 1: divide by 255?")
    return draw_pixels(x, seed)


def draw_pixels(x: Tensor, seed: int | torch.Generator) -> Tensor:
    """Return what `binarize` does, without a look at the values: a GPU is not waited for."""
    g = generator(seed, x.device)
    return (torch.rand(x.shape, generator=g, device=x.device, dtype=x.dtype) < x).to(x.dtype)
