"""How good a trained model is: three bounds with standard errors, active units, two samples.

All values are in nats per data point. The standard error of a bound is that of a mean over the
data points, std / √N: it covers which points were drawn and the noise of z, since each point has
its own, but not the bias of a bound, which lies below ln p_θ(x) by construction. The model's device
and dtype are used; data move there piece by piece, so memory grows with neither points nor samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vaekit.estimates import Estimate, generator
from vaekit.models import VAE

__all__ = ["active_units", "elbo", "iwae_bound", "log_evidence", "two_sample_distance"]


@torch.no_grad()
def _over_points(
    bound: Callable[[Tensor, torch.Generator], Tensor],
    model: VAE,
    x: Tensor,
    samples: int,
    seed: int,
    progress: bool = False,
) -> Estimate:
    """Average `bound` over the points of `x`, some at a time."""
    model.validate(x)
    if samples < 1:
        raise ValueError(f"at least 1 sample is needed, got {samples}")
    if len(x) < 2:
        raise ValueError("a standard error needs at least 2 data points")
    device = next(model.parameters()).device
    g = generator(seed, device)
    blocks = x.split(128 if device.type == "cpu" else 1024)
    values = [bound(block.to(device), g) for block in tqdm(blocks, disable=not progress)]
    values = torch.cat(values).double().cpu()
    return Estimate.of(values)


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

    return _over_points(bound, model, x, samples, seed)


def iwae_bound(model: VAE, x: Tensor, k: int, *, seed: int = 0) -> Estimate:
    """Return the mean k-sample bound L_k over `x` (N, D), one draw for each point.

    In expectation L_1 is the ELBO and L_k ≤ L_{k+1} ≤ ln p_θ(x) (claim `iwae-monotone`;
    Burda et al. 2015).

    Raises
    ------
    TypeError, ValueError
        If `x` does not suit the model, has fewer than 2 points, or k is below 1.
    """
    return log_evidence(model, x, k, seed=seed)


def log_evidence(
    model: VAE, x: Tensor, n: int = 5000, *, seed: int = 0, progress: bool = False
) -> Estimate:
    """Return the mean of ln (1/n) Σᵢ wᵢ over `x` (N, D), which estimates the mean of ln p_θ(x).

    This is L_n; its negative is the importance-sampled test NLL that papers report, an upper bound
    in expectation (claim `iwae-consistent`; Burda et al. 2015).

    Raises
    ------
    TypeError, ValueError
        If `x` does not suit the model, has fewer than 2 points, or n is below 1.
    """
    return _over_points(
        lambda block, g: model.log_evidence(block, n, seed=g), model, x, n, seed, progress
    )


@torch.no_grad()
def active_units(model: VAE, x: Tensor, *, threshold: float = 0.01) -> tuple[int, Tensor]:
    """Count the latent dimensions whose mean moves with the data (claim `active-units`).

    The activity of dimension k is Var_x[μ_k(x)] over the points of `x` (N, D); a unit is active
    where it exceeds `threshold` (Burda et al. 2015).

    Returns
    -------
    int, Tensor
        The number of active units and the activity, shape (K,).
    """
    model.validate(x)
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
        If the shapes differ, or a block would have fewer than 2 points.
    """
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(
            f"two samples (n, D) are needed, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    m = len(x) // blocks
    if m < 2 or blocks < 2:
        raise ValueError(f"{len(x)} points do not fill {blocks} blocks of 2 or more points")
    a, b = (t[: m * blocks].view(blocks, m, -1) for t in (x, y))
    between = torch.cdist(a, b).mean((1, 2))
    within = sum(torch.cdist(t, t).sum((1, 2)) for t in (a, b)) / (m * (m - 1))
    values = 2 * between - within
    return Estimate.of(values)
