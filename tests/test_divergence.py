"""The KL divergence, against torch.distributions and scipy, on random settings."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    Normal,
    OneHotCategorical,
    kl_divergence,
)

from vaekit.divergence import (
    kl_diagonal,
    kl_discrete,
    kl_estimator,
    kl_gaussian,
    kl_monte_carlo,
    kl_quadrature,
    kl_standard_normal,
    kl_term,
)

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussians(n: int = 40, spread: float = 1.0, seed: int = 0) -> tuple[Normal, Normal]:
    m1, m2, s1, s2 = double(4, n, seed=seed)
    return Normal(m1, (spread * s1).exp()), Normal(2 * m2, (spread * s2).exp())


def normal(mu: float, sigma: float, **options: bool) -> Normal:
    return Normal(*torch.tensor([mu, sigma], dtype=torch.float64), **options)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# what torch clamps


@pytest.mark.parametrize(
    ("q", "p"),
    [
        (Categorical(torch.tensor([0.5, 0.5])), Categorical(torch.tensor([1.0, 0.0]))),
        (Bernoulli(torch.tensor(0.5)), Bernoulli(torch.tensor(0.0))),
        (Bernoulli(torch.tensor(0.5)), Bernoulli(torch.tensor(1.0))),
        (
            Independent(Bernoulli(torch.full((3, 2), 0.5)), 1),
            Independent(Bernoulli(torch.tensor([[0.5, 0.2], [0.5, 1.0], [0.1, 0.9]])), 1),
        ),
        (
            OneHotCategorical(torch.tensor([0.5, 0.5])),
            OneHotCategorical(torch.tensor([1.0, 0.0])),
        ),
        (
            Categorical(torch.tensor([0.5, 0.5])),
            Categorical(logits=torch.tensor([0.0, -math.inf])),
        ),
    ],
)
@pytest.mark.parametrize("which", ["k1", "k2", "k3"])
def test_an_infinite_divergence_is_an_error_though_torch_clamps(q, p, which):
    with pytest.raises(ValueError, match="q is zero at a sample of p"):
        kl_monte_carlo(q, p, 1000, which=which)
    back = kl_monte_carlo(p, q, 1000)  # p's support lies within q's
    assert back.value.isfinite().all()


def test_a_steep_logit_is_no_zero():
    q, p = (Independent(Bernoulli(logits=torch.tensor([h, 0.3])), 1) for h in (0.0, 60.0))
    assert p.base_dist.probs[0] == 1  # rounded, and kept by torch from here on
    estimate = kl_monte_carlo(q, p, 20_000)
    assert abs(estimate.value - (60 / 2 - math.log(2))) < 5 * estimate.standard_error
    whole = Independent(Bernoulli(torch.tensor([0.5, 0.3])), 0)
    assert kl_monte_carlo(whole, whole, 10).value.tolist() == [0, 0]


@pytest.mark.parametrize("family", [Categorical, OneHotCategorical])
def test_a_certain_outcome_and_one_that_neither_shows_are_no_zeros(family):
    rows = [[0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5], [0.2, 0.3, 0.0, 0.5]]
    q = family(torch.tensor(rows))
    assert kl_monte_carlo(q, q, 100).value.tolist() == [0, 0, 0]


# closed forms


def test_gaussian_is_that_of_torch():
    p, q = gaussians()
    close(kl_gaussian(p, q), kl_divergence(p, q))
    close(kl_gaussian(q, p), kl_divergence(q, p))


def test_gaussian_by_hand():
    assert kl_gaussian(normal(0, 1), normal(1, 2)).item() == pytest.approx(math.log(2) - 1 / 4)
    assert kl_gaussian(normal(1, 2), normal(0, 1)).item() == pytest.approx(2 - math.log(2))
    assert kl_gaussian(normal(3, 0.1), normal(3, 0.1)).abs() < 1e-15


def test_standard_normal_is_the_general_formula():
    p, _ = gaussians()
    close(kl_standard_normal(p.mean, p.stddev), kl_divergence(p, normal(0, 1)))


def test_the_term_that_trains_is_the_standard_normal_one_without_its_checks():
    mu, log_variance = 3 * double(2, 40)
    close(kl_term(mu, log_variance), kl_standard_normal(mu, (log_variance / 2).exp()))
    assert kl_term(torch.zeros(()), torch.tensor(-1e4)) == 0.5 * (1e4 - 1)  # σ itself is 0 here
    assert kl_term(torch.tensor(math.nan), torch.zeros(())).isnan()
    assert torch.autograd.gradcheck(kl_term, (mu.requires_grad_(), log_variance.requires_grad_()))


def test_diagonal_sums_over_the_last_dimension_alone():
    mu, sigma = double(2, 3, 7), double(2, 3, 7, seed=1).exp()
    q = Independent(Normal(mu, sigma), 1)
    p = Independent(Normal(torch.zeros_like(mu), torch.ones_like(sigma)), 1)
    ours = kl_diagonal(mu, sigma)
    assert ours.shape == (2, 3)
    close(ours, kl_divergence(q, p))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_device_and_broadcast_shape(dtype, device):
    mu = torch.zeros(3, 1, dtype=dtype, device=device)
    sigma = torch.ones(4, dtype=dtype, device=device)
    row = torch.full((3, 1, 4), 0.25, dtype=dtype, device=device)
    for result, shape in (
        (kl_gaussian(Normal(mu, 1.0), Normal(0 * sigma, sigma)), (3, 4)),
        (kl_standard_normal(mu, sigma), (3, 4)),
        (kl_diagonal(mu, sigma), (3,)),
        (kl_discrete(row, row[0]), (3, 1)),
        (kl_estimator(mu, "k3"), (3, 1)),
    ):
        assert (result.dtype, result.device.type, result.shape) == (dtype, device, shape)


def test_gradients():
    p, q = gaussians(20)
    inputs = [t.requires_grad_() for t in (p.mean, p.stddev, q.mean, q.stddev)]
    assert torch.autograd.gradcheck(
        lambda a, b, c, d: kl_gaussian(Normal(a, b), Normal(c, d)), inputs
    )
    assert torch.autograd.gradcheck(kl_standard_normal, inputs[:2])
    assert torch.autograd.gradcheck(kl_diagonal, inputs[:2])
    logits = [double(5, 4, seed=seed).requires_grad_() for seed in (1, 2)]
    assert torch.autograd.gradcheck(lambda a, b: kl_discrete(a.softmax(-1), b.softmax(-1)), logits)


BAD_SIGMA = [0.0, -1.0, math.nan, math.inf]


@pytest.mark.parametrize("sigma", BAD_SIGMA)
def test_a_bad_sigma_is_refused(sigma):
    good, bad = normal(0, 1), normal(0, sigma, validate_args=False)
    for call in (
        lambda: kl_gaussian(bad, good),
        lambda: kl_gaussian(good, bad),
        lambda: kl_standard_normal(bad.mean, bad.stddev),
        lambda: kl_diagonal(bad.mean[None], bad.stddev[None]),
    ):
        with pytest.raises(ValueError, match="σ must be positive and finite"):
            call()


@pytest.mark.parametrize("mu", [math.nan, math.inf, -math.inf])
def test_a_bad_mean_is_refused(mu):
    good, bad = normal(0, 1), normal(mu, 1, validate_args=False)
    for call in (
        lambda: kl_gaussian(bad, good),
        lambda: kl_gaussian(good, bad),
        lambda: kl_standard_normal(bad.mean, bad.stddev),
        lambda: kl_diagonal(bad.mean[None], bad.stddev[None]),
    ):
        with pytest.raises(ValueError, match="μ must be finite"):
            call()


# discrete


def test_discrete_is_that_of_scipy():
    p, q = double(30, 6).softmax(-1), double(30, 6, seed=1).softmax(-1)
    truth = stats.entropy(p.numpy(), q.numpy(), axis=-1)
    assert kl_discrete(p, q).numpy() == pytest.approx(truth, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "q", "truth"),
    [
        ([0.0, 1.0], [0.5, 0.5], math.log(2)),
        ([0.0, 1.0], [0.0, 1.0], 0.0),
        ([0.0, 0.5, 0.5], [0.0, 0.25, 0.75], 0.5 * math.log(2) + 0.5 * math.log(2 / 3)),
        ([0.5, 0.5], [0.0, 1.0], math.inf),
        ([1e-300, 1.0], [0.0, 1.0], math.inf),
    ],
)
def test_zeros(p, q, truth):
    result = kl_discrete(*torch.tensor([p, q], dtype=torch.float64))
    assert result.item() == pytest.approx(truth, abs=1e-15)


def test_the_gradient_in_q_is_finite_where_p_vanishes():
    q = torch.tensor([0.25, 0.75], dtype=torch.float64, requires_grad=True)
    kl_discrete(torch.tensor([0.0, 1.0], dtype=torch.float64), q).backward()
    close(q.grad, torch.tensor([0.0, -4 / 3], dtype=torch.float64))


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ([1.5, -0.5], "negative probability or NaN"),
        ([math.nan, 1.0], "negative probability or NaN"),
        ([0.5, 0.4], "does not sum to 1"),
        ([0.5, 0.501], "does not sum to 1"),
        ([1.0, math.inf], "does not sum to 1"),
        ([], "does not sum to 1"),
        ([1.0], "outcomes"),
    ],
)
def test_what_is_no_distribution_is_refused(row, match):
    good, bad = torch.tensor([0.5, 0.5]), torch.tensor(row)
    with pytest.raises(ValueError, match=match):
        kl_discrete(good, bad)
    with pytest.raises(ValueError, match=match):
        kl_discrete(bad, good)


# quadrature


@pytest.mark.parametrize("seed", range(25))
def test_quadrature_lies_within_its_bound(seed):
    p, q = gaussians(1, spread=1.5, seed=seed)
    result, truth = kl_quadrature(p, q), kl_divergence(p, q)
    assert ((result.value - truth).abs() <= result.error + 1e-13).all()
    assert (result.error < 1e-11 * (1 + truth)).all()


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ((0, 50), (10, 1)),
        ((0, 1), (10, 50)),
        ((0, 0.02), (10, 1)),
        ((0, 1), (10, 0.02)),
        ((-5, 1), (5, 1)),
        ((2, 3), (2, 3)),
    ],
)
def test_quadrature_lies_within_its_bound_in_extreme_settings(p, q):
    p, q = normal(*p), normal(*q)
    result, truth = kl_quadrature(p, q), kl_divergence(p, q)
    assert (result.value - truth).abs() <= result.error + 1e-13
    assert result.error < 1e-12 * (1 + truth)


def test_quadrature_of_a_batch():
    p, q = gaussians()
    result = kl_quadrature(Normal(p.mean[:, None], p.stddev[:, None]), q)
    truth = kl_gaussian(Normal(p.mean[:, None], p.stddev[:, None]), q)
    assert result.value.shape == result.error.shape == (40, 40)
    assert ((result.value - truth).abs() <= result.error + 1e-13).all()


def test_quadrature_of_float32_gaussians_is_computed_in_float64():
    p, q = Normal(torch.tensor(0.1), torch.tensor(1.0)), Normal(torch.tensor(1.0), 2.0)
    result = kl_quadrature(p, q)
    assert result.value.dtype == torch.float64
    assert result.error < 1e-12


# sampling


@pytest.mark.parametrize("log_r", [-3.0, -0.5, 0.0, 0.5, 3.0])
def test_estimators_by_their_formulas(log_r):
    r, log_r = math.exp(log_r), torch.tensor(log_r, dtype=torch.float64)
    close(kl_estimator(log_r, "k1"), -log_r)
    close(kl_estimator(log_r, "k2"), 0.5 * log_r**2)
    close(kl_estimator(log_r, "k3"), r - 1 - log_r)


def test_k3_keeps_its_digits_near_zero():
    log_r = torch.tensor([1e-6, -1e-6], dtype=torch.float64)
    torch.testing.assert_close(kl_estimator(log_r, "k3"), log_r**2 / 2, rtol=1e-5, atol=0)


@pytest.mark.parametrize("which", ["k2", "k3"])
def test_k2_and_k3_are_never_negative(which):
    assert (kl_estimator(3 * double(10_000), which) >= 0).all()


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="choose 'k1', 'k2' or 'k3'"):
        kl_estimator(torch.zeros(()), "k4")


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    delta = torch.linspace(-1.9, 1.9, 20, dtype=torch.float64)
    q, p = Normal(torch.zeros_like(delta), 1.0), Normal(delta, 1.0)
    truth = {which: delta**2 / 2 for which in ("k1", "k3")}
    truth["k2"] = delta**2 / 2 + delta**4 / 8  # E ½(δx − δ²/2)²
    for which, expected in truth.items():
        result = kl_monte_carlo(q, p, 20_000, which=which)
        assert ((result.value - expected).abs() <= 5 * result.standard_error).all(), which


def test_monte_carlo_draws_from_its_first_argument():
    q, p = normal(0, 1), normal(1, 2)
    result = kl_monte_carlo(q, p, 100_000, which="k1")
    assert abs(result.value - kl_divergence(q, p)) < 5 * result.standard_error
    assert abs(result.value - kl_divergence(p, q)) > 50 * result.standard_error


def test_monte_carlo_of_other_distributions():
    rates = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    q, p = Bernoulli(rates), Bernoulli(torch.tensor(0.5, dtype=torch.float64))
    result = kl_monte_carlo(q, p, 20_000, which="k1")
    difference = (result.value - kl_divergence(q, p)).abs()
    assert (difference <= 5 * result.standard_error + 1e-12).all()


def test_the_estimator_taken_by_default_needs_no_support_of_p():
    """Where p has mass that q lacks, E_q r < 1 and k3 is biased: here by ½."""
    zero, one = torch.tensor([0.0, 1.0], dtype=torch.float64)
    q, p = torch.distributions.Uniform(zero, one), torch.distributions.Uniform(zero, 2 * one)
    close(kl_monte_carlo(q, p, 10).value, torch.log(2 * one))
    close(kl_monte_carlo(q, p, 10, which="k3").value, torch.log(2 * one) - 0.5)


def test_monte_carlo_refuses_an_infinite_ratio():
    q, p = normal(0, 1), torch.distributions.HalfNormal(torch.tensor(1.0), validate_args=False)
    with pytest.raises(ValueError, match="q is zero at a sample of p"):
        kl_monte_carlo(q, p, 100)


def test_monte_carlo_refuses_a_q_that_does_not_suit_the_samples():
    one, vector = Normal(0.0, 1.0), Independent(Normal(torch.zeros(1), 1.0), 1)
    for p, q in ((vector, one), (one, vector), (one, Normal(torch.arange(50.0), 1.0))):
        with pytest.raises(ValueError, match="q does not suit the samples"):
            kl_monte_carlo(p, q, 50)


def test_the_same_seed_gives_the_same_estimate():
    one, two, other = (kl_monte_carlo(normal(0, 1), normal(1, 2), 99, seed=s) for s in (1, 1, 2))
    assert one.value == two.value != other.value
