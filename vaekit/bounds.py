"""Lower bounds on ln p(x): the ELBO and the bound with k importance samples (chapter 6).

Everything is in nats. The weight of a code z that was drawn from q(z|x) is w = p(x, z) / q(z|x).
Where q > 0 wherever p(x, z) > 0, the mean of w is p(x). The mean of ln w is the ELBO, and the
logarithm of the mean of k weights lies, on average, between the ELBO and ln p(x). The first
functions are the bare formulas, which the models train with; the others are for readers, and refuse
bad input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from vaekit.estimates import (
    CHUNK,
    Approximation,
    Estimate,
    expectation,
    integrate,
    one_for_each,
    seeded,
)
from vaekit.gaussian import require_gaussian

__all__ = [
    "elbo",
    "elbo_discrete",
    "elbo_monte_carlo",
    "elbo_quadrature",
    "gaussian_log_weights",
    "importance_bound",
    "importance_bound_monte_carlo",
    "importance_bound_of_pieces",
]

LogJoint = Callable[[Tensor], Tensor]


def elbo(log_likelihood: Tensor, kl: Tensor) -> Tensor:
    """ELBO of its two terms: E_q[ln p(x|z)] − Σ_k KL(q(z_k|x) ‖ p(z_k)).

    The formula alone, with nothing validated: what a VAE trains with.

    Parameters
    ----------
    log_likelihood : Tensor
        E_q[ln p(x|z)], or ln p(x|z) at draws of q, shape (...).
    kl : Tensor
        Divergence from the prior in each latent dimension, shape (..., K).

    Returns
    -------
    Tensor
        The bound in nats, shape (...); of a draw, an unbiased estimate of it.

    Notes
    -----
    Derived in `elbo-two-terms`.
    """
    return log_likelihood - kl.sum(-1)


def gaussian_log_weights(
    log_likelihood: Tensor, z: Tensor, epsilon: Tensor, sigma: Tensor
) -> Tensor:
    """Log weights ln p(x, z) − ln q(z|x) at z = μ + σ ε, for p(z) = N(0, I) and a Gaussian q.

    The formula alone, with nothing validated. The two Gaussian densities leave ½ (ε² − z²) + ln σ
    for each latent dimension: their constants cancel.

    Parameters
    ----------
    log_likelihood : Tensor
        ln p(x|z), shape (...).
    z, epsilon, sigma : Tensor
        The codes, the noise they came of, and the standard deviation of q: shapes that broadcast
        to (..., K).

    Returns
    -------
    Tensor
        Log weights in nats, shape (...): their mean over draws of q estimates the ELBO.

    Notes
    -----
    Derived in `elbo-importance`.
    """
    return log_likelihood + (0.5 * (epsilon**2 - z**2) + sigma.log()).sum(-1)


def importance_bound(log_weights: Tensor) -> Tensor:
    """Logarithm of the mean weight, ln (1/k) Σᵢ wᵢ, over the first dimension.

    The formula alone, with nothing validated. With k = 1 it is ln w, whose mean is the ELBO.

    Parameters
    ----------
    log_weights : Tensor
        ln w of k independent draws of q, shape (k, ...).

    Returns
    -------
    Tensor
        One draw of the bound in nats, shape (...). Its expectation L_k is at most ln p(x).

    Notes
    -----
    Derived in `elbo-importance`; Burda et al. (2016).
    """
    return importance_bound_of_pieces([log_weights])


def importance_bound_of_pieces(pieces: Iterable[Tensor]) -> Tensor:
    """Logarithm of the mean weight, of log weights that come a piece at a time.

    Parameters
    ----------
    pieces : iterable of Tensor
        Log weights of shapes (m, ...), where m varies: together the k draws.

    Returns
    -------
    Tensor
        What `importance_bound` gives for all pieces joined along the first dimension.

    Raises
    ------
    ValueError
        If there is no piece.

    Notes
    -----
    Derived in `elbo-importance`.
    """
    total, k = None, 0
    for log_weights in pieces:
        piece = log_weights.logsumexp(0)
        total = piece if total is None else torch.logaddexp(total, piece)
        k += len(log_weights)
    if total is None:
        raise ValueError("the mean of no weights is not defined: at least one piece is needed")
    return total - math.log(k)


def elbo_discrete(joint: Tensor, q: Tensor) -> Tensor:
    """ELBO of a latent with m values: Σ_z q(z|x) ln (p(x, z) / q(z|x)), where 0 · ln 0 = 0.

    Parameters
    ----------
    joint : Tensor
        p(x, z) of one x for each z, shape (..., m). It sums to p(x), which is not 1.
    q : Tensor
        q(z|x), shape (..., m): sums to 1 over the last dimension. Shapes broadcast.

    Returns
    -------
    Tensor
        The bound in nats, shape (...); −∞ where q draws a z with p(x, z) = 0.

    Raises
    ------
    ValueError
        If a number is negative or NaN, q does not sum to 1, or the two differ in length.

    Notes
    -----
    Derived in `elbo-discrete`.
    """
    for name, row in (("joint", joint), ("q", q)):
        if not (row >= 0).all():
            raise ValueError(f"{name} holds a negative number or NaN")
    if joint.shape[-1] != q.shape[-1]:
        raise ValueError(f"joint has {joint.shape[-1]} values of z, q has {q.shape[-1]}")
    total = q.sum(-1)
    if not torch.allclose(total, torch.ones_like(total), rtol=0, atol=1e-5):
        raise ValueError("q does not sum to 1 over its last dimension")
    return (torch.xlogy(q, joint) - torch.xlogy(q, q)).sum(-1)


def elbo_quadrature(log_joint: LogJoint, q: Normal) -> Approximation:
    """ELBO with one latent dimension, E_q[ln p(x, z) − ln q(z|x)], as an integral over z.

    Parameters
    ----------
    log_joint : callable
        Maps z of the batch shape of q to ln p(x, z) of that shape, float64.
    q : torch.distributions.Normal
        A batch of q(z|x).

    Returns
    -------
    Approximation
        The bound in nats and a bound on its error, in float64 on the CPU. With z = μ + σ t the
        integral runs over t from −12 to 12.

    Raises
    ------
    ValueError
        If a μ is not finite, a σ is not positive and finite, `log_joint` gives values of more
        dimensions than a batch of q has, or the integral does not converge.

    Notes
    -----
    Derived in `elbo-kl-decomposition`. The error leaves out the rounding of z, which counts where
    |μ|/σ is above some thousands.
    """
    require_gaussian(q.mean, q.stddev)
    mu, sigma = q.mean.double(), q.stddev.double()
    wide = Normal(mu, sigma)

    def integrand(t: Tensor) -> Tensor:
        z = mu + sigma * t
        log_q = wide.log_prob(z)
        log_p = log_joint(z)
        if log_p.ndim > log_q.ndim > 0:
            raise ValueError(f"log_joint must give {tuple(log_q.shape)}, got {tuple(log_p.shape)}")
        return sigma * log_q.exp() * (log_p - log_q)

    return integrate(integrand, -12.0, 12.0)


def elbo_monte_carlo(log_joint: LogJoint, q: Distribution, n: int, *, seed: int = 0) -> Estimate:
    """ELBO estimated by the mean of ln w = ln p(x, z) − ln q(z|x) over n draws of q.

    Parameters
    ----------
    log_joint : callable
        Maps z of shape (m, batch..., event...) to ln p(x, z), shape (m, batch...).
    q : torch.distributions.Distribution
        A batch of q(z|x).
    n : int
        Number of draws, at least 2.
    seed : int
        The same seed gives the same estimate.

    Returns
    -------
    Estimate
        The bound in nats, of the batch shape.

    Raises
    ------
    ValueError
        If n < 2, `log_joint` gives not one value for each z, or a log weight is not finite: where
        q draws a z with p(x, z) = 0 the bound is −∞.

    Notes
    -----
    Derived in `elbo-kl-decomposition`.
    """

    def log_weight(z: Tensor) -> Tensor:
        log_q = q.log_prob(z)
        return one_for_each("log_joint", log_joint(z), log_q) - log_q

    return expectation(log_weight, q, n, seed=seed)


def importance_bound_monte_carlo(
    log_joint: LogJoint, q: Distribution, k: int, n: int, *, seed: int = 0
) -> Estimate:
    """L_k = E[ln (1/k) Σᵢ wᵢ], estimated by n independent draws of k weights each.

    Parameters
    ----------
    log_joint : callable
        Maps z of shape (m, batch..., event...) to ln p(x, z), shape (m, batch...).
    q : torch.distributions.Distribution
        A batch of q(z|x).
    k, n : int
        Weights in each mean, 1 or more; number of means, at least 2.
    seed : int
        The same seed gives the same estimate.

    Returns
    -------
    Estimate
        L_k in nats, of the batch shape: the ELBO for k = 1, and never above ln p(x).

    Raises
    ------
    ValueError
        If k < 1, n < 2, `log_joint` gives not one value for each z, or a bound is not finite.

    Notes
    -----
    Derived in `elbo-importance`.
    """
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a whole number of 1 or more, got {k}")
    if n < 2:
        raise ValueError(f"n = {n}: a standard error needs at least 2 samples")
    size = math.prod(q.batch_shape + q.event_shape)
    means = max(1, CHUNK // max(1, size * k))
    pieces = []
    with torch.no_grad(), seeded(seed):
        for start in range(0, n, means):
            z = q.sample((k * min(means, n - start),))
            log_q = q.log_prob(z)
            log_weights = one_for_each("log_joint", log_joint(z), log_q) - log_q
            pieces.append(importance_bound(log_weights.unflatten(0, (k, -1))))
    return Estimate.of(torch.cat(pieces))
