"""A mixture of Gaussians and its EM algorithm (chapter 5). All log-likelihoods in nats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

NORMALISED = 1e-5  # how far a row of probabilities may be from summing to 1: float32 rounds so


@dataclass(frozen=True)
class GaussianMixture:
    """The model p(x) = Σⱼ wⱼ N(x; μⱼ, Σⱼ): an unseen z picks the component, which gives x.

    Any leading dimensions are batches, and shapes broadcast: several mixtures may be compared on
    one data set, or fitted at once. dtype and device of the parameters are kept.

    Parameters
    ----------
    weights : Tensor
        wⱼ = p(z = j), of shape (..., J): not negative, each row sums to 1.
    means : Tensor
        μⱼ, of shape (..., J, D).
    covariances : Tensor
        Σⱼ, of shape (..., J, D, D), symmetric and positive definite. Where D = 1 they are the
        variances σⱼ², not the standard deviations.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, a number is not finite, a weight is negative or a row
        does not sum to 1, or a covariance is not symmetric and positive definite.

    Notes
    -----
    The updates are derived in `em-gmm-updates`, why they raise the likelihood in `em-monotone`.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __post_init__(self) -> None:
        w, m, c = self.weights, self.means, self.covariances
        if not (w.ndim >= 1 and m.ndim >= 2 and c.ndim >= 3):
            raise ValueError(
                "weights need shape (..., J), means (..., J, D), covariances one D more"
            )
        components, size = m.shape[-2:]
        if w.shape[-1] != components or c.shape[-3:] != (components, size, size):
            raise ValueError(
                f"weights {tuple(w.shape)}, means {tuple(m.shape)} and covariances "
                f"{tuple(c.shape)} do not fit: (..., J), (..., J, D), (..., J, D, D)"
            )
        for name, values in (("weights", w), ("means", m), ("covariances", c)):
            if not values.isfinite().all():
                raise ValueError(f"{name} must be finite: found NaN or an infinite value")
        _require_probabilities("weights", w)
        if not torch.allclose(c, c.mT, rtol=1e-5, atol=0):
            raise ValueError("covariances must be symmetric")
        if (torch.linalg.cholesky_ex(c).info > 0).any():
            raise ValueError("covariances must be positive definite (variances, not zero)")

    def log_joint(self, x: Tensor) -> Tensor:
        """Return ln p(x, z = j) = ln wⱼ + ln N(x; μⱼ, Σⱼ) for each point and each component.

        Parameters
        ----------
        x : Tensor
            Points, of shape (..., N, D).

        Returns
        -------
        Tensor
            In nats, of shape (..., N, J); −∞ where a weight is zero.

        Raises
        ------
        ValueError
            If x has another number of dimensions than the components, or is not finite.
        """
        _require_points(x, self.means.shape[-1])
        factors = torch.linalg.cholesky(self.covariances)
        gaussians = MultivariateNormal(
            self.means[..., None, :, :], scale_tril=factors[..., None, :, :, :], validate_args=False
        )
        return self.weights.log()[..., None, :] + gaussians.log_prob(x[..., :, None, :])

    def log_prob(self, x: Tensor) -> Tensor:
        """Return ln p(x) = ln Σⱼ p(x, z = j) of each point, in nats, of shape (..., N)."""
        return self.log_joint(x).logsumexp(-1)

    def e_step(self, x: Tensor) -> Tensor:
        """Return the responsibilities q(z = j) = p(z = j | x), of shape (..., N, J).

        Notes
        -----
        Bayes' rule; that no other q gives a higher bound is `em-e-step`.
        """
        return self.log_joint(x).softmax(-1)

    @classmethod
    def m_step(cls, x: Tensor, q: Tensor) -> Self:
        """Return the mixture with the highest bound for given responsibilities.

        Parameters
        ----------
        x : Tensor
            Points, of shape (..., N, D).
        q : Tensor
            Responsibilities, of shape (..., N, J): each row sums to 1.

        Returns
        -------
        GaussianMixture
            wⱼ = Nⱼ/N with Nⱼ = Σᵢ qᵢⱼ; μⱼ and Σⱼ are the means and covariances of the points,
            weighted with qᵢⱼ/Nⱼ.

        Raises
        ------
        ValueError
            If x or q is no such tensor; if a component is empty (Nⱼ = 0), so that its mean is not
            determined; or if its covariance is singular, as on a single point or in data one of
            whose columns follows from others: the bound then has no maximum (`em-unbounded`).

        Notes
        -----
        Derived in `em-gmm-updates` for numbers, in `em-gmm-covariance` for vectors.
        """
        _require_points(x, x.shape[-1])
        if q.ndim < 2 or q.shape[-2] != x.shape[-2]:
            raise ValueError(f"x has shape {tuple(x.shape)}, q {tuple(q.shape)}: not one row each")
        _require_probabilities("q", q)
        count = q.sum(-2)  # N_j
        _name_component(count <= 0, "is empty: no point gives it any responsibility")
        means = q.mT @ x / count[..., None]
        centred = x[..., :, None, :] - means[..., None, :, :]  # (..., N, J, D)
        squares = torch.einsum("...nj,...njd,...nje->...jde", q, centred, centred)
        covariances = squares / count[..., None, None]
        covariances = (covariances + covariances.mT) / 2  # einsum may round the two differently
        # in units of the data, so that no choice of units decides what is singular
        unit = x.std(-2, correction=0)[..., None, :]
        unit = torch.where(unit > 0, unit, 1.0)  # a constant column: its variance is 0 as it is
        scaled = covariances / (unit[..., :, None] * unit[..., None, :])
        smallest = torch.linalg.eigvalsh(scaled)[..., 0]
        limit = 10 * x.shape[-1] * torch.finfo(x.dtype).eps
        _name_component(
            ~(smallest > limit),
            "has collapsed: its covariance is singular, and the likelihood has no maximum there. "
            "Start elsewhere, use fewer components, or drop columns that follow from others",
        )
        return cls(count / x.shape[-2], means, covariances)

    def elbo(self, x: Tensor, q: Tensor) -> Tensor:
        """Return the bound Σⱼ q(j) (ln p(x, j) − ln q(j)) ≤ ln p(x) of each point.

        Parameters
        ----------
        x : Tensor
            Points, of shape (..., N, D).
        q : Tensor
            Any probabilities of the components, of shape (..., N, J), not only those of `e_step`.

        Returns
        -------
        Tensor
            In nats, of shape (..., N); −∞ where q gives weight to a component of weight zero.

        Raises
        ------
        ValueError
            If x or q is no such tensor.

        Notes
        -----
        Derived in `em-decomposition`. Where q(j) = 0 the term counts as 0, its limit.
        """
        _require_probabilities("q", q)
        joint = self.log_joint(x)
        if q.shape[-2:] != joint.shape[-2:]:
            raise ValueError(f"q must end in {tuple(joint.shape[-2:])}, got {tuple(q.shape)}")
        return torch.where(q > 0, q * joint, 0.0).sum(-1) - torch.xlogy(q, q).sum(-1)

    def iterate(self, x: Tensor, steps: int) -> Iterator[Self]:
        """Yield the mixture itself and then the one after each of `steps` EM steps."""
        mixture = self
        yield mixture
        for _ in range(steps):
            mixture = mixture.m_step(x, mixture.e_step(x))
            yield mixture

    def fit(self, x: Tensor, *, tolerance: float = 1e-9, steps: int = 10_000) -> Self:
        """Return where EM comes to rest when it starts from this mixture.

        Parameters
        ----------
        x : Tensor
            Points, of shape (..., N, D).
        tolerance : float
            A step that raises every mixture's mean log-likelihood per point by no more than this,
            in nats, is the last. EM may creep: a small gain does not say that the maximum is near.
        steps : int
            How many steps there may be.

        Raises
        ------
        ValueError
            If there are too few steps, or an M-step meets an empty or a collapsed component.

        Notes
        -----
        The limit is a point where EM stands still: a maximum or a saddle of the likelihood, in
        general not its highest point (`em-monotone`).
        """
        before = self.log_prob(x).mean(-1)
        for mixture in self.iterate(x, steps):
            now = mixture.log_prob(x).mean(-1)
            if mixture is not self and (now - before <= tolerance).all():
                return mixture
            before = now
        raise ValueError(f"EM still moves after {steps} steps: allow more, or a larger tolerance")


def _require_points(x: Tensor, size: int) -> None:
    if x.ndim < 2 or x.shape[-1] != size:
        raise ValueError(f"x has shape {tuple(x.shape)}, where (..., N, {size}) is wanted")
    if not x.isfinite().all():
        raise ValueError("x must be finite: found NaN or an infinite value")


def _require_probabilities(name: str, row: Tensor) -> None:
    if not (row >= 0).all():
        raise ValueError(f"{name} must not be negative or NaN")
    if not torch.allclose(row.sum(-1), torch.ones_like(row.sum(-1)), rtol=0, atol=NORMALISED):
        raise ValueError(f"{name} must sum to 1 over the last dimension")


def _name_component(bad: Tensor, what: str) -> None:
    """Raise an error about the first component marked as bad, counted from 1."""
    if bad.any():
        raise ValueError(f"component {int(bad.nonzero()[0, -1]) + 1} {what}")
