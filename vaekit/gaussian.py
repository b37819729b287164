"""The Gaussian, written out (chapter 2). Elsewhere the course uses ``torch.distributions``."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal


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


def cumulative(t: Tensor) -> Tensor:
    """Φ(t), the probability that N(0, 1) is at most t: ½ erfc(−t/√2).

    The formula alone, with nothing validated. It keeps its digits far to the left, where
    ``torch.special.ndtr`` gives zero: from about t = −8.3 on in float64, from −6 on in float32.

    Parameters
    ----------
    t : Tensor
        Of any shape, infinite values included; dtype and device are kept.

    Returns
    -------
    Tensor
        Probability, of the shape of `t`.

    Notes
    -----
    Used in `gaussian-interval`.
    """
    return 0.5 * torch.erfc(-t / math.sqrt(2))


def interval_probability(lower: Tensor, upper: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """P(lower ≤ X ≤ upper) for X ~ N(μ, σ²): Φ((upper − μ)/σ) − Φ((lower − μ)/σ).

    Parameters
    ----------
    lower, upper : Tensor
        Ends of the interval, which may be infinite; lower ≤ upper.
    mu, sigma : Tensor
        Mean and standard deviation, of shapes that broadcast with the ends; dtype and device are
        kept.

    Returns
    -------
    Tensor
        Probability, without a unit, of the broadcast shape.

    Raises
    ------
    ValueError
        If a σ is not positive and finite, a μ is not finite, or lower ≤ upper does not hold.

    Notes
    -----
    Derived in `gaussian-interval`. An interval whose middle lies to the right of μ is mirrored,
    since Φ(−t) keeps its digits where Φ(t) = 1 − Φ(−t) has lost them.
    """
    require_gaussian(mu, sigma)
    if not (lower <= upper).all():
        raise ValueError("an interval needs lower ≤ upper: found the reverse, or NaN")
    a, b = (lower - mu) / sigma, (upper - mu) / sigma
    right = a > -b
    a, b = torch.where(right, -b, a), torch.where(right, -a, b)
    return cumulative(b) - cumulative(a)


def maximum_likelihood(x: Tensor) -> Normal:
    """Fit N(μ, σ²) to data: μ is their mean, σ² their mean squared distance from it.

    Parameters
    ----------
    x : Tensor
        Data of shape (N, ...): one Gaussian is fitted to each entry of the other dimensions.

    Returns
    -------
    torch.distributions.Normal
        The Gaussian with the largest likelihood, of batch shape (...). Its σ² divides by N, not by
        N − 1.

    Raises
    ------
    ValueError
        If the data are not finite, or N values are all the same: the likelihood then has no
        maximum, as it grows without bound while σ shrinks.

    Notes
    -----
    Derived in `gaussian-mle`.
    """
    if not x.isfinite().all():
        raise ValueError("the data x must be finite: found NaN or an infinite value")
    if x.ndim == 0 or (x == x[:1]).all(0).any():
        raise ValueError("the data x do not vary: the likelihood has no maximum")
    mu = x.mean(0)
    return Normal(mu, (x - mu).square().mean(0).sqrt())


def product(p: Normal, q: Normal) -> tuple[Normal, Tensor]:
    """Multiply two Gaussian densities: p(x) q(x) = c N(x; μ, σ²), where the precisions add.

    1/σ² = 1/σ_p² + 1/σ_q², μ = σ² (μ_p/σ_p² + μ_q/σ_q²), and c = N(μ_p; μ_q, σ_p² + σ_q²).

    Parameters
    ----------
    p, q : torch.distributions.Normal
        Batches whose shapes broadcast; dtype and device are kept.

    Returns
    -------
    torch.distributions.Normal, Tensor
        N(μ, σ²) and ln c, in nats, of the broadcast batch shape.

    Raises
    ------
    ValueError
        If a μ is not finite, or a σ is not positive and finite.

    Notes
    -----
    Derived in `gaussian-product`.
    """
    require_gaussian(p.mean, p.stddev)
    require_gaussian(q.mean, q.stddev)
    variance = 1 / (1 / p.variance + 1 / q.variance)
    mu = variance * (p.mean / p.variance + q.mean / q.variance)
    log_constant = log_density(p.mean, q.mean, (p.variance + q.variance).log())
    return Normal(mu, variance.sqrt()), log_constant


def require_gaussian(mu: Tensor, sigma: Tensor) -> None:
    """Raise ValueError unless every μ is finite and every σ is positive and finite."""
    if not mu.isfinite().all():
        raise ValueError("every mean μ must be finite: found NaN or an infinite value")
    if not ((sigma > 0) & sigma.isfinite()).all():
        raise ValueError(
            "every standard deviation σ must be positive and finite: "
            "found zero, a negative number, NaN or an infinite value"
        )
