"""Bounds on ln p(x): against exact evidence, torch's densities, and what the models compute."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal, kl_divergence

from vaekit import bounds, models
from vaekit.bayes import LinearGaussian
from vaekit.divergence import kl_diagonal, kl_discrete, kl_gaussian
from vaekit.models import digits_vae


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)


@pytest.fixture
def linear():
    """24 linear-Gaussian models, a point for each, and a guess q."""
    model = LinearGaussian(
        uniform(-1, 1, 24, 3, 2), uniform(-1, 1, 24, 3, seed=1), uniform(0.7, 1.2, 24, seed=2)
    )
    q = Normal(uniform(-1, 1, 24, 2, seed=3), uniform(0.3, 0.6, 24, 2, seed=4))
    return model, uniform(-1, 1, 24, 3, seed=5), q


def exact_elbo(model, x, q):
    wide = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    return model.evidence.log_prob(x) - kl_divergence(wide, model.posterior(x))


def test_two_terms_and_weights_give_the_exact_elbo(linear):
    model, x, q = linear
    g = torch.Generator().manual_seed(6)
    epsilon = torch.randn(4_000, 24, 2, generator=g, dtype=torch.float64)
    z = q.mean + q.stddev * epsilon
    fit = model.likelihood(z).log_prob(x)
    exact = exact_elbo(model, x, q)
    kl = kl_divergence(q, Normal(0.0, 1.0))
    log_w = bounds.gaussian_log_weights(fit, z, epsilon, q.stddev)
    written_out = model.log_joint(x, z) - Independent(q, 1).log_prob(z)
    torch.testing.assert_close(log_w, written_out, rtol=1e-11, atol=1e-11)
    for draws in (bounds.elbo(fit, kl), log_w):
        error = 6 * draws.std(0) / 4_000**0.5
        assert ((draws.mean(0) - exact).abs() < error).all()


def test_the_last_dimension_is_that_of_the_latents():
    """The formulas take no batch, and two."""
    fit, kl = uniform(-3, -1, 4, 5), uniform(0, 1, 4, 5, 3, seed=1)
    z, epsilon, sigma = (uniform(0.5, 1, 4, 5, 3, seed=seed) for seed in (2, 3, 4))
    bound, log_w = bounds.elbo(fit, kl), bounds.gaussian_log_weights(fit, z, epsilon, sigma)
    for i, j in [(0, 0), (3, 1)]:
        assert bounds.elbo(fit[i, j], kl[i, j]) == bound[i, j]
        one = bounds.gaussian_log_weights(fit[i, j], z[i, j], epsilon[i, j], sigma[i, j])
        torch.testing.assert_close(one, log_w[i, j])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_importance_bound_is_the_logarithm_of_a_mean(dtype):
    log_w = uniform(-3, 3, 12, 5).to(dtype)
    wanted = log_w.exp().mean(0).log()
    for found in (
        bounds.importance_bound(log_w),
        bounds.importance_bound_of_pieces(log_w.split(5)),
        bounds.importance_bound_of_pieces(iter(log_w.split(12))),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found, wanted)
    assert torch.equal(bounds.importance_bound(log_w[:1]), log_w[0])
    far = bounds.importance_bound(log_w - 10_000)  # no underflow
    torch.testing.assert_close(far, wanted - 10_000)
    with pytest.raises(ValueError, match="no weights"):
        bounds.importance_bound_of_pieces([])


def test_importance_bound_passes_gradients_to_every_weight():
    log_w = uniform(-1, 1, 6, 4).requires_grad_()
    bounds.importance_bound_of_pieces(log_w.split(4)).sum().backward()
    torch.testing.assert_close(log_w.grad, log_w.detach().softmax(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_discrete_elbo_falls_short_by_the_divergence(dtype):
    joint = uniform(0.01, 0.2, 24, 6).to(dtype)
    q = Categorical(uniform(0.1, 1, 24, 6, seed=1).to(dtype)).probs
    evidence = joint.sum(-1, keepdim=True)
    gap = kl_discrete(q, joint / evidence)
    found = bounds.elbo_discrete(joint, q)
    assert found.dtype == dtype
    torch.testing.assert_close(found, evidence[:, 0].log() - gap)
    at_best = bounds.elbo_discrete(joint, joint / evidence)
    torch.testing.assert_close(at_best, evidence[:, 0].log())


def test_discrete_elbo_where_something_is_zero():
    joint = torch.tensor([0.3, 0.0, 0.2])
    assert bounds.elbo_discrete(joint, torch.tensor([0.5, 0.5, 0.0])) == -math.inf
    found = bounds.elbo_discrete(joint, torch.tensor([1.0, 0.0, 0.0]))
    assert found.item() == pytest.approx(math.log(0.3))


@pytest.mark.parametrize(
    ("joint", "q", "message"),
    [
        ([0.1, -0.1], [0.5, 0.5], "joint holds a negative"),
        ([0.1, math.nan], [0.5, 0.5], "joint holds a negative number or NaN"),
        ([0.1, 0.1], [1.5, -0.5], "q holds a negative"),
        ([0.1, 0.1], [0.5, 0.6], "q does not sum to 1"),
        ([0.1, 0.1, 0.1], [0.5, 0.5], "3 values of z, q has 2"),
    ],
)
def test_discrete_elbo_refuses(joint, q, message):
    with pytest.raises(ValueError, match=message):
        bounds.elbo_discrete(torch.tensor(joint), torch.tensor(q))


def test_quadrature_against_a_closed_form():
    w, b, x = uniform(-1.5, 1.5, 3, 24)
    s, sigma = uniform(0.3, 1.2, 24, seed=2), uniform(0.05, 2, 24, seed=4)
    q, precision = Normal(uniform(-3, 3, 24, seed=3), sigma), 1 + w**2 / s**2

    def log_joint(z):
        return Normal(0.0, 1.0).log_prob(z) + Normal(w * z + b, s).log_prob(x)

    posterior = Normal(w * (x - b) / s**2 / precision, precision.rsqrt())
    wanted = Normal(b, (w**2 + s**2).sqrt()).log_prob(x) - kl_gaussian(q, posterior)
    found = bounds.elbo_quadrature(log_joint, q)
    torch.testing.assert_close(found.value, wanted, rtol=1e-11, atol=1e-11)
    single = bounds.elbo_quadrature(log_joint, Normal(q.mean.float(), q.stddev.float()))
    torch.testing.assert_close(single.value, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mu", "sigma"), [(math.nan, 1.0), (0.0, -1.0), (0.0, math.inf)])
def test_quadrature_refuses(mu, sigma):
    q = Normal(torch.tensor(mu), torch.tensor(sigma), validate_args=False)
    with pytest.raises(ValueError, match="must be"):
        bounds.elbo_quadrature(lambda z: -(z**2), q)


def test_monte_carlo_bounds_rise_to_the_evidence(linear):
    model, x, q = linear
    wide = Independent(Normal(q.mean, 2 * q.stddev + 0.6), 1)

    def log_joint(z):
        return model.log_joint(x, z)

    exact, evidence = exact_elbo(model, x, wide.base_dist), model.evidence.log_prob(x)
    found = bounds.elbo_monte_carlo(log_joint, wide, 4_000)
    assert ((found.value - exact).abs() < 6 * found.error).all()
    one, two, many = (
        bounds.importance_bound_monte_carlo(log_joint, wide, k, 3_000, seed=k) for k in (1, 2, 10)
    )
    assert ((one.value - exact).abs() < 6 * one.error).all()
    assert (one.value < two.value).all() and (two.value < many.value).all()
    assert (many.value < evidence + 6 * many.error).all()
    assert one.n == two.n == 3_000
    again = bounds.importance_bound_monte_carlo(log_joint, wide, 2, 3_000, seed=2)
    assert torch.equal(two.value, again.value)


@pytest.mark.parametrize(
    ("k", "n", "message"), [(0, 10, "k must"), (1.5, 10, "k must"), (2, 1, "n = 1")]
)
def test_monte_carlo_bounds_refuse(k, n, message):
    with pytest.raises(ValueError, match=message):
        bounds.importance_bound_monte_carlo(lambda z: -(z**2), Normal(0.0, 1.0), k, n)


def test_log_joint_must_give_one_value_for_each_z():
    q = Independent(Normal(torch.zeros(1).double(), 1.0), 1)
    for call in (
        lambda f: bounds.elbo_monte_carlo(f, q, 50),
        lambda f: bounds.importance_bound_monte_carlo(f, q, 2, 50),
    ):
        with pytest.raises(ValueError, match="log_joint must give one value for each sample"):
            call(lambda z: -(z**2))
    with pytest.raises(ValueError, match=r"log_joint must give \(5,\), got \(5, 1\)"):
        bounds.elbo_quadrature(lambda z: -(z**2)[:, None], Normal(torch.zeros(5).double(), 1.0))


def test_monte_carlo_elbo_refuses_an_infinite_weight():
    with pytest.raises(ValueError, match="NaN or an infinite"):
        bounds.elbo_monte_carlo(lambda z: (z > 0).double().log(), Normal(0.0, 1.0), 100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_trains_calls_these_formulas(monkeypatch, dtype):
    vae, x = digits_vae().to(dtype), torch.ones(4, 64, dtype=dtype)
    reconstruction, kl = vae.terms(x, torch.zeros(4, 10, dtype=dtype))
    mu, sigma = vae.encode(x)
    bound = bounds.elbo(reconstruction, kl)
    torch.testing.assert_close(bound, reconstruction - kl_diagonal(mu, sigma))
    for name, call in {
        "elbo": lambda: vae.elbo(x),
        "importance_bound": lambda: vae.iwae_bound(x, 3),
        "gaussian_log_weights": lambda: vae.log_weights(x, mu, sigma, torch.ones(2, 4, 10).to(x)),
        "importance_bound_of_pieces": lambda: vae.log_evidence(x, 3),
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(models.bounds, name, lambda *a: "called")
            assert call() == "called"
