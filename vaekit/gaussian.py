"""The Gaussian, written out (chapter 2). Elsewhere the course uses ``torch.distributions``."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_density(x: Tensor, mu: Tensor, log_variance: Tensor) -> Tensor:
    """Log density of N(μ, σ²) at x, from ln σ²: −½ ((x − μ)²/σ² + ln σ² + ln 2π).

    The formula alone, with nothing validated: what a Gaussian decoder trains with.

    Parameters
    ----------
    x, mu, log_variance : Tensor
        Point, mean and log-variance, of shapes that broadcast; dtype and device are kept.

    Returns
    -------
    Tensor
        Log density in nats, of the broadcast shape.

    Notes
    -----
    Derived in `gaussian-log-density`.
    """
    precision = (-log_variance).exp()  # 1 / σ²: its product has a quicker gradient than a quotient
    return -0.5 * ((x - mu) ** 2 * precision + (log_variance + math.log(2 * math.pi)))


def log_prob(x: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Log density of N(μ, σ²) at x: −½ ((x − μ)²/σ² + ln σ² + ln 2π), by `log_density`.

    Parameters
    ----------
    x, mu, sigma : Tensor
        Point, mean and standard deviation, of shapes that broadcast; dtype and device are kept.

    Returns
    -------
    Tensor
        Log density in nats, of the broadcast shape.

    Raises
    ------
    ValueError
        If a σ is not positive and finite, or a μ is not finite.

    Notes
    -----
    Derived in `gaussian-log-density`.
    """
    require_gaussian(mu, sigma)
    return log_density(x, mu, 2 * sigma.log())


def entropy(sigma: Tensor) -> Tensor:
    """Differential entropy of N(μ, σ²): ln σ + ½ ln 2πe. It does not depend on μ.

    Parameters
    ----------
    sigma : Tensor
        Standard deviation, of any shape; dtype and device are kept.

    Returns
    -------
    Tensor
        Entropy in nats, of the shape of `sigma`; negative for σ < 0.242.

    Raises
    ------
    ValueError
        If a σ is not positive and finite.

    Notes
    -----
    Derived in `gaussian-entropy`.
    """
    require_gaussian(torch.zeros(()), sigma)
    return sigma.log() + 0.5 * math.log(2 * math.pi * math.e)


def require_gaussian(mu: Tensor, sigma: Tensor) -> None:
    """Raise ValueError unless every μ is finite and every σ is positive and finite."""
    if not mu.isfinite().all():
        raise ValueError("every mean μ must be finite: found NaN or an infinite value")
    if not ((sigma > 0) & sigma.isfinite()).all():
        raise ValueError(
            "every standard deviation σ must be positive and finite: "
            "found zero, a negative number, NaN or an infinite value"
        )
