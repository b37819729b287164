"""Numbers that know how wrong they may be: sample means and numerical integrals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import quad_vec
from torch import Tensor
from torch.distributions import Distribution

CHUNK = 2**15  # numbers drawn at a time: few enough to stay in a core's cache


@dataclass(frozen=True)
class Estimate:
    """A sample mean with its standard error.

    Attributes
    ----------
    value : Tensor
        The sample mean, of any shape.
    standard_error : Tensor
        Its standard error, of the same shape: sample standard deviation / √n.
    n : int
        Number of samples.
    """

    value: Tensor
    standard_error: Tensor
    n: int

    def __str__(self) -> str:
        if self.value.numel() == 1:
            return with_error(self.value.item(), self.standard_error.item())
        return f"{self.value.numel()} estimates of {self.n} samples each"

    __repr__ = __str__


@dataclass(frozen=True)
class Approximation:
    """A number with the size of its error, as a quadrature rule returns it.

    Attributes
    ----------
    value : Tensor
        The approximation, of any shape.
    error : Tensor
        How large its absolute error may be, of the same shape.
    """

    value: Tensor
    error: Tensor


def with_error(value: float, standard_error: float) -> str:
    """Write a value and its standard error to two digits of the error: ``0.7213 ± 0.0012``."""
    if not (math.isfinite(standard_error) and standard_error > 0):
        return f"{value:.4g} ± {standard_error:.2g}"
    digits = max(0, 1 - math.floor(math.log10(standard_error)))
    return f"{value:.{digits}f} ± {standard_error:.{digits}f}"


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
        If n < 2, or if f returned NaN or an infinite value, or not one value per sample.

    Notes
    -----
    Derived in `mc-unbiased` and `mc-standard-error`. Pieces are merged by the pairwise update of
    Chan, Golub & LeVeque (1983), which does not lose digits as Σx² − n·mean² does.
    """
    if n < 2:
        raise ValueError(f"n = {n}: a standard error needs at least 2 samples")
    per_sample = math.prod(distribution.batch_shape + distribution.event_shape)
    piece = max(1, CHUNK // max(1, per_sample))
    mean = squares = torch.zeros(())  # squares: the sum of squared deviations from the mean
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
            y_mean = y.mean(0)
            deviation = y - y_mean
            y_squares = (deviation * deviation).sum(0)
            if start == 0:
                mean, squares = y_mean, y_squares
            else:
                delta = y_mean - mean
                squares = squares + y_squares + delta * delta * (start * m / (start + m))
                mean = mean + delta * (m / (start + m))
    if not squares.isfinite().all():
        raise ValueError("f returned NaN or an infinite value for some of the samples")
    return Estimate(mean, (squares / (n - 1) / n).sqrt(), n)


def integrate(f: Callable[[float], Tensor], lower: float, upper: float) -> Approximation:
    """Integrate f over [lower, upper] by adaptive Gauss-Kronrod quadrature.

    Parameters
    ----------
    f : callable
        Maps a number to a tensor of any shape; every entry is integrated at once.
    lower, upper : float
        Ends of the interval.

    Returns
    -------
    Approximation
        The integrals, and scipy's estimate of the largest error among them, given to each.

    Raises
    ------
    ValueError
        If the integral does not converge to a finite number.

    Notes
    -----
    ``scipy.integrate.quad_vec``, asked for 12 digits.
    """
    value, error = quad_vec(
        lambda x: f(x).numpy(force=True), lower, upper, epsabs=1e-13, epsrel=1e-12, norm="max"
    )
    if not np.isfinite(value).all():
        raise ValueError("the integral is not finite: check the limits and the integrand")
    value = torch.as_tensor(value)
    return Approximation(value, torch.full_like(value, error))
