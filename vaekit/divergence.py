"""The Kullback-Leibler divergence: closed forms, quadrature, sampling (chapter 3). All in nats.

And the Gaussian q that is nearest to another density p in the reverse direction (chapter 7).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
    OneHotCategorical,
)

from vaekit.estimates import Approximation, Estimate, expectation, integrate, require_density_at
from vaekit.gaussian import require_gaussian


def kl_gaussian(p: Normal, q: Normal) -> Tensor:
    """KL(p‖q) of two Gaussians: ln(σ_q/σ_p) + (σ_p² + (μ_p − μ_q)²) / 2σ_q² − ½.

    Parameters
    ----------
    p, q : torch.distributions.Normal
        Batches whose shapes broadcast; dtype and device are kept.

    Returns
    -------
    Tensor
        KL(p‖q) in nats, of the broadcast batch shape.

    Raises
    ------
    ValueError
        If a μ is not finite, or a σ is not positive and finite.

    Notes
    -----
    Derived in `kl-gaussian`.
    """
    require_gaussian(p.mean, p.stddev)
    require_gaussian(q.mean, q.stddev)
    return (
        torch.log(q.stddev / p.stddev)
        + (p.variance + (p.mean - q.mean) ** 2) / (2 * q.variance)
        - 0.5
    )


def kl_term(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) from μ and ln σ²: ½ (σ² + μ² − ln σ² − 1).

    The formula alone, with nothing validated: what a VAE trains with. An encoder gives ln σ², whose
    exponential cannot fail as the logarithm of a σ rounded to zero would.

    Parameters
    ----------
    mu, log_variance : Tensor
        Mean and log-variance, of shapes that broadcast; dtype and device are kept.

    Returns
    -------
    Tensor
        The divergence in nats, of the broadcast shape, one value for each latent dimension.

    Notes
    -----
    Derived in `kl-standard-normal`.
    """
    return 0.5 * (log_variance.exp() + mu**2 - log_variance - 1)


def kl_standard_normal(mu: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)): ½ (σ² + μ² − ln σ² − 1), by `kl_term`.

    Parameters
    ----------
    mu, sigma : Tensor
        Mean and standard deviation, of shapes that broadcast; dtype and device are kept.

    Returns
    -------
    Tensor
        The divergence in nats, of the broadcast shape.

    Raises
    ------
    ValueError
        If a μ is not finite, or a σ is not positive and finite.

    Notes
    -----
    Derived in `kl-standard-normal`.
    """
    require_gaussian(mu, sigma)
    return kl_term(mu, 2 * sigma.log())


def kl_diagonal(mu: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) ‖ N(0, I)): ½ Σ (σ² + μ² − ln σ² − 1), the KL term of a VAE.

    Parameters
    ----------
    mu, sigma : Tensor
        Shape (..., K); dtype and device are kept.

    Returns
    -------
    Tensor
        The divergence in nats, of shape (...): summed over the K dimensions.

    Raises
    ------
    ValueError
        If a μ is not finite, or a σ is not positive and finite.

    Notes
    -----
    Derived in `kl-diagonal`.
    """
    return kl_standard_normal(mu, sigma).sum(-1)


def kl_discrete(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) of two discrete distributions: Σ pᵢ ln(pᵢ/qᵢ), where 0 · ln 0 = 0.

    Parameters
    ----------
    p, q : Tensor
        Probabilities of shape (..., m) whose last dimension sums to 1; shapes broadcast.

    Returns
    -------
    Tensor
        The divergence in nats, of shape (...); +∞ where some qᵢ = 0 < pᵢ.

    Raises
    ------
    ValueError
        If a probability is negative or NaN, a row does not sum to 1, or p and q differ in length.

    Notes
    -----
    Derived in `kl-as-expectation` and `kl-support`.
    """
    for name, row in (("p", p), ("q", q)):
        if not (row >= 0).all():
            raise ValueError(f"{name} holds a negative probability or NaN")
        if not torch.allclose(row.sum(-1), torch.ones_like(row.sum(-1)), rtol=0, atol=1e-5):
            raise ValueError(f"{name} does not sum to 1 over its last dimension")
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"p has {p.shape[-1]} outcomes, q has {q.shape[-1]}")
    # xlogy is 0 · ln 0 = 0, and the gradient in q stays finite where p = 0
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


def kl_quadrature(p: Normal, q: Normal) -> Approximation:
    """KL(p‖q) as the integral of p(x) ln(p(x)/q(x)), by quadrature.

    Parameters
    ----------
    p, q : torch.distributions.Normal
        Batches whose shapes broadcast.

    Returns
    -------
    Approximation
        The divergence in nats and a bound on its error, in float64 on the CPU.

    Raises
    ------
    ValueError
        If a μ is not finite, or a σ is not positive and finite.

    Notes
    -----
    With x = μ_p + σ_p t the integral runs over t from −12 to 12: beyond that, p has less than
    10⁻³² of its mass. It is the definition (`kl-as-expectation`), so it knows no closed form. The
    error leaves out the rounding of x, which counts where |μ|/σ is above some thousands.
    """
    require_gaussian(p.mean, p.stddev)
    require_gaussian(q.mean, q.stddev)
    p, q = (Normal(d.mean.double(), d.stddev.double()) for d in (p, q))  # for 12 digits

    def integrand(t: float) -> Tensor:
        x = p.mean + p.stddev * t
        log_p = p.log_prob(x)
        return p.stddev * log_p.exp() * (log_p - q.log_prob(x))

    return integrate(integrand, -12.0, 12.0)


def kl_reverse(q: Normal, log_density: Callable[[Tensor], Tensor]) -> Tensor:
    """KL(q‖p) of a Gaussian q from any density p on the line, by the trapezoidal rule.

    Parameters
    ----------
    q : torch.distributions.Normal
        The fit, which the average is taken under.
    log_density : callable
        Maps points of shape (m, batch...) to ln p, of the same shape. If it lacks a constant,
        the result is too large by that constant.

    Returns
    -------
    Tensor
        KL(q‖p) in nats, of the batch shape; it has derivatives in the parameters of q.

    Raises
    ------
    ValueError
        If a μ is not finite, a σ is not positive and finite, or `log_density` gives values of
        another number of dimensions.

    Notes
    -----
    Only q is asked where to look, as in `reverse-kl-needs-q-samples`: x = μ + σt, with 801 values
    of t from −8 to 8. In float64 the rule is right to ten digits where ln p bends over no length
    below σ/40.
    Between two hills of width τ at a distance 2d it bends over τ²/2d.
    """
    require_gaussian(q.mean, q.stddev)
    t = torch.linspace(-8, 8, 801, dtype=q.mean.dtype, device=q.mean.device)
    t = t.view(-1, *[1] * q.mean.dim())
    weight = (-(t**2) / 2).exp()
    x = q.mean + q.stddev * t
    log_p = log_density(x)
    if log_p.ndim != x.ndim:
        raise ValueError(f"log_density must give {tuple(x.shape)}, got {tuple(log_p.shape)}")
    return (weight * (q.log_prob(x) - log_p)).sum(0) / weight.sum()


def fit_reverse(log_density: Callable[[Tensor], Tensor], start: Normal) -> Normal:
    """Walk downhill on KL(q‖p) over the Gaussians q, from `start` to a local minimum.

    Parameters
    ----------
    log_density : callable
        ln p, up to a constant: see `kl_reverse`.
    start : torch.distributions.Normal
        Where each walk begins, of any batch shape. It decides which minimum is found.

    Returns
    -------
    torch.distributions.Normal
        The ends of the walks, of the same batch shape.

    Raises
    ------
    ValueError
        If a μ of `start` is not finite, a σ is not positive and finite, or a walk has not come to
        rest after 2000 steps.

    Notes
    -----
    Newton's step for μ and for ln σ by themselves, from the derivatives of `reverse-kl-at-rest`;
    shorter, plain gradient steps where the curvature, in units of σ, is below 1 for μ or below 2
    for ln σ; and never more than a tenth of σ at once, so that no walk jumps over a ridge. What
    it finds is the subject of `reverse-kl-mode-seeking`.
    """
    require_gaussian(start.mean, start.stddev)
    mu, log_sigma = start.mean.detach(), start.stddev.detach().log()
    t = torch.linspace(-8, 8, 801, dtype=mu.dtype, device=mu.device).view(-1, *[1] * mu.dim())
    weight = torch.softmax(-(t**2) / 2, 0)
    rest = 1e-10 if mu.dtype == torch.float64 else 1e-5
    for _ in range(2000):
        sigma = log_sigma.exp()
        slope, bend = _two_derivatives(log_density, mu + sigma * t)
        slope, bend = sigma * slope, sigma**2 * bend
        # of KL(q‖p), in units of σ: first and second derivatives in μ and in ln σ
        first = torch.stack([-(weight * slope).sum(0), -1 - (weight * t * slope).sum(0)])
        second = torch.stack(
            [-(weight * bend).sum(0), -(weight * (t * slope + t**2 * bend)).sum(0)]
        )
        if (first.norm(dim=0) < rest).all():
            return Normal(mu, sigma)
        step = first / torch.stack([second[0].clamp(min=1), second[1].clamp(min=2)])
        step = step / (10 * step.norm(dim=0)).clamp(min=1)
        mu, log_sigma = mu - sigma * step[0], log_sigma - step[1]
    raise ValueError(f"a walk still slopes by {first.norm(dim=0).max():.1g} after 2000 steps")


def _two_derivatives(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return f′ and f″ at every x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (first,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    return first.detach(), second


def kl_estimator(log_r: Tensor, which: str) -> Tensor:
    """One-sample estimates of KL(p‖q) from ln r = ln q(x) − ln p(x), where x was drawn from p.

    Parameters
    ----------
    log_r : Tensor
        Log ratio at the samples, of any shape.
    which : {"k1", "k2", "k3"}
        −ln r (unbiased), ½ ln² r (biased, never negative), r − 1 − ln r (never negative; unbiased
        where p > 0 wherever q > 0).

    Returns
    -------
    Tensor
        Estimates in nats, of the shape of `log_r`.

    Raises
    ------
    ValueError
        If `which` names no estimator.

    Notes
    -----
    Derived in `kl-monte-carlo`; the three names are those of Schulman (2020), who draws from q:
    his p is our q.
    """
    if which == "k1":
        return -log_r
    if which == "k2":
        return log_r**2 / 2
    if which == "k3":
        return torch.expm1(log_r) - log_r
    raise ValueError(f"which = {which!r}: choose 'k1', 'k2' or 'k3'")


def kl_monte_carlo(
    p: Distribution, q: Distribution, n: int, *, which: str = "k1", seed: int = 0
) -> Estimate:
    """KL(p‖q) estimated from n samples of p.

    Parameters
    ----------
    p, q : torch.distributions.Distribution
        What is drawn from, and what it is compared with.
    n : int
        Number of samples.
    which : {"k1", "k2", "k3"}
        The estimator: see `kl_estimator`. Each needs q > 0 wherever p > 0: otherwise the divergence
        is infinite. A sample there raises an error (but for families of torch, such as Binomial,
        that put a rounding error in the place of a probability of 0; of Bernoulli and the two
        categorical ones the zeros are known here). And n samples may overlook the place: with a
        share h of p's mass on it they do so with probability (1 − h)ⁿ. k3 also needs p > 0 wherever
        q > 0; for Gaussians its variance is infinite if that of q is at least twice that of p (an
        exercise of chapter 3).
    seed : int
        The same seed gives the same estimate.

    Returns
    -------
    Estimate
        The divergence in nats, of the batch shape.

    Raises
    ------
    ValueError
        If `which` names no estimator, if q has another event shape than p or a batch that does not
        suit its, if q is zero at some sample, so that the divergence is infinite, or if the log
        ratio is not finite there.

    Notes
    -----
    Derived in `kl-monte-carlo`.
    """
    require_density_at("q", q, p)

    def estimates(x: Tensor) -> Tensor:
        log_q = _log_prob(q, x)
        if (log_q == -torch.inf).any():
            raise ValueError("q is zero at a sample of p: the divergence KL(p‖q) is infinite")
        return kl_estimator(log_q - p.log_prob(x), which)

    return expectation(estimates, p, n, seed=seed)


def _log_prob(p: Distribution, x: Tensor) -> Tensor:
    """Return ln p(x), and −∞ where p(x) = 0.

    torch moves probabilities of 0 and 1 by a rounding error before it takes logarithms, so that its
    `log_prob` has no −∞. Given as logits they are not moved.
    """
    if isinstance(p, Independent):
        log_p = _log_prob(p.base_dist, x)
        kept = log_p.ndim - p.reinterpreted_batch_ndims
        return log_p.reshape(*log_p.shape[:kept], -1).sum(-1)
    log_p = p.log_prob(x)
    if isinstance(p, Bernoulli):
        probability = torch.where(x == 1, p.probs, 1 - p.probs)
    elif isinstance(p, Categorical):
        probability = p.probs.expand(*x.shape, -1).gather(-1, x.long()[..., None])[..., 0]
    elif isinstance(p, OneHotCategorical):
        probability = (p.probs * x).sum(-1)
    else:
        return log_p
    given_as_probabilities = p._param is p.probs
    return log_p.masked_fill((probability == 0) & given_as_probabilities, -torch.inf)
