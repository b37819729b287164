"""Numbers that know how wrong they may be: sample means and numerical integrals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from scipy.integrate import quad_vec
from torch import Tensor
from torch.distributions import Distribution

CHUNK = 2**15  # numbers drawn at a time: few enough to stay in a core's cache


@dataclass(frozen=True)
class Approximation:
    """A number with a bound on its error, as a quadrature rule returns it.

    Two of them add, subtract and multiply; numbers and tensors count as exact. Every result bounds
    its own error: whatever the true numbers are within the bounds, the true result is too.

    Attributes
    ----------
    value : Tensor
        The approximation, of any shape.
    error : Tensor
        How large its absolute error may be, of the same shape.
    """

    value: Tensor
    error: Tensor

    def _with(self, value: Tensor, error: Tensor, *_: Self) -> Self:
        return replace(self, value=value, error=error)

    def _parts(self, other: object) -> tuple[Tensor, Tensor] | None:
        """Value and error of the other operand, None if it is a number of another kind."""
        # a bound may be added to a standard error, but no standard error passes for a bound
        if isinstance(other, Approximation) and isinstance(self, type(other)):
            return other.value, other.error
        if isinstance(other, int | float | Tensor):
            other = torch.as_tensor(other, dtype=self.value.dtype, device=self.value.device)
            return other, torch.zeros_like(other)
        return None

    def __neg__(self) -> Self:
        return self._with(-self.value, self.error)

    def __add__(self, other: Self | Tensor | float) -> Self:
        if (parts := self._parts(other)) is None:
            return NotImplemented
        # errors add, dependent or not: |a + b| ≤ |a| + |b|, and so for standard deviations
        return self._with(self.value + parts[0], self.error + parts[1], other)

    __radd__ = __add__

    def __sub__(self, other: Self | Tensor | float) -> Self:
        return self + -other

    def __rsub__(self, other: Tensor | float) -> Self:
        return -self + other

    def __mul__(self, other: Self | Tensor | float) -> Self:
        if (parts := self._parts(other)) is None:
            return NotImplemented
        value, error = parts
        errors = self.value.abs() * error + value.abs() * self.error + self.error * error
        return self._with(self.value * value, errors, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Tensor | float) -> Self:
        if isinstance(other, Approximation) or (parts := self._parts(other)) is None:
            return NotImplemented
        return self * (1 / parts[0])

    def __rtruediv__(self, other: Tensor | float) -> Self:
        if not isinstance(other, int | float | Tensor):
            return NotImplemented
        return other * self._reciprocal()

    def _reciprocal(self) -> Self:
        size = self.value.abs()
        if not (size > self.error).all():
            raise ValueError("a denominator must differ from zero by more than its error")
        # |1/(v ± e) − 1/v| is largest where |v ± e| is smallest
        return self._with(1 / self.value, self.error / (size * (size - self.error)))

    def __getitem__(self, index: object) -> Self:
        return self._with(self.value[index], self.error[index])

    def sum(self, dim: int = -1) -> Self:
        """Sum over one dimension; the errors add."""
        return self._with(self.value.sum(dim), self.error.sum(dim))

    def log(self) -> Self:
        """Return the natural logarithm; its error is the larger of the two at the bounds.

        Raises
        ------
        ValueError
            If a value is not positive by more than its error.
        """
        if not (self.value > self.error).all():
            raise ValueError("the logarithm needs values that are positive beyond their error")
        return self._with(self.value.log(), -torch.log1p(-self.error / self.value))

    def __str__(self) -> str:
        if self.value.numel() == 1:
            return with_error(self.value.item(), self.error.item())
        return f"{self.value.numel()} values, errors up to {self.error.max():.1g}"

    __repr__ = __str__


@dataclass(frozen=True, repr=False)
class Estimate(Approximation):
    """A sample mean with its standard error, which is what `error` means here.

    It adds and multiplies as an `Approximation` does. That holds for standard errors as well, of
    dependent estimates too, because a standard deviation obeys the triangle inequality; a product
    of two estimates and a logarithm are right to first order in the errors.

    Attributes
    ----------
    value : Tensor
        The sample mean, of any shape.
    error : Tensor
        Its standard error, of the same shape: sample standard deviation / √n.
    n : int
        Number of samples.
    contributions : Tensor
        How many samples the variance rests on, (Σd²)² / Σd⁴ with d the deviations from the mean,
        of the same shape: n/3 for a Gaussian, few where the tails are heavy. The relative error of
        the standard error is about 1 / (2 √contributions). Infinite where nothing varies.
    """

    n: int
    contributions: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Self:
        """Return the mean of independent values along the first dimension, with its standard error.

        Parameters
        ----------
        values : Tensor
            Shape (n, ...); integers and truth values become numbers of torch's default dtype.

        Raises
        ------
        ValueError
            If there are fewer than two values, or one is not finite.
        """
        if not values.is_floating_point():
            values = values.to(torch.get_default_dtype())
        if values.ndim == 0 or len(values) < 2:
            raise ValueError("a standard error needs at least 2 values along the first dimension")
        mean = values.mean(0)
        deviations, unit = _in_units(values - mean)
        square = deviations.square()
        return cls._from_sums(mean, square.sum(0), square.square().sum(0), len(values), unit)

    @classmethod
    def stack(cls, estimates: Sequence[Self]) -> Self:
        """Return several estimates of one shape as one, along a new first dimension."""
        return cls(
            torch.stack([e.value for e in estimates]),
            torch.stack([e.error for e in estimates]),
            min(e.n for e in estimates),
            torch.stack([torch.as_tensor(e.contributions) for e in estimates]),
        )

    @classmethod
    def _from_sums(
        cls, mean: Tensor, squares: Tensor, fourths: Tensor, n: int, unit: Tensor | float = 1.0
    ) -> Self:
        """Make an estimate of the sums of squared and of fourth powers of deviations / unit."""
        if not (mean.isfinite() & squares.isfinite()).all():
            raise ValueError("a sample gave NaN or an infinite value")
        unknown = torch.where(squares > 0, 0.0, math.inf)  # their fourth powers are 0 or NaN
        contributions = torch.where(fourths > 0, squares.square() / fourths, unknown)
        return cls(mean, unit * (squares / (n - 1) / n).sqrt(), n, contributions)

    @property
    def standard_error(self) -> Tensor:
        """The standard error: another name of `error`."""
        return self.error

    def _with(self, value: Tensor, error: Tensor, other: object = None) -> Self:
        n, contributions = self.n, self.contributions
        if isinstance(other, Estimate):
            n = min(n, other.n)
            contributions = torch.minimum(contributions, other.contributions)
        if contributions.shape != value.shape:  # summed, indexed or broadcast
            contributions = contributions.min().expand(value.shape)
        return replace(self, value=value, error=error, n=n, contributions=contributions)

    def __getitem__(self, index: object) -> Self:
        parts = {k: getattr(self, k)[index] for k in ("value", "error", "contributions")}
        return replace(self, **parts)

    def log(self) -> Self:
        """Return the natural logarithm, its standard error to first order: error / value.

        Raises
        ------
        ValueError
            If a value is not positive.
        """
        if not (self.value > 0).all():
            raise ValueError("the logarithm needs positive values")
        return self._with(self.value.log(), self.error / self.value)

    def __str__(self) -> str:
        if self.value.numel() == 1:
            return with_error(self.value.item(), self.error.item())
        return f"{self.value.numel()} estimates of {self.n} samples each"

    __repr__ = __str__


def with_error(value: float, standard_error: float) -> str:
    """Write a value and its standard error to two digits of the error: ``0.7213 ± 0.0012``."""
    if not (math.isfinite(standard_error) and standard_error > 1e-12):
        return f"{value:.4g} ± {standard_error:.2g}"
    digits = max(0, 1 - math.floor(math.log10(standard_error)))
    return f"{value:.{digits}f} ± {standard_error:.{digits}f}"


def _in_units(deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Return deviations over their largest size: so small ones have fourth powers above zero."""
    unit = deviations.abs().amax(0)
    unit = torch.where(unit > 0, unit, 1.0)
    return deviations / unit, unit


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch inside the block and give the caller's random state back after it.

    ``torch.distributions`` draws from the global generators; this keeps that from showing. It
    holds for the CPU and for the current CUDA device.
    """
    cuda = torch.cuda.is_available()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield


def generator(seed: int | torch.Generator, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` seeded with `seed`; a generator is returned as it is."""
    if isinstance(seed, torch.Generator):
        return seed
    return torch.Generator(device).manual_seed(seed)


def expectation(
    f: Callable[[Tensor], Tensor], distribution: Distribution, n: int, *, seed: int = 0
) -> Estimate:
    """Estimate E[f(X)] by the mean of f over n independent samples.

    The samples are drawn, used and dropped in pieces, so memory does not grow with n.

    Parameters
    ----------
    f : callable
        Maps samples of shape (m, batch..., event...) to values of shape (m, ...), where m varies.
    distribution : torch.distributions.Distribution
        What X follows; the samples lie on its device.
    n : int
        Number of samples, at least 2.
    seed : int
        The same seed gives the same estimate. The global random state is left as it was.

    Returns
    -------
    Estimate
        Mean and standard error, of shape (...) and of the dtype that f returns; truth values and
        integers become numbers of torch's default dtype.

    Raises
    ------
    ValueError
        If n < 2, if f returned NaN or an infinite value, or not one value per sample.

    Notes
    -----
    Derived in `mc-unbiased` and `mc-standard-error`. Sums are kept of the deviations from the mean
    of the first piece: near enough to the mean that Σd² − (Σd)²/n loses no digits. Where fourth
    powers leave the range of the dtype, `contributions` is 0 (too small) or NaN (too large).
    """
    if n < 2:
        raise ValueError(f"n = {n}: a standard error needs at least 2 samples")
    per_sample = math.prod(distribution.batch_shape + distribution.event_shape)
    piece = max(1, CHUNK // max(1, per_sample))
    pivot = total = squares = cubes = fourths = torch.zeros(())
    with torch.no_grad(), seeded(seed):
        for start in range(0, n, piece):
            m = min(piece, n - start)
            y = f(distribution.sample((m,)))
            if y.shape[:1] != (m,):
                raise ValueError(
                    f"f must give one value per sample: {m} gave shape {tuple(y.shape)}"
                )
            if not y.is_floating_point():  # an indicator, or a count
                y = y.to(torch.get_default_dtype())
            if start == 0:
                pivot = y.mean(0)
            d = y - pivot
            square = d * d
            total = total + d.sum(0)
            squares = squares + square.sum(0)
            cubes = cubes + (square * d).sum(0)
            fourths = fourths + (square * square).sum(0)
    shift = total / n
    fourths = fourths - shift * (4 * cubes - shift * (6 * squares - 3 * n * shift * shift))
    return Estimate._from_sums(pivot + shift, squares - n * shift * shift, fourths, n)


def importance(
    f: Callable[[Tensor], Tensor], p: Distribution, q: Distribution, n: int, *, seed: int = 0
) -> Estimate:
    """Estimate E_p[f(X)] from samples of another distribution q, each weighted by p(x)/q(x).

    Parameters
    ----------
    f : callable
        Maps samples of shape (m, batch..., event...) to values of shape (m, batch...).
    p : torch.distributions.Distribution
        What the expectation is taken under. Where it has bounded support, it needs
        ``validate_args=False`` to say that its density elsewhere is zero.
    q : torch.distributions.Distribution
        The proposal, from which the samples come, of the same event shape. It needs q > 0 wherever
        f p is not zero: samples cannot show a part that they never reach.
    n : int
        Number of samples, at least 2.
    seed : int
        The same seed gives the same estimate. The global random state is left as it was.

    Returns
    -------
    Estimate
        Of the batch shape of p and q. Few `contributions` among many samples are the sign of
        weights with a heavy tail; the variance is infinite where ∫ f² p²/q is.

    Raises
    ------
    ValueError
        If n < 2, if f or a weight is NaN or infinite, if p has another event shape than q or a
        batch that does not suit its, or if f gives not one value for each sample.

    Notes
    -----
    Derived in `importance-sampling`.
    """
    require_density_at("p", p, q)

    def weighted(x: Tensor) -> Tensor:
        return (p.log_prob(x) - (log_q := q.log_prob(x))).exp() * one_for_each("f", f(x), log_q)

    return expectation(weighted, q, n, seed=seed)


def require_density_at(name: str, p: Distribution, q: Distribution) -> None:
    """Raise ValueError unless p has a density at the samples of q, one for each."""
    # with more dimensions of p than samples have, samples would meet settings
    suits = p.event_shape == q.event_shape and len(p.batch_shape) <= len(q.batch_shape)
    try:
        torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    except RuntimeError:
        suits = False
    if not suits:
        shapes = [(*d.batch_shape, *d.event_shape) for d in (p, q)]
        raise ValueError(f"{name} does not suit the samples: shapes {shapes[0]} and {shapes[1]}")


def one_for_each(name: str, values: Tensor, log_q: Tensor) -> Tensor:
    """Return values, or raise ValueError unless there is one for each of the densities log_q.

    A lost or an additional dimension of 1 would make every sample meet every other one. A single
    number is one for all.
    """
    values = torch.as_tensor(values, device=log_q.device)
    if values.ndim == 0:
        return values.expand_as(log_q)
    if values.ndim != log_q.ndim or values.shape[:1] != log_q.shape[:1]:
        raise ValueError(
            f"{name} must give one value for each sample, shape {tuple(log_q.shape)},"
            f" got {tuple(values.shape)}"
        )
    return values


def integrate(f: Callable[[Tensor], Tensor], lower: float, upper: float) -> Approximation:
    """Integrate f over [lower, upper] by adaptive Gauss-Kronrod quadrature.

    Parameters
    ----------
    f : callable
        Maps a float64 tensor of shape () to a tensor of any shape; every entry is integrated at
        once. Their sizes may differ by many orders of magnitude.
    lower, upper : float
        Ends of the interval; either may be infinite.

    Returns
    -------
    Approximation
        The integrals in float64 on the CPU. The error of each is scipy's estimate of the largest
        one, relative to the size of its integrand.

    Raises
    ------
    ValueError
        If the integral does not converge to a finite number.

    Notes
    -----
    ``scipy.integrate.quad_vec``, asked for 12 digits of ∫|f|, which a first coarse pass measures.
    """

    def values(x: float) -> np.ndarray:
        with torch.no_grad():
            return f(torch.tensor(x, dtype=torch.float64)).numpy(force=True)

    def quadrature(g: Callable[[float], np.ndarray], **wanted: float) -> tuple[np.ndarray, float]:
        # without its cache, whose scalars at infinity numpy would not stack
        # 2000 intervals: an integrand of rounding noise would be halved for minutes, and in vain
        options = {"norm": "max", "full_output": True, "cache_size": 0, "limit": 2000}
        value, error, run = quad_vec(g, lower, upper, **wanted, **options)
        # Where intervals halved this often still matter there is no end: ∫ 1/x would come out as
        # the logarithm of the smallest float.
        endless = lower != upper and np.abs(np.diff(run.intervals)).min() < 1e-140
        if endless or not np.isfinite(value).all():
            raise ValueError("the integral is not finite: check the limits and the integrand")
        return value, error

    size = np.abs(quadrature(lambda x: np.abs(values(x)), epsrel=0.1)[0])
    size = np.maximum(size, 1e-12 * np.max(size)) + (np.max(size) == 0)  # an integrand of zero
    value, error = quadrature(lambda x: values(x) / size, epsabs=1e-13, epsrel=1e-12)
    return Approximation(torch.as_tensor(value * size), torch.as_tensor(error * size))


def integrate_plane(
    f: Callable[[Tensor], Tensor], *, limit: float = 8.0, step: float = 0.1
) -> Approximation:
    """Integrate f over the square [−limit, limit]² by the trapezoidal rule.

    For a smooth f that vanishes, with its derivatives, at the border of the square the rule gains
    digits exponentially as the step shrinks.

    Parameters
    ----------
    f : callable
        Maps points, a float64 tensor of shape (n, 1, 2), to values of shape (n, ...); the 1 is
        there to broadcast against a batch.
    limit, step : float
        Half the side of the square, and the distance between points.

    Returns
    -------
    Approximation
        The integrals, of shape (...). The error is the distance to what every second point in
        each direction gives, which for such an f is far more than the error that is left.
    """
    half = math.ceil(limit / step)
    axis = step * torch.arange(-half, half + 1, dtype=torch.float64)
    values = f(torch.cartesian_prod(axis, axis)[:, None]).detach()
    values = values.view(len(axis), len(axis), *values.shape[1:])
    fine = values.sum((0, 1)) * step**2
    coarse = values[half % 2 :: 2, half % 2 :: 2].sum((0, 1)) * (2 * step) ** 2
    return Approximation(fine, (fine - coarse).abs())


def maximise(f: Callable[..., Tensor], *start: Tensor) -> Approximation:
    """Climb from `start` to the largest values that f reaches, by quasi-Newton steps.

    Parameters
    ----------
    f : callable
        Maps tensors of the shapes of `start` to values of any shape, each of which is to be as
        large as possible; their sum is what climbs, so no two may pull at the same parameter.
    *start : Tensor
        Where each parameter begins.

    Returns
    -------
    Approximation
        The values at the end, where no derivative is above 10⁻⁴, and as a rule none above 10⁻⁶;
        their error is given as 10⁻⁶, which holds in float64 if the maximum is not extremely flat.

    Raises
    ------
    ValueError
        If the climb does not end within 2000 steps.
    """
    theta = [t.detach().clone().requires_grad_() for t in start]
    optimiser = torch.optim.LBFGS(
        theta,
        max_iter=2000,
        tolerance_grad=1e-6,
        tolerance_change=0,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        total = -f(*theta).sum()
        # not backward, which would write into whatever else f differentiates by
        for t, slope in zip(theta, torch.autograd.grad(total, theta), strict=True):
            t.grad = slope.contiguous()
        return total

    optimiser.step(loss)
    if not max(t.grad.abs().max().item() for t in theta) < 1e-4:
        raise ValueError("the climb has not come to an end")
    value = f(*theta).detach()
    return Approximation(value, torch.full_like(value, 1e-6))
