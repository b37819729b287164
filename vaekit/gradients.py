"""Derivatives of an expectation E[L(z)] with respect to what z is drawn from (chapter 8)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaekit.estimates import Approximation, seeded

Family = Callable[..., Distribution]
Loss = Callable[[Tensor], Tensor]
Value = TypeVar("Value", Tensor, Approximation)


def pathwise(
    loss: Loss, family: Family, *parameters: Tensor, n: int, seed: int = 0
) -> tuple[Tensor, ...]:
    """Differentiate E[L(z)] through z itself: n values of L′(z) ∂z/∂φ, noise held fixed.

    Parameters
    ----------
    loss : callable
        Maps z, of shape (n, batch..., event...), to L(z), of shape (n, batch...). It has to treat
        the samples one by one, and to have no jump (`reparam-gradient`).
    family : callable
        Maps the parameters to the distribution of z: ``Normal``, or a function of yours. It must
        have an `rsample`; a discrete one has none (`reparam-discrete-fails`).
    *parameters : Tensor
        The parameters φ, of shapes that broadcast; dtype and device are kept.
    n : int
        Number of samples.
    seed : int
        The same seed draws the same noise. The global random state is left as it was.

    Returns
    -------
    tuple of Tensor
        For each parameter n independent estimates of its derivative, of shape (n, ...), where ...
        is the broadcast shape of the parameters. ``Estimate.of`` gives mean and standard error.
        Zeros where torch finds no path from `loss` to z at all, as for a step.

    Raises
    ------
    ValueError
        If the family has no `rsample`, n < 1, a parameter is outside of what the family admits,
        `loss` gives not one finite value for each sample, or a gradient is not finite.

    Notes
    -----
    Derived in `reparam-gradient` and `reparam-inverse-cdf`.
    """
    repeated = _repeat(parameters, n)
    with torch.enable_grad(), seeded(seed):
        q = family(*repeated)
        if not q.has_rsample:
            raise ValueError(
                f"{type(q).__name__} has no rsample: no pathwise gradient leads through it"
            )
        z = q.rsample()
        value = loss(z)
        _require_value_for_each(value, q)
        if not value.requires_grad:  # constant between its jumps
            return tuple(torch.zeros_like(p) for p in repeated)
        return _finite(torch.autograd.grad(value.sum(), repeated, materialize_grads=True))


def score_function(
    loss: Loss,
    family: Family,
    *parameters: Tensor,
    n: int,
    baseline: Tensor | float = 0.0,
    seed: int = 0,
) -> tuple[Tensor, ...]:
    """Differentiate E[L(z)] through the density: n values of (L(z) − b) ∂ ln q(z)/∂φ.

    Parameters
    ----------
    loss : callable
        Maps z, of shape (n, batch..., event...), to L(z), of shape (n, batch...). It need not be
        differentiable, nor continuous.
    family : callable
        Maps the parameters to the distribution of z, discrete or not, which must not move its
        support with them (`score-function-gradient`).
    *parameters : Tensor
        The parameters φ, of shapes that broadcast; dtype and device are kept.
    n : int
        Number of samples.
    baseline : Tensor or float
        What is taken from every L(z): any b that does not depend on the samples leaves the mean
        alone (`score-mean-zero`); one near E[L(z)] can lower the variance. Its shape broadcasts
        to (n, batch...).
    seed : int
        The same seed draws the same samples. The global random state is left as it was.

    Returns
    -------
    tuple of Tensor
        For each parameter n independent estimates of its derivative, of shape (n, ...), where ...
        is the broadcast shape of the parameters. ``Estimate.of`` gives mean and standard error.

    Raises
    ------
    ValueError
        If n < 1, a parameter is outside of what the family admits, `loss` gives not one finite
        value for each sample, `baseline` has a shape that these do not have, or a gradient is not
        finite.

    Notes
    -----
    Derived in `score-function-gradient`; also known as REINFORCE (Williams 1992) and as the
    likelihood ratio method.
    """
    repeated = _repeat(parameters, n)
    with torch.enable_grad(), seeded(seed):
        q = family(*repeated)
        z = q.sample()
        with torch.no_grad():
            value = loss(z)
        _require_value_for_each(value, q)
        if not value.is_floating_point():  # an indicator, or a count
            value = value.to(repeated[0].dtype)
        if not torch.as_tensor(baseline).isfinite().all():
            raise ValueError("baseline holds NaN or an infinite value")
        weighted = (value - baseline) * q.log_prob(z)
        if weighted.shape != value.shape:  # each gradient would be a sum of several
            raise ValueError(
                f"baseline must broadcast to {tuple(value.shape)}, not make it "
                f"{tuple(weighted.shape)}"
            )
        return _finite(torch.autograd.grad(weighted.sum(), repeated, materialize_grads=True))


def finite_difference(f: Callable[[Tensor], Value], at: Tensor, step: float = 0.01) -> Value:
    """Differentiate f numerically: the central difference with eight points, of order eight.

    Parameters
    ----------
    f : callable
        Maps points of shape (8, *at.shape), all at once, to a Tensor or an `Approximation` of
        shape (8, ...), one value for each point.
    at : Tensor
        Where to differentiate; every entry is moved at once.
    step : float
        Distance h between neighbouring points.

    Returns
    -------
    Tensor or Approximation
        The derivative, of shape (...). Its own error is about h⁸ f⁽⁹⁾ / 630, 2·10⁻¹⁹ f⁽⁹⁾ for
        h = 0.01, which an `Approximation` does not count; the errors of f are in it, divided by h,
        and so is the rounding of the points: where |at| is large, h has to be as well.

    Raises
    ------
    ValueError
        If `at` is not of floating point, `step` is not positive and finite, or f does not give one
        value for each of the eight points.
    """
    if not at.is_floating_point():
        raise ValueError(f"at must be of floating point, got {at.dtype}")
    if not 0 < step < math.inf:
        raise ValueError(f"step = {step}: the distance between the points must be positive")
    moves = torch.tensor([1, 2, 3, 4, -1, -2, -3, -4], dtype=at.dtype, device=at.device)
    half = torch.tensor([4 / 5, -1 / 5, 4 / 105, -1 / 280], dtype=at.dtype, device=at.device)
    values = f(at + step * moves.view(8, *(1 for _ in at.shape)))
    shape = values.value.shape if isinstance(values, Approximation) else values.shape
    if shape[:1] != (8,):
        raise ValueError(f"f must give one value for each of 8 points, got shape {tuple(shape)}")
    weights = torch.cat([half, -half]).view(8, *(1 for _ in shape[1:]))
    return (values * (weights / step)).sum(0)


def _repeat(parameters: tuple[Tensor, ...], n: int) -> list[Tensor]:
    """Give every sample parameters of its own, so that each has its own derivative."""
    if n < 1:
        raise ValueError(f"n = {n}: at least one sample is needed")
    if not parameters:
        raise ValueError("there is no parameter to differentiate by")
    return [
        p.detach().expand(n, *p.shape).clone().requires_grad_()
        for p in torch.broadcast_tensors(*parameters)
    ]


def _require_value_for_each(value: Tensor, q: Distribution) -> None:
    if value.shape != q.batch_shape:
        raise ValueError(
            f"loss must give one value for each sample: shape {tuple(q.batch_shape)}, "
            f"got {tuple(value.shape)}"
        )
    if not value.isfinite().all():
        raise ValueError("loss gave NaN or an infinite value at a sample")


def _finite(gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if not all(g.isfinite().all() for g in gradients):
        raise ValueError("a gradient is NaN or infinite: look at loss where z is drawn")
    return gradients
