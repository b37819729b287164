"""The Gaussian written out, against scipy and torch.distributions."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from vaekit.gaussian import (
    entropy,
    interval_probability,
    log_prob,
    maximum_likelihood,
    product,
)

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def settings(n: int = 50, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x, μ and σ: σ over four orders of magnitude, x at up to some ten σ."""
    g = torch.Generator().manual_seed(seed)
    mu, spread, distance = torch.randn(3, n, generator=g, dtype=torch.float64)
    sigma = torch.exp(2 * spread)
    return mu + 4 * sigma * distance, 3 * mu, sigma


def test_log_density_is_that_of_scipy_and_torch():
    x, mu, sigma = settings()
    ours = log_prob(x, mu, sigma)
    truth = stats.norm.logpdf(x.numpy(), mu.numpy(), sigma.numpy())
    assert ours.numpy() == pytest.approx(truth, rel=1e-12, abs=1e-12)
    torch.testing.assert_close(ours, Normal(mu, sigma).log_prob(x), rtol=1e-12, atol=1e-12)


def test_entropy_is_that_of_scipy_and_torch():
    _, mu, sigma = settings()
    ours = entropy(sigma)
    assert ours.numpy() == pytest.approx(stats.norm.entropy(0, sigma.numpy()), rel=1e-12, abs=1e-12)
    torch.testing.assert_close(ours, Normal(mu, sigma).entropy(), rtol=1e-12, atol=1e-12)


def test_entropy_changes_sign_where_its_docstring_says():
    assert entropy(torch.tensor(0.2420)) > 0 > entropy(torch.tensor(0.2419))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_device_and_broadcast_shape(dtype, device):
    x = torch.zeros(5, 1, 1, dtype=dtype, device=device)
    mu = torch.zeros(3, 1, dtype=dtype, device=device)
    sigma = torch.ones(4, dtype=dtype, device=device)
    for result, shape in ((log_prob(x, mu, sigma), (5, 3, 4)), (entropy(sigma), (4,))):
        assert (result.dtype, result.device.type, result.shape) == (dtype, device, shape)


def test_gradients():
    inputs = [t[:20].requires_grad_() for t in settings()]
    assert torch.autograd.gradcheck(log_prob, inputs)
    assert torch.autograd.gradcheck(entropy, inputs[2:])


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_sigma_is_refused(sigma):
    sigma = torch.tensor([1.0, sigma])
    with pytest.raises(ValueError, match="σ must be positive and finite"):
        log_prob(torch.zeros(()), torch.zeros(()), sigma)
    with pytest.raises(ValueError, match="σ must be positive and finite"):
        entropy(sigma)


@pytest.mark.parametrize("mu", [math.nan, math.inf, -math.inf])
def test_a_bad_mean_is_refused(mu):
    with pytest.raises(ValueError, match="μ must be finite"):
        log_prob(torch.zeros(()), torch.tensor([0.0, mu]), torch.ones(()))


def gaussians(n: int = 40, dtype: torch.dtype = torch.float64) -> tuple[Normal, Normal]:
    """Return two batches of Gaussians, σ over four orders of magnitude."""
    _, mu, sigma = settings(2 * n, seed=1)
    p, q = zip(mu.to(dtype).split(n), sigma.to(dtype).split(n), strict=True)
    return Normal(*p), Normal(*q)


def test_interval_probability_is_that_of_scipy():
    x, mu, sigma = settings()
    upper = x + sigma
    ours = interval_probability(x, upper, mu, sigma)
    a, b = ((end - mu) / sigma for end in (x, upper))
    right = a > 0  # where scipy's survival function keeps its digits, as its cdf does on the left
    truth = torch.where(
        right,
        torch.from_numpy(stats.norm.sf(a) - stats.norm.sf(b)),
        torch.from_numpy(stats.norm.cdf(b) - stats.norm.cdf(a)),
    )
    torch.testing.assert_close(ours, truth, rtol=1e-10, atol=0)


def test_interval_probability_in_the_tail_and_without_ends():
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    left = interval_probability(-10 * one, -9 * one, zero, one)
    right = interval_probability(9 * one, 10 * one, zero, one)
    assert left == right == pytest.approx(stats.norm.sf(9) - stats.norm.sf(10), rel=1e-12)
    inf = torch.tensor(math.inf)
    assert interval_probability(-inf, inf, zero, one) == 1
    assert interval_probability(zero, inf, zero, one) == 0.5
    assert interval_probability(one, one, zero, one) == 0


@pytest.mark.parametrize("ends", [(1.0, 0.0), (math.nan, 0.0), (0.0, math.nan)])
def test_an_interval_the_wrong_way_round_is_refused(ends):
    lower, upper = (torch.tensor([0.0, end]) for end in ends)
    with pytest.raises(ValueError, match="lower ≤ upper"):
        interval_probability(lower, upper, torch.zeros(()), torch.ones(()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maximum_likelihood_is_that_of_scipy(dtype):
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(2), dtype=dtype)
    best = maximum_likelihood(x)
    assert best.mean.dtype == dtype and best.batch_shape == (4,)
    fits = torch.tensor([stats.norm.fit(column.numpy()) for column in x.T])
    torch.testing.assert_close(best.mean, fits[:, 0].to(dtype), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(best.stddev, fits[:, 1].to(dtype), rtol=1e-5, atol=1e-6)


def test_maximum_likelihood_refuses_what_has_none():
    for x in (torch.tensor(1.0), torch.ones(1), torch.tensor([[0.1, 2.0], [0.1, 3.0]])):
        with pytest.raises(ValueError, match="do not vary"):
            maximum_likelihood(x)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="must be finite"):
            maximum_likelihood(torch.tensor([0.0, bad]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_product_is_the_product(dtype):
    p, q = gaussians(dtype=dtype)
    both, log_constant = product(p, q)
    assert both.mean.dtype == log_constant.dtype == dtype
    x = both.mean + both.stddev * torch.linspace(-3, 3, 40, dtype=dtype)
    wide = [Normal(d.mean.double(), d.stddev.double()).log_prob(x.double()) for d in (p, q)]
    ours = (both.log_prob(x) + log_constant).double()
    close = 1e-10 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(ours, sum(wide), rtol=close, atol=close)


def test_product_refuses_a_bad_sigma():
    good, bad = Normal(0.0, 1.0), Normal(0.0, -1.0, validate_args=False)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match="σ must be positive"):
            product(*pair)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interval_probability_keeps_dtype_and_broadcasts(dtype, device):
    lower = torch.zeros(3, 1, dtype=dtype, device=device)
    upper = torch.ones((), dtype=dtype, device=device)
    sigma = torch.ones(4, dtype=dtype, device=device)
    result = interval_probability(lower, upper, torch.zeros_like(upper), sigma)
    assert (result.dtype, result.device.type, result.shape) == (dtype, device, (3, 4))
    assert result.cpu().numpy() == pytest.approx(stats.norm.cdf(1) - 0.5, rel=1e-6)
