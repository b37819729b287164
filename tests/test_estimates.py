"""Estimates and quadrature against numpy and scipy on the same numbers."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform

from vaekit.estimates import (
    CHUNK,
    Approximation,
    Estimate,
    expectation,
    generator,
    importance,
    integrate,
    integrate_plane,
    maximise,
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
    of = Estimate.of(torch.as_tensor(y))
    for streamed, whole in ((estimate.error, of.error), (estimate.contributions, of.contributions)):
        torch.testing.assert_close(streamed, whole, rtol=1e-9, atol=0)


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
expectation(torch.exp, q, 4 * 10**6)
print((peak() - before) / (1024**2 if sys.platform == "darwin" else 1024))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 20  # MB; the samples alone would take 32


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.72134, 0.00123, "0.7213 ± 0.0012"),
        (-0.72134, 0.00123, "-0.7213 ± 0.0012"),
        (3.14159, 0.5, "3.14 ± 0.50"),
        (1234.56, 12.3, "1235 ± 12"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.5, 1.4e-17, "0.5 ± 1.4e-17"),
        (0.5, math.inf, "0.5 ± inf"),
        (0.5, math.nan, "0.5 ± nan"),
        (1e-9, 2.34e-11, "0.000000001000 ± 0.000000000023"),
    ],
)
def test_with_error_shows_two_digits_of_the_error(value, error, text):
    assert with_error(value, error) == text


def test_an_estimate_shows_itself():
    one = Estimate(torch.tensor(0.72134), torch.tensor(0.00123), 100, torch.tensor(30.0))
    assert str(one) == repr(one) == "0.7213 ± 0.0012"
    assert "3 estimates of 100 samples" in str(Estimate.of(double(100, 3)))
    assert str(Approximation(torch.ones(3), torch.ones(3))) == "3 values, errors up to 1"


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
    result = integrate(f, lower, upper)
    assert abs(result.value.item() - truth) <= result.error.item() + 1e-14
    assert result.error.item() < 1e-10
    assert (result.error.item() > 0) == (lower != upper)


def test_every_entry_is_integrated_at_once():
    power = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    result = integrate(lambda x: x**power, 0.0, 1.0)
    torch.testing.assert_close(result.value, 1 / (power + 1), rtol=0, atol=1e-14)
    assert result.error.shape == (2, 3)


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1.0, 1e6, 1e9])
@pytest.mark.parametrize("ends", [(-1.0, 1.0), (-math.inf, math.inf), (0.0, math.inf)])
def test_a_batch_whose_sizes_differ_keeps_the_digits_of_each(factor, ends):
    """The small one is narrow, off the centre and of changing sign where the large one is broad."""
    low, high = (torch.tensor(end, dtype=torch.float64) for end in ends)

    def f(x):
        small = 20 * (x - 0.3)
        return torch.stack([torch.exp(-(x**2)), factor * (small + 1) * torch.exp(-(small**2))])

    def mass(low, high):
        return math.sqrt(math.pi) / 2 * (torch.erf(high) - torch.erf(low))

    a, b = 20 * (low - 0.3), 20 * (high - 0.3)
    odd = (torch.exp(-(a**2)) - torch.exp(-(b**2))) / 2
    truth = torch.stack([mass(low, high), factor * (odd + mass(a, b)) / 20])
    result = integrate(f, *ends)
    assert ((result.value - truth).abs() <= result.error + 1e-13 * truth).all()
    assert (result.error < 1e-10 * truth).all()


def test_f_gets_a_float64_tensor_and_may_carry_gradients():
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def f(x):
        assert (x.dtype, x.shape) == (torch.float64, ())
        return scale * x

    assert integrate(f, 0.0, 1.0).value.item() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("f", "ends"),
    [
        (lambda x: 1 / x, (0.0, 1.0)),
        (lambda x: 1 / x, (-1.0, 1.0)),
        (lambda x: 1 / x, (1.0, math.inf)),
        (lambda x: x**-1.5, (0.0, 1.0)),
        (torch.ones_like, (0.0, math.inf)),
        (lambda x: x.expand(3) ** 0, (-math.inf, math.inf)),
        (torch.log, (-1.0, 1.0)),
        (lambda x: x * math.nan, (0.0, 1.0)),
    ],
)
def test_an_integral_that_is_not_finite_is_refused(f, ends):
    with pytest.raises(ValueError, match="not finite"):
        integrate(f, *ends)


# arithmetic


def near(truth: torch.Tensor, seed: int) -> Approximation:
    """An approximation of `truth` that uses up to all of its error."""
    error = double(*truth.shape, seed=seed).exp() / 100
    return Approximation(truth + error * double(*truth.shape, seed=seed + 1).clamp(-1, 1), error)


@pytest.mark.parametrize(
    "formula",
    [
        lambda a, b, t: a + b,
        lambda a, b, t: a - b,
        lambda a, b, t: a * b,
        lambda a, b, t: a * a - a,
        lambda a, b, t: -a / 3,
        lambda a, b, t: a / t,
        lambda a, b, t: t * a + t - (b - t),
        lambda a, b, t: 2 - a,
        lambda a, b, t: (a * a + 0.5).log(),
        lambda a, b, t: (a * b).sum(-1),
        lambda a, b, t: (a + b).sum(0),
        lambda a, b, t: a[3] * b[:, 2],
        lambda a, b, t: a[..., None] * t[:, :1],
        lambda a, b, t: a / torch.arange(1, 31),
    ],
)
def test_the_truth_stays_within_the_bounds(formula):
    for seed in range(0, 40, 4):
        a, b, t = double(3, 30, 30, seed=seed)
        result, truth = formula(near(a, seed), near(b, seed + 2), t), formula(a, b, t)
        assert result.value.shape == result.error.shape == truth.shape
        assert ((result.value - truth).abs() <= result.error + 1e-12 * (1 + truth.abs())).all()


def test_bounds_are_reached():
    a = Approximation(torch.tensor([2.0, -3.0]), torch.tensor([0.5, 0.1]))
    for result, error in (
        (a + a, [1.0, 0.2]),
        (a - 1, [0.5, 0.1]),
        (a * a, [2.25, 0.61]),
        (4 * a / 2, [1.0, 0.2]),
        (a[:1].log(), [math.log(2 / 1.5)]),
        (1 / a, [1 / 1.5 - 1 / 2, 1 / 2.9 - 1 / 3]),
        (a.sum(), 0.6),
    ):
        torch.testing.assert_close(result.error, torch.tensor(error))


def test_the_error_of_a_sum_of_dependent_estimates_does_not_cancel():
    x = double(1000)
    once, twice = Estimate.of(x), Estimate.of(2 * x)
    for sum_ in (once + once, 2 * once, once - -once):
        torch.testing.assert_close(sum_.error, twice.error)
    assert (once - once).error == 2 * once.error  # no less than the truth, which is zero
    both = Estimate.of(torch.stack([x, x**2], 1))
    assert (both.sum().error >= Estimate.of(x + x**2).error).all()
    assert (both.sum().n, both[0].n) == (1000, 1000)


def test_what_is_made_of_estimates_is_trusted_as_little_as_the_least():
    light, heavy = Estimate.of(double(9000)), Estimate.of(double(500) ** 5)
    assert 2500 < light.contributions < 3500  # a Gaussian's kurtosis is 3
    assert heavy.contributions < 100
    for mixed in (light + heavy, heavy * light, light[None] - heavy):
        assert type(mixed) is Estimate
        assert mixed.n == 500
        torch.testing.assert_close(mixed.contributions.squeeze(), heavy.contributions)
    both = Estimate.of(torch.stack([double(500), double(500) ** 5], 1))
    torch.testing.assert_close(both.sum().contributions, heavy.contributions)
    torch.testing.assert_close(both[[1, 0]].contributions, both.contributions.flip(0))
    assert both[0].contributions == both.contributions[0]
    assert (3 * light).log().contributions == light.contributions if light.value > 0 else True


def test_a_standard_error_never_passes_for_a_bound():
    sampled, bound = Estimate.of(double(100)), Approximation(torch.ones(()), torch.tensor(0.25))
    for result in (sampled + bound, bound + sampled, bound - sampled, bound * sampled):
        assert type(result) is Estimate
        assert result.contributions == sampled.contributions
    torch.testing.assert_close((bound + sampled).error, sampled.error + 0.25)


def test_the_error_of_a_logarithm_is_that_of_repeated_runs():
    x = 3 + 1.5 * double(4000, 2000)  # 2000 estimates of 3, each from 4000 samples
    logs = Estimate.of(x).log()
    assert logs.error.mean().item() == pytest.approx(logs.value.std().item(), rel=0.06)


@pytest.mark.parametrize("bad", ["log", "text", "list", "quotient"])
def test_what_has_no_known_error_is_refused(bad):
    number = Approximation(torch.tensor(0.1), torch.tensor(0.1))
    with pytest.raises(ValueError if bad == "log" else TypeError):
        {
            "log": number.log,
            "text": lambda: number + "1",
            "list": lambda: [1.0] * number,
            "quotient": lambda: number / number,
        }[bad]()
    with pytest.raises(ValueError, match="positive"):
        Estimate.of(torch.tensor([-1.0, 0.5])).log()


def test_a_generator_is_made_of_a_seed_or_taken_as_it_is():
    made = generator(5)
    assert made.initial_seed() == 5
    assert generator(made) is made


def test_of_refuses_what_has_no_standard_error():
    for values in (torch.tensor(1.0), torch.ones(1, 3)):
        with pytest.raises(ValueError, match="at least 2 values"):
            Estimate.of(values)
    with pytest.raises(ValueError, match="NaN or an infinite value"):
        Estimate.of(torch.tensor([1.0, math.inf]))
    assert Estimate.of(torch.tensor([True, False])).value == 0.5
    assert Estimate.of(torch.ones(5)).contributions == math.inf


def test_estimates_are_stacked_without_losing_their_tails():
    a, b = Estimate.of(torch.randn(500)), Estimate.of(torch.randn(300, 1)[:, 0] ** 5)
    both = Estimate.stack([a, b])
    assert torch.equal(both.value, torch.stack([a.value, b.value]))
    assert torch.equal(both.error, torch.stack([a.error, b.error]))
    assert torch.equal(both.contributions, torch.stack([a.contributions, b.contributions]))
    assert both.n == 300


def test_maximise_climbs_every_value_at_once():
    centre = torch.rand(5, 3, dtype=torch.float64)
    found = maximise(lambda t: 2 - (t - centre).square().sum(-1), torch.zeros(5, 3).double())
    assert (found.value - 2).abs().max() < 1e-9
    assert (found.error == 1e-6).all()
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    maximise(lambda t: -(t - weight).square(), torch.zeros(2).double())
    assert weight.grad is None
    with pytest.raises(ValueError, match="has not come to an end"):
        maximise(lambda t: t.sum(-1), torch.zeros(5, 3).double())


def test_an_integral_over_the_plane_knows_its_error():
    width = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    area = integrate_plane(
        lambda z: torch.exp(-(z / width[:, None]).square().sum(-1) / 2), limit=20
    )
    truth = 2 * math.pi * width**2
    assert area.value.shape == (3,)
    torch.testing.assert_close(area.value, truth, rtol=1e-12, atol=0)
    assert (area.error < 1e-10).all()
    odd = integrate_plane(lambda z: torch.exp(-z.square().sum(-1)), limit=8.1)  # 81 steps a side
    assert abs(odd.value - math.pi) < 1e-12 and odd.error < 1e-10
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


# another distribution's samples


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_turn_samples_of_q_into_those_of_p(dtype):
    mu, sd = double(20).to(dtype) / 2, 0.5 + double(20).sigmoid().to(dtype)
    p, q = Normal(mu, sd), Normal(mu + 0.3, 1.5 * sd)
    found = importance(lambda x: x**2, p, q, 20_000, seed=1)
    assert (found.value.shape, found.value.dtype, found.n) == ((20,), dtype, 20_000)
    assert found.contributions.min() > 1000
    assert ((found.value - p.variance - p.mean**2).abs() < 5 * found.error).all()
    one = importance(lambda x: torch.ones_like(x), p, p, 100)
    assert (one.value == 1).all() and (one.error == 0).all()


def test_vectors_are_weighted_as_wholes():
    p = Independent(Normal(torch.zeros(3).double(), 1.0), 1)
    q = Independent(Normal(torch.zeros(3).double(), 1.2), 1)
    found = importance(lambda x: x.square().sum(-1), p, q, 50_000)
    assert abs(found.value - 3) < 5 * found.error


def test_where_p_is_zero_a_sample_counts_nothing():
    p, q = Uniform(0.0, 1.0, validate_args=False), Uniform(0.0, 2.0)
    found = importance(lambda x: x, p, q, 10_000)
    assert abs(found.value - 0.5) < 5 * found.error
    missed = importance(lambda x: x, q, Uniform(0.0, 0.5), 10_000)  # q misses most of p
    assert abs(missed.value - 1 / 16) < 5 * missed.error


def test_a_narrow_proposal_shows_in_its_contributions():
    p = Normal(torch.zeros(5, dtype=torch.float64), 1.0)
    narrow, wide = (Normal(torch.zeros(5).double(), sd) for sd in (0.6, 1.5))
    assert importance(torch.square, p, narrow, 10_000).contributions.max() < 100
    assert importance(torch.square, p, wide, 10_000).contributions.min() > 1000


def test_importance_refuses_what_it_cannot_weigh():
    p = Normal(torch.tensor(0.0), 1.0)
    with pytest.raises(ValueError, match="NaN or an infinite value"):
        importance(torch.log, p, p, 100)
    with pytest.raises(ValueError, match="at least 2 samples"):
        importance(torch.exp, p, p, 1)
    vector = Independent(Normal(torch.zeros(1), 1.0), 1)
    with pytest.raises(ValueError, match=r"f must give one value for each sample, shape \(50,\)"):
        importance(torch.square, vector, vector, 50)
    one = importance(lambda x: 1.0, p, Normal(torch.tensor(0.0), 2.0), 10_000)
    assert abs(one.value - 1) < 6 * one.error
    for other in (vector, Normal(torch.zeros(50), 1.0)):  # of 50 samples as many as of settings
        with pytest.raises(ValueError, match="p does not suit the samples"):
            importance(torch.square, other, p, 50)
