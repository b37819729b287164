"""The Gaussian nearest to another density in the reverse direction, and how far it is."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaekit.divergence import fit_reverse, kl_gaussian, kl_reverse
from vaekit.estimates import integrate


def two_bumps(d: float, dtype: torch.dtype = torch.float64) -> MixtureSameFamily:
    """Equal parts N(−d, 1) and N(d, 1)."""
    parts = Normal(torch.tensor([-d, d], dtype=dtype), torch.ones(2, dtype=dtype))
    return MixtureSameFamily(Categorical(torch.ones(2, dtype=dtype) / 2), parts)


def gaussians(n: int, seed: int, dtype: torch.dtype = torch.float64) -> Normal:
    u = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return Normal(2 * u[0] - 1, 0.6 + u[1])


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_kl_reverse_of_gaussians_is_the_closed_form(dtype, rtol):
    q, p = gaussians(20, 1, dtype), gaussians(20, 2, dtype)
    value = kl_reverse(q, p.log_prob)
    assert value.dtype == dtype
    torch.testing.assert_close(value, kl_gaussian(q, p), rtol=rtol, atol=rtol)


def test_kl_reverse_of_a_mixture_is_the_integral():
    p, q = two_bumps(4.0), Normal(*torch.tensor([[0.0, 1.0, -4.0], [5.0, 2.0, 1.0]]).double())

    def integrand(x):
        return q.log_prob(x).exp() * (q.log_prob(x) - p.log_prob(x))

    torch.testing.assert_close(
        kl_reverse(q, p.log_prob), integrate(integrand, -50.0, 50.0).value, rtol=0, atol=1e-10
    )


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_fit_to_a_gaussian_is_that_gaussian(dtype, atol):
    p = gaussians(20, 3, dtype)
    fit = fit_reverse(p.log_prob, gaussians(20, 4, dtype))
    assert fit.mean.dtype == dtype
    torch.testing.assert_close(fit.mean, p.mean, rtol=0, atol=atol)
    torch.testing.assert_close(fit.stddev, p.stddev, rtol=0, atol=atol)


def test_the_start_decides_and_constants_do_not_matter():
    p = two_bumps(4.0)
    start = Normal(*torch.tensor([[-4.0, 0.0, 4.0], [1.0, 4.0, 1.0]]).double())
    fit = fit_reverse(lambda x: p.log_prob(x) + 7, start)
    assert fit.mean.tolist() == pytest.approx([-4, 0, 4], abs=1e-3)
    kl = kl_reverse(fit, p.log_prob)
    assert kl[[0, 2]].tolist() == pytest.approx([math.log(2)] * 2, abs=1e-3)
    assert kl[1] > 1


@pytest.mark.parametrize("f", [kl_reverse, lambda q, p: fit_reverse(p, q)])
@pytest.mark.parametrize(("mu", "sigma"), [(math.nan, 1.0), (0.0, -1.0), (0.0, math.inf)])
def test_bad_gaussians_are_refused(f, mu, sigma):
    q = Normal(torch.tensor(mu), torch.tensor(sigma), validate_args=False)
    with pytest.raises(ValueError, match="every"):
        f(q, Normal(0.0, 1.0).log_prob)


def test_a_density_of_vectors_is_refused():
    vector = Independent(Normal(torch.zeros(1), 2.0), 1)
    with pytest.raises(ValueError, match=r"log_density must give \(801, 1\), got \(801,\)"):
        kl_reverse(Normal(torch.zeros(1), 1.0), vector.log_prob)


def test_a_walk_without_end_says_so():
    with pytest.raises(ValueError, match="after 2000 steps"):
        fit_reverse(lambda x: x**2, Normal(torch.zeros(1), torch.ones(1)))
