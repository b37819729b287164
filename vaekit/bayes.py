"""The linear-Gaussian model, in which Bayes' rule has a closed form (chapter 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """The generative model p(z) = N(0, I), p(x|z) = N(W z + b, s² I): probabilistic PCA.

    Attributes
    ----------
    weight : Tensor
        W, of shape (..., D, K); dtype and device of every result are its own.
    bias : Tensor
        b, of shape (..., D).
    s : Tensor or float
        Standard deviation of the noise, one for all D dimensions, of shape (...).

    Raises
    ------
    ValueError
        If the last dimensions or the dtypes do not fit, a weight or bias is not finite, or an s is
        not positive and finite.
    RuntimeError
        At first use, if the batch shapes do not broadcast.

    Notes
    -----
    The batch shapes (...) broadcast to the model's `batch_shape`. Exact posterior and evidence are
    derived in `bayes-linear-gaussian`, and in matrix form in `bayes-linear-gaussian-matrix`. The
    model is that of Tipping and Bishop (1999), whose W, μ and σ are our W, b and s. Their matrices
    are W Wᵀ + s² I and I + Wᵀ W / s²: of the digits of the dtype, 2 log₁₀(|W|/s) are lost.
    """

    weight: Tensor
    bias: Tensor
    s: Tensor | float

    def __post_init__(self) -> None:
        if not (self.weight.is_floating_point() and self.bias.dtype == self.weight.dtype):
            raise ValueError("weight and bias need one dtype, of floating point")
        s = torch.as_tensor(self.s, dtype=self.weight.dtype, device=self.weight.device)
        object.__setattr__(self, "s", s)  # a number becomes a tensor beside the weight
        _require_model(self.weight, self.bias, s)

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of a batch of models: () for one."""
        shapes = self.weight.shape[:-2], self.bias.shape[:-1], self.s.shape
        return torch.broadcast_shapes(*shapes)

    @property
    def prior(self) -> MultivariateNormal:
        """p(z) = N(0, I): a distribution over z of shape (..., K)."""
        identity = _identity(self.weight, self.weight.shape[-1])
        zero = self.weight.new_zeros(*self.batch_shape, self.weight.shape[-1])
        return MultivariateNormal(zero, scale_tril=identity)

    def likelihood(self, z: Tensor) -> Independent:
        """p(x|z) = N(W z + b, s² I) at z of shape (..., K): a distribution over x.

        Raises
        ------
        ValueError
            If the last dimension is not K, or a z is not finite.
        """
        _require_points("z", z, self.weight.shape[-1])
        mean = torch.einsum("...dk,...k->...d", self.weight, z) + self.bias
        return Independent(Normal(mean, self.s[..., None]), 1)

    @property
    def evidence(self) -> MultivariateNormal:
        """p(x) = N(b, W Wᵀ + s² I): the marginal distribution over x of shape (..., D)."""
        W, variance = self.weight, self.s[..., None, None] ** 2
        covariance = W @ W.mT + variance * _identity(W, W.shape[-2])
        return MultivariateNormal(self.bias, covariance)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """p(z|x) = N(M⁻¹ Wᵀ (x − b), s² M⁻¹) with M = Wᵀ W + s² I: a distribution over z.

        Parameters
        ----------
        x : Tensor
            Observations of shape (..., D), which broadcast against the batch of models.

        Raises
        ------
        ValueError
            If the last dimension is not D, or an x is not finite.
        """
        _require_points("x", x, self.weight.shape[-2])
        W, variance = self.weight, self.s[..., None, None] ** 2
        M = W.mT @ W + variance * _identity(W, W.shape[-1])
        projected = torch.einsum("...dk,...d->...k", W, x - self.bias)
        mean = torch.linalg.solve(M, projected[..., None])[..., 0]
        return MultivariateNormal(mean, precision_matrix=M / variance)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """Log joint density, ln p(x, z) = ln p(z) + ln p(x|z).

        Parameters
        ----------
        x, z : Tensor
            Shapes (..., D) and (..., K), which broadcast with each other and the batch of models.

        Returns
        -------
        Tensor
            Log density in nats, of the broadcast batch shape.

        Raises
        ------
        ValueError
            If a last dimension is not D or K, or a number is not finite.
        """
        _require_points("x", x, self.weight.shape[-2])
        return self.likelihood(z).log_prob(x) + self.prior.log_prob(z)


def _identity(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _require_points(name: str, points: Tensor, size: int) -> None:
    """Raise ValueError unless points are finite and of shape (..., size)."""
    if points.dim() < 1 or points.shape[-1] != size:
        raise ValueError(f"{name} needs the shape (..., {size}), not {tuple(points.shape)}")
    if not points.isfinite().all():
        raise ValueError(f"{name} holds NaN or an infinite value")


def _require_model(weight: Tensor, bias: Tensor, s: Tensor) -> None:
    """Raise ValueError unless the shapes fit and the numbers make a model."""
    if weight.dim() < 2:
        raise ValueError(f"weight needs the shape (..., D, K), not {tuple(weight.shape)}")
    if bias.dim() < 1 or bias.shape[-1] != weight.shape[-2]:
        expected = f"(..., {weight.shape[-2]})"
        raise ValueError(f"bias needs the shape {expected}, not {tuple(bias.shape)}")
    for name, values in (("weight", weight), ("bias", bias)):
        if not values.isfinite().all():
            raise ValueError(f"{name} holds NaN or an infinite value")
    if not ((s > 0) & s.isfinite()).all():
        raise ValueError("every standard deviation s must be positive and finite")
