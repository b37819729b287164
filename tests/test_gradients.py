"""Pathwise and score-function gradients, and finite differences."""

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Exponential,
    Independent,
    Normal,
    Poisson,
    RelaxedBernoulli,
    Uniform,
)

from vaekit.estimates import Estimate, integrate
from vaekit.gradients import finite_difference, pathwise, score_function

MU = torch.tensor([-0.4, 0.2, 0.9], dtype=torch.float64)
SIGMA = torch.tensor([0.6, 0.8, 1.0], dtype=torch.float64)


def gaussian(mu, sigma):
    return Independent(Normal(mu, sigma), 1)


def agrees(gradient, truth, widths=6):
    estimate = Estimate.of(gradient)
    return bool(((estimate.value - truth).abs() < widths * estimate.error).all())


@pytest.mark.parametrize("estimator", [pathwise, score_function])
def test_a_wave_has_the_gradient_of_its_mean(estimator):
    """E[sin z] = exp(−σ²/2) sin μ."""
    d_mu, d_sigma = estimator(torch.sin, Normal, MU, SIGMA, n=50_000)
    damped = (-(SIGMA**2) / 2).exp()
    assert d_mu.shape == d_sigma.shape == (50_000, 3)
    assert agrees(d_mu, damped * MU.cos())
    assert agrees(d_sigma, -SIGMA * damped * MU.sin())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_sample_has_its_own_gradient(dtype):
    """Pathwise gradients of z²/2 are z and zε; scores are ε/σ and (ε² − 1)/σ, times L."""
    mu, sigma = MU.to(dtype), SIGMA.to(dtype)
    z, z_eps = pathwise(lambda z: z**2 / 2, Normal, mu, sigma, n=100, seed=3)
    eps = (z - mu) / sigma
    torch.testing.assert_close(z_eps, z * eps, rtol=1e-4, atol=1e-5)
    d_mu, d_sigma = score_function(lambda z: z**2 / 2, Normal, mu, sigma, n=100, seed=3)
    torch.testing.assert_close(d_mu, z**2 / 2 * eps / sigma, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(d_sigma, z**2 / 2 * (eps**2 - 1) / sigma, rtol=1e-4, atol=1e-4)
    assert z.dtype == d_mu.dtype == dtype


def test_events_of_several_dimensions():
    """E[½ ‖z‖²] = ½ Σ(μ² + σ²)."""
    mu, sigma = torch.stack([MU, -MU]), torch.stack([SIGMA, SIGMA])
    for estimator in (pathwise, score_function):
        d_mu, d_sigma = estimator(lambda z: (z**2).sum(-1) / 2, gaussian, mu, sigma, n=50_000)
        assert d_mu.shape == (50_000, 2, 3)
        assert agrees(d_mu, mu) and agrees(d_sigma, sigma)


def test_parameters_broadcast_and_stay_as_they_were():
    one = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    d_mu, d_sigma = pathwise(torch.sin, Normal, MU, one, n=7)
    assert d_mu.shape == d_sigma.shape == (7, 3)
    assert one.grad is None and not d_mu.requires_grad


def test_a_step_has_no_path_and_has_a_score():
    def step(z):
        return (z > 0).double()

    assert (pathwise(step, Normal, MU, SIGMA, n=50)[0] == 0).all()
    d_mu, _ = score_function(step, Normal, MU, SIGMA, n=50_000)
    assert agrees(d_mu, Normal(MU, SIGMA).log_prob(torch.zeros(3).double()).exp())


def test_other_families():
    rate = torch.tensor([0.7, 1.5], dtype=torch.float64)
    truth = (1 - rate**2) / (1 + rate**2) ** 2  # E[sin z] = λ / (1 + λ²)
    for estimator in (pathwise, score_function):
        (d_rate,) = estimator(torch.sin, Exponential, rate, n=50_000)
        assert agrees(d_rate, truth)
    (d_rate,) = score_function(lambda z: z, Poisson, rate, n=50_000)
    assert agrees(d_rate, 1.0)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    one = torch.ones(2, dtype=torch.float64)
    (relaxed,) = pathwise(lambda z: z, lambda p: RelaxedBernoulli(one, probs=p), half, n=50_000)
    assert agrees(relaxed, 2 / 3)
    (end,) = pathwise(lambda z: z**2, lambda b: Uniform(0 * b, b), one, n=50_000)
    assert agrees(end, 2 / 3)


def test_a_baseline_keeps_the_mean_and_lowers_the_variance():
    def loss(z):
        return 10 + z.sin()

    plain, _ = score_function(loss, Normal, MU, SIGMA, n=50_000)
    better, _ = score_function(loss, Normal, MU, SIGMA, n=50_000, baseline=10.0)
    truth = (-(SIGMA**2) / 2).exp() * MU.cos()
    assert agrees(plain, truth) and agrees(better, truth)
    assert (better.var(0) < plain.var(0) / 50).all()
    per_setting, _ = score_function(loss, Normal, MU, SIGMA, n=9, baseline=torch.full((3,), 10.0))
    torch.testing.assert_close(
        per_setting, score_function(loss, Normal, MU, SIGMA, n=9, baseline=10.0)[0]
    )


@pytest.mark.parametrize("shape", [(9, 1, 1), (2, 9, 3)])
def test_a_baseline_that_would_repeat_the_samples_is_refused(shape):
    with pytest.raises(ValueError, match="baseline must broadcast"):
        score_function(torch.sin, Normal, MU, SIGMA, n=9, baseline=torch.zeros(shape))


def test_the_seed_decides_and_the_caller_notices_nothing():
    state = torch.get_rng_state()
    first = pathwise(torch.sin, Normal, MU, SIGMA, n=20, seed=5)
    again = pathwise(torch.sin, Normal, MU, SIGMA, n=20, seed=5)
    other = pathwise(torch.sin, Normal, MU, SIGMA, n=20, seed=6)
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])
    assert torch.equal(state, torch.get_rng_state())
    with torch.no_grad():
        assert torch.equal(pathwise(torch.sin, Normal, MU, SIGMA, n=20, seed=5)[0], first[0])


def test_the_score_takes_indicators_and_refuses_an_infinite_baseline():
    """P(z > 0) has the derivative φ(μ/σ)/σ in μ."""
    d_mu, _ = score_function(lambda z: z > 0, Normal, MU, SIGMA, n=50_000)
    assert agrees(d_mu, Normal(0.0, 1.0).log_prob(MU / SIGMA).exp() / SIGMA)
    with pytest.raises(ValueError, match="baseline holds NaN"):
        score_function(torch.sin, Normal, MU, SIGMA, n=5, baseline=torch.nan)


@pytest.mark.parametrize("estimator", [pathwise, score_function])
def test_one_sample_is_enough(estimator):
    assert estimator(torch.sin, Normal, MU, SIGMA, n=1)[0].shape == (1, *MU.shape)


@pytest.mark.parametrize("estimator", [pathwise, score_function])
def test_bad_input_is_named(estimator):
    with pytest.raises(ValueError, match="n = 0"):
        estimator(torch.sin, Normal, MU, SIGMA, n=0)
    with pytest.raises(ValueError, match="no parameter"):
        estimator(torch.sin, Normal, n=5)
    with pytest.raises(ValueError, match="one value for each sample"):
        estimator(lambda z: z.sum(), Normal, MU, SIGMA, n=5)
    with pytest.raises(ValueError, match="one value for each sample"):
        estimator(lambda z: z, gaussian, MU, SIGMA, n=5)
    with pytest.raises(ValueError, match="loss gave NaN"):
        estimator(lambda z: (z - 100).log(), Normal, MU, SIGMA, n=5)
    with pytest.raises(ValueError, match="scale"):
        estimator(torch.sin, Normal, MU, -SIGMA, n=5)
    with pytest.raises(ValueError, match="loc"):
        estimator(torch.sin, Normal, MU * torch.nan, SIGMA, n=5)


def test_no_path_leads_through_a_coin():
    with pytest.raises(ValueError, match="Bernoulli has no rsample"):
        pathwise(lambda z: z, Bernoulli, MU.abs(), n=5)


def test_finite_differences_are_exact_to_order_eight():
    at = torch.linspace(-1, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(finite_difference(torch.sin, at), at.cos(), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        finite_difference(lambda x: x**8, at, step=0.5), 8 * at**7, rtol=0, atol=1e-12
    )
    of_integral = finite_difference(
        lambda m: integrate(lambda x: Normal(m, 1.0).log_prob(x).exp() * x**2, -12.0, 12.0), at
    )
    torch.testing.assert_close(of_integral.value, 2 * at, rtol=0, atol=1e-9)
    assert (of_integral.error < 1e-7).all()


def test_finite_differences_refuse():
    at = torch.zeros(3)
    with pytest.raises(ValueError, match="step"):
        finite_difference(torch.sin, at, step=0.0)
    with pytest.raises(ValueError, match="step"):
        finite_difference(torch.sin, at, step=torch.inf)
    with pytest.raises(ValueError, match="at must be of floating point"):
        finite_difference(lambda x: x.double() ** 2, torch.tensor(3))
    with pytest.raises(ValueError, match="8 points"):
        finite_difference(lambda x: x.sum(0), at)
