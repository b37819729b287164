"""Estimates and quadrature against numpy and scipy on the same numbers."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal

from vaekit.estimates import (
    CHUNK,
    Approximation,
    Estimate,
    expectation,
    integrate,
    integrate_plane,
    seeded,
    with_error,
)

ROOT = Path(__file__).parent.parent
DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 3, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17])
@pytest.mark.parametrize(
    "distribution",
    [
        Normal(torch.tensor(2.0, dtype=torch.float64), 3.0),
        Normal(double(3, 1), double(4).exp()),
        Independent(Normal(double(2, 5), double(2, 5, seed=1).exp()), 1),
    ],
    ids=["scalar", "batch", "event"],
)
def test_mean_and_standard_error_are_those_of_the_samples(distribution, n):
    seen = []

    def f(x):
        seen.append(x)
        return (x.sum(-1) if distribution.event_shape else x).sin()

    estimate = expectation(f, distribution, n, seed=5)
    assert max(x.numel() for x in seen) <= CHUNK
    x = torch.cat(seen)
    y = (x.sum(-1) if distribution.event_shape else x).sin().numpy()
    assert estimate.n == n == len(y)
    assert estimate.value.shape == distribution.batch_shape
    assert estimate.value.numpy() == pytest.approx(y.mean(0), rel=1e-11, abs=1e-13)
    assert estimate.standard_error.numpy() == pytest.approx(stats.sem(y), rel=1e-9)


def test_a_large_mean_costs_no_digits_of_the_standard_error():
    q = Normal(torch.tensor(1e8, dtype=torch.float64), 1.0)
    estimate = expectation(lambda x: x, q, 100_000)
    assert estimate.standard_error * math.sqrt(100_000) == pytest.approx(1, abs=0.02)


def test_f_may_map_to_another_shape():
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    q = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    estimate = expectation(lambda x: x[:, :, None] * x[:, None, :], q, 200_000)
    assert estimate.value.shape == (2, 2)
    assert ((estimate.value - covariance).abs() < 5 * estimate.standard_error).all()


def test_interval_of_95_per_cent_covers_that_often():
    repetitions, n = 2000, 1000
    q = Normal(torch.zeros(repetitions, dtype=torch.float64), 1.0)
    estimate = expectation(lambda x: x**2, q, n)
    covered = ((estimate.value - 1).abs() <= 1.96 * estimate.standard_error).double().mean().item()
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / repetitions)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_device_are_those_of_the_distribution(dtype, device):
    q = Normal(torch.zeros(3, dtype=dtype, device=device), 1.0)
    estimate = expectation(torch.exp, q, 100)
    for tensor in (estimate.value, estimate.standard_error):
        assert (tensor.dtype, tensor.device.type) == (dtype, device)


@pytest.mark.parametrize("device", DEVICES)
def test_seed_decides_the_samples_and_leaves_the_global_generator_alone(device):
    q = Normal(torch.zeros((), device=device), 1.0)
    torch.manual_seed(1)
    expected = torch.rand(3, device=device)
    torch.manual_seed(1)
    first, again, other = (expectation(torch.exp, q, 100, seed=s) for s in (7, 7, 8))
    assert torch.equal(torch.rand(3, device=device), expected)
    assert torch.equal(first.value, again.value)
    assert torch.equal(first.standard_error, again.standard_error)
    assert not torch.equal(first.value, other.value)


def test_seeded_gives_the_state_back_after_an_error():
    before = torch.random.get_rng_state()
    with pytest.raises(KeyError), seeded(3):
        torch.rand(1)
        raise KeyError
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_estimate_carries_no_gradient():
    scale = torch.tensor(1.0, requires_grad=True)
    assert not expectation(lambda x: scale * x, Normal(0.0, 1.0), 10).value.requires_grad


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_fewer_than_two_samples_are_refused(n):
    with pytest.raises(ValueError, match="at least 2 samples"):
        expectation(torch.exp, Normal(0.0, 1.0), n)


@pytest.mark.parametrize("f", [torch.log, lambda x: 1 / x.clamp(min=0)], ids=["nan", "inf"])
@pytest.mark.parametrize("n", [100, 2 * CHUNK])
def test_nan_and_infinite_values_of_f_are_refused(f, n):
    with pytest.raises(ValueError, match="NaN or an infinite value"):
        expectation(f, Normal(0.0, 1.0), n)


def test_one_infinite_value_in_a_late_piece_is_refused():
    def f(x):
        return torch.where(torch.arange(len(x)) == 5, math.inf, x) if len(x) < CHUNK else x

    with pytest.raises(ValueError, match="NaN or an infinite value"):
        expectation(f, Normal(0.0, 1.0), CHUNK + 10)


@pytest.mark.parametrize("f", [torch.mean, lambda x: x[:-1], lambda x: x.T])
def test_f_must_give_one_value_per_sample(f):
    with pytest.raises(ValueError, match="one value per sample"):
        expectation(f, Normal(torch.zeros(3), 1.0), 1000)


def test_memory_does_not_grow_with_n():
    code = """
import resource, sys, torch
from torch.distributions import Normal
from vaekit.estimates import expectation
torch.set_num_threads(1)
q = Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
expectation(torch.exp, q, 10**5)
before = peak()
expectation(torch.exp, q, 10**7)
print((peak() - before) / (1024**2 if sys.platform == "darwin" else 1024))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 20  # MB; the samples alone would take 80


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.72134, 0.00123, "0.7213 ± 0.0012"),
        (-0.72134, 0.00123, "-0.7213 ± 0.0012"),
        (3.14159, 0.5, "3.14 ± 0.50"),
        (1234.56, 12.3, "1235 ± 12"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.5, math.inf, "0.5 ± inf"),
        (0.5, math.nan, "0.5 ± nan"),
        (1e-9, 2.34e-11, "0.000000001000 ± 0.000000000023"),
    ],
)
def test_with_error_shows_two_digits_of_the_error(value, error, text):
    assert with_error(value, error) == text


def test_an_estimate_shows_itself():
    one = Estimate(torch.tensor(0.72134), torch.tensor(0.00123), 100)
    assert str(one) == repr(one) == "0.7213 ± 0.0012"
    assert "3 estimates of 100 samples" in str(Estimate(torch.ones(3), torch.ones(3), 100))


@pytest.mark.parametrize(
    ("f", "lower", "upper", "truth"),
    [
        (torch.exp, 0.0, 1.0, math.e - 1),
        (torch.sin, 0.0, math.pi, 2.0),
        (lambda x: torch.exp(-(x**2) / 2), -math.inf, math.inf, math.sqrt(2 * math.pi)),
        (lambda x: torch.exp(-x), 0.0, math.inf, 1.0),
        (torch.sqrt, 0.0, 1.0, 2 / 3),
        (lambda x: 1 / torch.sqrt(x), 0.0, 1.0, 2.0),
        (lambda x: torch.exp(-10000 * x**2), -1.0, 1.0, math.sqrt(math.pi) / 100),
        (torch.cos, 0.0, 0.0, 0.0),
        (torch.exp, 1.0, 0.0, 1 - math.e),
    ],
)
def test_integrals_lie_within_their_bound(f, lower, upper, truth):
    result = integrate(lambda x: f(torch.tensor(x, dtype=torch.float64)), lower, upper)
    assert abs(result.value.item() - truth) <= result.error.item() + 1e-14
    assert result.error.item() < 1e-10
    assert (result.error.item() > 0) == (lower != upper)


def test_every_entry_is_integrated_at_once():
    power = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    result = integrate(lambda x: x**power, 0.0, 1.0)
    torch.testing.assert_close(result.value, 1 / (power + 1), rtol=0, atol=1e-14)
    assert result.error.shape == (2, 3)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("f", "lower"), [(lambda x: 1 / x, 0.0), (lambda x: 1 / x, -1.0), (torch.log, -1.0)]
)
def test_an_integral_that_is_not_finite_is_refused(f, lower):
    with pytest.raises(ValueError, match="not finite"):
        integrate(lambda x: f(torch.tensor(x, dtype=torch.float64)), lower, 1.0)


def test_an_integral_over_the_plane_knows_its_error():
    width = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    area = integrate_plane(
        lambda z: torch.exp(-(z / width[:, None]).square().sum(-1) / 2), limit=20
    )
    truth = 2 * math.pi * width**2
    assert area.value.shape == (3,)
    assert ((area.value - truth).abs() <= area.error + 1e-12 * truth).all()
    # a coarse grid is wrong, and says so
    coarse = integrate_plane(lambda z: torch.exp(-50 * z.square().sum(-1)), step=0.4)
    assert (coarse.value - math.pi / 50).abs() <= coarse.error


def test_a_number_divided_by_an_approximation():
    a = Approximation(torch.tensor([2.0, -4.0]), torch.tensor([0.5, 1.0]))
    b = 3 / a
    assert torch.allclose(b.value, torch.tensor([1.5, -0.75]))
    for end in (a.value + a.error, a.value - a.error):
        assert ((3 / end - b.value).abs() <= b.error + 1e-6).all()
    with pytest.raises(ValueError, match="denominator"):
        1 / Approximation(torch.tensor(0.1), torch.tensor(0.2))


def test_an_approximation_and_an_estimate_make_an_estimate():
    a = Approximation(torch.tensor(2.0), torch.tensor(0.1))
    b = Estimate.of(torch.tensor([1.0, 2.0, 3.0]))
    for mixed in (a - b, b - a, a + b, a * b, b * a):
        assert isinstance(mixed, Estimate) and mixed.n == 3
    assert (a - b).error == a.error + b.error
