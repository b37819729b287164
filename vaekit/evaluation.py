"""How good a trained model is: three bounds with standard errors, active units, two samples.

The bounds are in nats per data point. The standard error of a bound is that of a mean over the
data points, std / √N: it covers which points were drawn and the noise of z, since each point has
its own, but not the bias of a bound, which lies below ln p_θ(x) by construction. The model's device
and dtype are used; for the bounds and the active units data move there piece by piece, so memory
does not grow with the points, nor with the samples, of which `iwae_bound` alone holds all those of
one point. `log_evidence_on_grid` holds all points at once, `two_sample_distance` all of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor
from torch.distributions import MultivariateNormal
from tqdm.auto import tqdm

from vaekit.estimates import Estimate, generator, seeded
from vaekit.likelihoods import BernoulliLikelihood, GaussianLikelihood
from vaekit.models import VAE, Autoencoder, pairs_at_once

__all__ = [
    "PlaneDensity",
    "active_units",
    "elbo",
    "iwae_bound",
    "log_evidence",
    "log_evidence_on_grid",
    "plane_density",
    "two_sample_distance",
]


@torch.no_grad()
def _over_points(
    bound: Callable[[Tensor, torch.Generator], Tensor],
    model: VAE,
    x: Tensor,
    name: str,
    samples: int,
    seed: int,
    *,
    at_once: int = 1,
    progress: bool = False,
) -> Estimate:
    """Average `bound`, which holds `at_once` samples of each point, over `x`, a block at a time."""
    model.validate(x)
    if not isinstance(samples, int) or samples < 1:
        raise ValueError(f"{name} must be a whole number of 1 or more, got {samples}")
    if len(x) < 2:
        raise ValueError("a standard error needs at least 2 data points")
    device = next(model.parameters()).device
    g = generator(seed, device)
    points = 128 if device.type == "cpu" else 1024
    blocks = x.split(max(1, min(points, pairs_at_once(device) // at_once)))
    values = [bound(block.to(device), g) for block in tqdm(blocks, disable=not progress)]
    return Estimate.of(torch.cat(values).double().cpu())


def elbo(model: VAE, x: Tensor, *, samples: int = 1, seed: int = 0) -> Estimate:
    """Return the mean ELBO over `x` (N, D), with `samples` draws of z for each point.

    The KL term is exact, whatever the objective of the training was (claim `elbo-two-terms`).

    Raises
    ------
    TypeError, ValueError
        If `x` does not suit the model, has fewer than 2 points, or `samples` is below 1.
    """

    def bound(block: Tensor, g: torch.Generator) -> Tensor:
        return sum(model.elbo(block, seed=g) for _ in range(samples)) / samples

    return _over_points(bound, model, x, "samples", samples, seed)


def iwae_bound(model: VAE, x: Tensor, k: int, *, seed: int = 0) -> Estimate:
    """Return the mean k-sample bound L_k over `x` (N, D), one draw for each point.

    In expectation L_1 is the ELBO and L_k ≤ L_{k+1} ≤ ln p_θ(x) (claim `iwae-monotone`;
    Burda et al. 2016).

    Raises
    ------
    TypeError, ValueError
        If `x` does not suit the model, has fewer than 2 points, or k is below 1.
    """
    return _over_points(
        lambda block, g: model.iwae_bound(block, k, seed=g), model, x, "k", k, seed, at_once=k
    )


def log_evidence(
    model: VAE, x: Tensor, n: int = 5000, *, seed: int = 0, progress: bool = False
) -> Estimate:
    """Return the mean of ln (1/n) Σᵢ wᵢ over `x` (N, D), which estimates the mean of ln p_θ(x).

    This is L_n; its negative is the importance-sampled test NLL that papers report, an upper bound
    in expectation (claim `iwae-consistent`; Burda et al. 2016).

    Raises
    ------
    TypeError, ValueError
        If `x` does not suit the model, has fewer than 2 points, or n is below 1.
    """
    return _over_points(
        lambda block, g: model.log_evidence(block, n, seed=g),
        model,
        x,
        "n",
        n,
        seed,
        progress=progress,
    )


@torch.no_grad()
def active_units(model: VAE, x: Tensor, *, threshold: float = 0.01) -> tuple[int, Tensor]:
    """Count the latent dimensions whose mean moves with the data (claim `active-units`).

    The activity of dimension k is Var_x[μ_k(x)] over the points of `x` (N, D); a unit is active
    where it exceeds `threshold` (Burda et al. 2016).

    Returns
    -------
    int, Tensor
        The number of active units and the activity, shape (K,).

    Raises
    ------
    TypeError, ValueError
        If `x` does not suit the model, or has fewer than 2 points.
    """
    model.validate(x)
    if len(x) < 2:
        raise ValueError("a variance over the data needs at least 2 data points")
    device = next(model.parameters()).device
    mu = torch.cat([model.encode(block.to(device))[0] for block in x.split(4096)])
    activity = mu.var(0)
    return int((activity > threshold).sum()), activity


def two_sample_distance(x: Tensor, y: Tensor, *, blocks: int = 10) -> Estimate:
    """Return an estimate of the squared energy distance 2 E‖X−Y‖ − E‖X−X′‖ − E‖Y−Y′‖.

    The true value is zero if and only if x (n, D) and y (n, D) come from one distribution (claim
    `swiss-roll-two-sample`; Székely & Rizzo 2013). Each block of n/`blocks` points gives an
    unbiased value, which may be negative. Their mean and its standard error are returned, in the
    unit of the data; with few blocks the standard error itself is rough. The rows must be in random
    order.

    Raises
    ------
    ValueError
        If the shapes differ, `blocks` is no whole number of 2 or more, or a block would have fewer
        than 2 points.
    """
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(
            f"two samples (n, D) are needed, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if not isinstance(blocks, int) or blocks < 2:
        raise ValueError(f"blocks must be a whole number of 2 or more, got {blocks}")
    m = len(x) // blocks
    if m < 2:
        raise ValueError(f"{len(x)} points do not fill {blocks} blocks of 2 or more points")
    a, b = (t[: m * blocks].view(blocks, m, -1) for t in (x, y))
    between = torch.cdist(a, b).mean((1, 2))
    within = sum(torch.cdist(t, t).sum((1, 2)) for t in (a, b)) / (m * (m - 1))
    return Estimate.of(2 * between - within)


@dataclass(frozen=True)
class PlaneDensity:
    """A density of the plane on square cells around the origin, made by `plane_density`.

    Attributes
    ----------
    values : Tensor
        Density in the middle of each cell, shape (m, m), float64: first index x₁, second x₂.
    half_width : float
        The cells cover [−half_width, half_width]².
    """

    values: Tensor
    half_width: float

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log density at x (…, 2), linear between the middles of the cells.

        Beyond the middles of the outermost cells it is −∞.
        """
        cell = 2 * self.half_width / len(self.values)
        places = (x.detach().double().cpu() + self.half_width) / cell - 0.5
        found = map_coordinates(
            self.values.numpy(), places.reshape(-1, 2).T.numpy(), order=1, mode="constant"
        )
        return torch.from_numpy(found).view(x.shape[:-1]).log()


@torch.no_grad()
def plane_density(
    model: VAE, *, draws: int = 10**6, half_width: float = 2.5, cell: float = 0.01, seed: int = 0
) -> PlaneDensity:
    """Return p_θ(x) of a model of the plane with one decoder variance: E over z of N(x; f(z), s²I).

    The codes are drawn from the prior and decoded; a histogram of the decoded points is blurred
    with the decoder's noise. That is the average over all draws at every x at once, without help of
    the encoder. The standard error at x is about √(p(x) / (4π s² draws)); cells must be small
    against s.

    Raises
    ------
    ValueError
        If the data are not of the plane, the decoder is not Gaussian with one s of two cells or
        more, `draws` is below 1, or a cell is wider than `half_width`.
    """
    if model.data_dim != 2 or not isinstance(model.likelihood, GaussianLikelihood):
        raise ValueError("a Gaussian decoder of data with 2 dimensions is needed")
    if draws < 1 or not 0 < cell <= half_width:
        raise ValueError(f"{draws} draws in cells of {cell} over ±{half_width} make no density")
    s = (model.likelihood.log_variance / 2).exp()
    if s.numel() != 1 or s < 2 * cell:
        raise ValueError(
            f"one standard deviation s of at least 2 cells is needed, got {s.tolist()}"
        )
    cells = round(2 * half_width / cell)
    cell = 2 * half_width / cells
    counts = torch.zeros(cells * cells, dtype=torch.float64)
    with seeded(seed):
        for piece in torch.arange(draws).split(2**14):
            points = model.decoder(model.prior.sample((len(piece),))).cpu()
            i = ((points + half_width) / cell).floor().long()
            inside = ((i >= 0) & (i < cells)).all(1)
            i = i[inside]
            counts += torch.bincount(i[:, 0] * cells + i[:, 1], minlength=cells * cells)
    density = (counts / (draws * cell**2)).view(cells, cells)
    blurred = gaussian_filter(density.numpy(), s.item() / cell, mode="constant", truncate=8)
    return PlaneDensity(torch.from_numpy(blurred), half_width)


@torch.no_grad()
def log_evidence_on_grid(
    model: Autoencoder,
    x: Tensor,
    prior: MultivariateNormal | None = None,
    *,
    step: float = 0.05,
    limit: float = 6.0,
) -> Tensor:
    """Return ln p_θ(x) of each point by a grid of the plane: Bernoulli pixels, K = 2.

    The grid covers ±`limit` standard deviations of the prior in the directions of its covariance's
    Cholesky factor. An autoencoder, which has no prior of its own, may be given one.

    Parameters
    ----------
    model : VAE or Autoencoder
        Bernoulli pixels, two latent dimensions.
    x : Tensor
        Shape (N, D).
    prior : torch.distributions.MultivariateNormal
        Over the plane; N(0, I) if none is given.
    step, limit : float
        Side of a cell and half the side of the grid, in standard deviations.

    Returns
    -------
    Tensor
        ln p_θ(x) in nats, shape (N,).

    Raises
    ------
    TypeError, ValueError
        If `x` does not suit the model, the model is no Bernoulli decoder of two latents, or fewer
        than 10 steps fill `limit`.
    """
    model.validate(x)
    if model.latent != 2 or not isinstance(model.likelihood, BernoulliLikelihood):
        raise ValueError("a grid of the plane serves Bernoulli decoders with two latent dimensions")
    if not 0 < 10 * step <= limit < math.inf:
        raise ValueError(f"a grid of ±{limit} in steps of {step} is no grid: 10 steps fill limit")
    x = x.to(next(model.parameters()).device)
    if prior is None:
        prior = MultivariateNormal(x.new_zeros(2), torch.eye(2, dtype=x.dtype, device=x.device))
    root = torch.linalg.cholesky(prior.covariance_matrix)
    axis = torch.arange(-limit + step / 2, limit, step, dtype=x.dtype, device=x.device)
    total = x.new_full((len(x),), -math.inf)
    for u in torch.cartesian_prod(axis, axis).split(2**12):  # pieces that stay small in memory
        z = prior.mean + u @ root.T
        h = model.decoder(z)
        # Σ ln p(x_i|z) = x·h − Σ ln(1 + eʰ), as a product of matrices
        log_likelihood = h @ x.T - F.softplus(h).sum(-1, keepdim=True)
        total = total.logaddexp((prior.log_prob(z)[:, None] + log_likelihood).logsumexp(0))
    return total + 2 * math.log(step) + root.logdet()
