"""The Gaussian written out, against scipy and torch.distributions."""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from vaekit.gaussian import entropy, log_prob

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
