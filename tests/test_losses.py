"""The losses, against torch.distributions; and what `audit` says of published losses and mutants.

The published losses are in words of our own. A mutant is one of them with one thing spoiled.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, ContinuousBernoulli, Independent, Normal, kl_divergence

from vaekit.divergence import kl_term
from vaekit.estimates import Estimate
from vaekit.likelihoods import GaussianLikelihood
from vaekit.losses import (
    NONE,
    audit,
    bernoulli_loss,
    best_variance,
    continuous_bernoulli_loss,
    gaussian_loss,
    kl_one_sample,
    kl_one_sample_variance,
)

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def batch(dtype=torch.float64, B=5, D=7, K=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    r, x = torch.rand(2, B, D, generator=g, dtype=torch.float64)
    mu, log_variance = torch.randn(2, B, K, generator=g, dtype=torch.float64)
    return [t.to(dtype) for t in (r, x, mu, log_variance)]


def kl(mu, log_variance):
    return kl_divergence(Normal(mu, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(-1)


# the losses


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_agree_with_torch(dtype, device):
    r, x, mu, log_variance = (t.to(device) for t in batch(dtype))
    bits = x.round()
    pairs = [
        (gaussian_loss(r, x, mu, log_variance, variance=0.3, beta=2.0), 2.0,
         Normal(r, math.sqrt(0.3)).log_prob(x)),
        (bernoulli_loss(r, bits, mu, log_variance), 1.0, Bernoulli(logits=r).log_prob(bits)),
        (continuous_bernoulli_loss(r, x, mu, log_variance, beta=0.5), 0.5,
         ContinuousBernoulli(logits=r).log_prob(x)),
    ]  # fmt: skip
    for ours, beta, log_prob in pairs:
        theirs = (beta * kl(mu, log_variance) - log_prob.sum(-1)).mean()
        assert ours.dtype == dtype and ours.device == r.device and ours.shape == ()
        torch.testing.assert_close(ours, theirs, rtol=2e-5 if dtype == torch.float32 else 1e-8,
                                   atol=0)  # fmt: skip


def test_gaussian_loss_takes_a_variance_for_each_dimension():
    r, x, mu, log_variance = batch()
    variance = torch.linspace(0.1, 2, 7, dtype=torch.float64)
    theirs = kl(mu, log_variance) - Independent(Normal(r, variance.sqrt()), 1).log_prob(x)
    ours = gaussian_loss(r, x, mu, log_variance, variance=variance)
    torch.testing.assert_close(ours, theirs.mean())


def test_the_loss_is_that_of_the_likelihood_that_trains():
    r, x, mu, log_variance = batch(torch.float32)
    log_prob = GaussianLikelihood(0.3).log_prob(r, x)
    ours = gaussian_loss(r, x, mu, log_variance, variance=0.3)
    torch.testing.assert_close(ours, (kl_term(mu, log_variance).sum(-1) - log_prob).mean())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({0: math.nan}, "mean holds NaN"),
        ({1: math.inf}, "x holds NaN or inf"),
        ({2: math.nan}, "mu holds NaN"),
        ({3: -math.inf}, "log_variance holds"),
    ],
)
def test_nan_is_refused_by_name(change, said):
    arguments = batch()
    for i, value in change.items():
        arguments[i][0, 0] = value
    with pytest.raises(ValueError, match=said):
        gaussian_loss(*arguments)


def test_bad_shapes_and_numbers_are_refused():
    r, x, mu, log_variance = batch()
    with pytest.raises(ValueError, match=r"mean and x must have one shape \(M, D\)"):
        gaussian_loss(r[:, :3], x, mu, log_variance)
    with pytest.raises(ValueError, match=r"mu and log_variance must have one shape \(5, K\)"):
        gaussian_loss(r, x, mu, log_variance[:, :2])
    with pytest.raises(ValueError, match="mu and log_variance"):
        bernoulli_loss(r, x, mu[:2], log_variance[:2])
    with pytest.raises(ValueError, match=r"variance must have shape \(\) or \(\d,\), got \(5, 1\)"):
        gaussian_loss(r, x, mu, log_variance, variance=torch.ones(5, 1))
    with pytest.raises(ValueError, match="variance must be positive"):
        gaussian_loss(r, x, mu, log_variance, variance=-1.0)
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        bernoulli_loss(r, 2 * x + 1, mu, log_variance)
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        continuous_bernoulli_loss(r, -x, mu, log_variance)


def test_best_variance():
    r, x, *_ = batch()
    torch.testing.assert_close(best_variance(r, x), F.mse_loss(r, x))
    with pytest.raises(ValueError, match="mean has shape"):
        best_variance(r[:2], x)
    with pytest.raises(ValueError, match="x holds NaN"):
        best_variance(r, x * math.nan)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kl_of_one_sample(dtype):
    *_, mu, log_variance = batch(dtype)
    g = torch.Generator().manual_seed(1)
    epsilon = torch.randn(200_000, *mu.shape, generator=g, dtype=dtype)
    q, z = Normal(mu, (log_variance / 2).exp()), mu + (log_variance / 2).exp() * epsilon
    sampled = kl_one_sample(mu, log_variance, epsilon)
    tolerance = {"rtol": 1e-4, "atol": 2e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(sampled, q.log_prob(z) - Normal(0.0, 1.0).log_prob(z), **tolerance)
    mean = Estimate.of(sampled)
    assert ((mean.value - kl_term(mu, log_variance)).abs() < 6 * mean.error).all()
    variance = kl_one_sample_variance(mu, log_variance)
    torch.testing.assert_close(sampled.var(0), variance, rtol=0.1, atol=0.01)
    assert kl_one_sample_variance(torch.zeros(2), torch.zeros(2)).tolist() == [0, 0]


# the audit: what published losses are


def divergence(mu, log_variance):
    return 0.5 * (log_variance.exp() + mu**2 - log_variance - 1)


def ce_summed(r, x, mu, lv):
    return F.binary_cross_entropy(r, x, reduction="sum") + divergence(mu, lv).sum()


def ce_averaged(r, x, mu, lv):
    return F.binary_cross_entropy(r, x) + divergence(mu, lv).sum() / x.numel()


def keras_2016(r, x, mu, lv):
    ce = F.binary_cross_entropy(r, x, reduction="none").mean(1)
    return ce + divergence(mu, lv).sum(1)


def jax_digits(h, x, mu, variance):
    signed = torch.where(x > 0, -h, h)
    kl = 0.5 * (variance + mu**2 - variance.log() - 1).sum()
    return (torch.logaddexp(torch.zeros((), dtype=h.dtype), signed).sum() + kl) / len(x)


def mse_weighted(r, x, mu, lv, weight=0.00025):
    return F.mse_loss(r, x) + weight * divergence(mu, lv).sum(1).mean()


def half_squares(r, x, mu, lv):
    return (0.5 * ((r - x) ** 2).sum(1) + divergence(mu, lv).sum(1)).mean()


PUBLISHED = [
    (ce_summed, {"data_shape": 784, "latent": 20}, "Bernoulli, from probabilities", None, 1),
    (ce_averaged, {"data_shape": 784, "latent": 20}, "Bernoulli, from probabilities", None, 1),
    (keras_2016, {"data_shape": 784, "latent": 2}, "Bernoulli, from probabilities", None, 784),
    (jax_digits, {"data_shape": 784, "spread": "variance"}, "Bernoulli, from logits", None, 1),
    (mse_weighted, {"data_shape": (3, 8, 8), "latent": 5}, "Gaussian", 192 * 0.000125, 1),
    (half_squares, {"data_shape": 784, "latent": 16}, "Gaussian", 1, 1),
    (partial(gaussian_loss, variance=0.3, beta=2.0), {}, "Gaussian", 0.3, 2),
    (partial(gaussian_loss, variance=0.3), {"batch": 9}, "Gaussian", 0.3, 1),
    (partial(bernoulli_loss, beta=4.0), {}, "Bernoulli, from logits", None, 4),
    (continuous_bernoulli_loss, {}, "continuous Bernoulli, from logits", None, 1),
]


@pytest.mark.parametrize(("loss", "sizes", "likelihood", "variance", "beta"), PUBLISHED)
def test_what_published_losses_are(loss, sizes, likelihood, variance, beta):
    found = audit(loss, **sizes)
    assert (found.likelihood, found.faults, found.exact) == (likelihood, (), True)
    assert found.beta == pytest.approx(beta, rel=1e-6)
    if variance is None:
        assert found.variance is None
    else:
        assert found.variance == pytest.approx(variance, rel=1e-6)
    assert found.residual < 1e-9
    assert likelihood in str(found) and "exact to rounding" in str(found)


# one thing spoiled in each


def spoiled(error, kl_sum):
    """A loss of a reconstruction error and of something for the KL term, both summed."""

    def loss(r, x, mu, t):
        return error(r, x).sum() + kl_sum(mu, t).sum()

    return loss


ERRORS = {
    "Gaussian": lambda r, x: 0.5 * (r - x) ** 2,
    "Laplace": lambda r, x: (r - x).abs(),
    "Bernoulli, from probabilities": lambda r, x: F.binary_cross_entropy(r, x, reduction="none"),
    "Bernoulli, from logits": lambda h, x: F.softplus(h) - x * h,
    "continuous Bernoulli, from probabilities": lambda r, x: (
        F.binary_cross_entropy(r, x, reduction="none")
        - (2 * torch.atanh(1 - 2 * r) / (1 - 2 * r)).log()
    ),
}

KL_MUTANTS = {
    "ln σ² taken for ln σ": (
        lambda mu, t: 0.5 * ((2 * t).exp() + mu**2 - 2 * t - 1),
        "taken for ln σ, and is ln σ²",
    ),
    "taken for σ²": (lambda mu, t: 0.5 * (t + mu**2 - t.log() - 1), "taken for σ², and is ln σ²"),
    "taken for σ": (
        lambda mu, t: 0.5 * (t**2 + mu**2 - 2 * t.log() - 1),
        "taken for σ, and is ln σ²",
    ),
    "σ where σ² belongs": (lambda mu, t: 0.5 * ((t / 2).exp() + mu**2 - t - 1), "σ stands where"),
    "ln σ where ln σ² belongs": (
        lambda mu, t: 0.5 * (t.exp() + mu**2 - t / 2 - 1),
        "ln σ² has 0.5 times the weight",
    ),
    "ln σ² counted twice": (lambda mu, t: 0.5 * (t.exp() + mu**2 - 2 * t - 1), "2 times"),
    "the ½ of μ² lost": (lambda mu, t: mu**2 + 0.5 * (t.exp() - t - 1), "different weights"),
    "the sign": (lambda mu, t: -divergence(mu, t), "wrong sign: it is subtracted"),
    "ln σ² missing": (lambda mu, t: 0.5 * (t.exp() + mu**2 - 1), "ln σ² is missing"),
    "σ² missing": (lambda mu, t: 0.5 * (mu**2 - t - 1), "σ² is missing"),
    "μ² missing": (lambda mu, t: 0.5 * (t.exp() - t - 1), "μ² is missing"),
    "μ for μ²": (lambda mu, t: 0.5 * (t.exp() + mu - t - 1), "μ² is missing"),
    "a shifted prior": (lambda mu, t: divergence(mu - 1, t), "smallest at μ = 1"),
    "the other direction": (
        lambda mu, t: 0.5 * ((1 + mu**2) * (-t).exp() + t - 1),
        "the other direction",
    ),
    "none": (lambda mu, t: 0 * mu, "there is no KL term"),
    "detached mean": (lambda mu, t: divergence(mu.detach(), t), "does not reach mu"),
    "detached variance": (
        lambda mu, t: divergence(mu, t.detach()),
        "does not reach the last argument",
    ),
    "half a gradient": (
        lambda mu, t: 0.5 * (divergence(mu, t) + divergence(mu.detach(), t)),
        "is not the slope of the value in mu",
    ),
}


@pytest.mark.parametrize("likelihood", ERRORS)
@pytest.mark.parametrize("mutant", KL_MUTANTS)
def test_mutants_of_the_kl_term(likelihood, mutant):
    wrong, said = KL_MUTANTS[mutant]
    found = audit(spoiled(ERRORS[likelihood], wrong))
    assert found.likelihood == likelihood
    assert any(said in fault for fault in found.faults), str(found)
    assert said in str(found)


@pytest.mark.parametrize("likelihood", ERRORS)
def test_without_a_mutation_there_is_no_fault(likelihood):
    found = audit(spoiled(ERRORS[likelihood], divergence))
    assert (found.likelihood, found.faults, found.reads) == (likelihood, (), "log_variance")
    assert found.beta == pytest.approx(1)
    assert found.prior_variance == pytest.approx(1)
    assert found.kl_weight == pytest.approx(1)


@pytest.mark.parametrize(
    ("spread", "kl_of"),
    [
        ("log_variance", divergence),
        ("log_sigma", lambda mu, t: divergence(mu, 2 * t)),
        ("variance", lambda mu, t: divergence(mu, t.log())),
        ("sigma", lambda mu, t: divergence(mu, 2 * t.log())),
    ],
)
def test_what_the_encoder_hands_over(spread, kl_of):
    loss = spoiled(ERRORS["Gaussian"], kl_of)
    assert audit(loss, spread=spread).faults == ()
    assert audit(loss, spread=spread).reads == spread
    other = "sigma" if spread != "sigma" else "log_variance"
    assert "the last argument is taken for" in audit(loss, spread=other).faults[0]


def test_half_missing():
    doubled = audit(spoiled(ERRORS["Gaussian"], lambda mu, t: 2 * divergence(mu, t)))
    assert any("its ½ is missing" in remark for remark in doubled.remarks)
    assert doubled.variance == pytest.approx(2)
    whole = audit(spoiled(lambda r, x: (r - x) ** 2, divergence))
    assert whole.variance == pytest.approx(0.5)
    assert any("no ½ in front" in remark for remark in whole.remarks)


def test_wrong_signs_and_lost_gradients_of_the_reconstruction():
    wrong = audit(spoiled(lambda r, x: -0.5 * (r - x) ** 2, divergence))
    assert "bad reconstructions are rewarded" in wrong.faults[0]
    lost = audit(spoiled(lambda r, x: 0.5 * (r.detach() - x) ** 2, divergence))
    assert lost.faults == ("the gradient does not reach the reconstruction",)
    nothing = audit(lambda r, x, mu, t: half_squares(r, x, mu, t).item())
    assert "no gradient at all" in nothing.faults[0]
    alone = audit(lambda r, x, mu, t: divergence(mu, t).sum())
    assert alone.likelihood == "none" and "no reconstruction term" in alone.faults[0]


REDUCTIONS = {
    ("sum", "sum"): (lambda t: t.sum(), "sum over the batch, sum over the dimensions"),
    ("mean", "sum"): (lambda t: t.sum(1).mean(), "mean over the batch, sum over the dimensions"),
    ("mean", "mean"): (lambda t: t.mean(), "mean over the batch, mean over the dimensions"),
    ("sum", "mean"): (lambda t: t.mean(1).sum(), "sum over the batch, mean over the dimensions"),
}


@pytest.mark.parametrize("first", REDUCTIONS)
@pytest.mark.parametrize("second", REDUCTIONS)
def test_reductions_and_weights(first, second):
    B, D, K, w = 4, 6, 3, 0.7

    def loss(r, x, mu, t):
        error, kl_values = (r - x) ** 2, divergence(mu, t)
        return REDUCTIONS[first][0](error) + w * REDUCTIONS[second][0](kl_values)

    found = audit(loss, batch=B, data_shape=D, latent=K)
    assert found.reconstruction_reduction == REDUCTIONS[first][1]
    assert found.kl_reduction == REDUCTIONS[second][1].replace("dimensions", "latent dimensions")
    a = (1 / B if first[0] == "mean" else 1) * (1 / D if first[1] == "mean" else 1)
    b = w * (1 / B if second[0] == "mean" else 1) * (1 / K if second[1] == "mean" else 1)
    assert found.variance == pytest.approx(b / (2 * a))
    assert found.reconstruction_weight == pytest.approx(1)
    assert found.kl_weight == pytest.approx(w)


def test_the_best_variance_and_the_entropy_of_x_are_known():
    def best(r, x, mu, t):
        return x.shape[1] / 2 * F.mse_loss(r, x).log() + divergence(mu, t).sum(1).mean()

    def less_entropy(r, x, mu, t):
        ce = F.binary_cross_entropy(r, x, reduction="sum")
        return ce - F.binary_cross_entropy(x, x, reduction="sum") + divergence(mu, t).sum()

    assert audit(best).verdict == "Gaussian with the best variance, β = 1"
    assert audit(less_entropy).likelihood.endswith("less the entropy of x")


@pytest.mark.parametrize("written_in", ["x.view(-1, 6)", "4 * 6"])
def test_sizes_may_be_written_into_the_loss(written_in):
    def loss(r, x, mu, t):
        assert x.shape == (4, 6)
        return F.binary_cross_entropy(r, x) + divergence(mu, t).sum() / 24

    found = audit(loss, data_shape=6, batch=4)
    assert found.beta == pytest.approx(1)
    assert "size is fixed" in found.reconstruction_reduction


def test_black_and_white_only():
    def loss(h, x, mu, t):
        return -Bernoulli(logits=h).log_prob(x).sum() + divergence(mu, t).sum()

    found = audit(loss)
    assert found.verdict == "Bernoulli, from logits, β = 1"
    assert any("black-and-white" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    "loss",
    [
        lambda r, x, mu, t: ((r - x) ** 2).sum().sqrt() + divergence(mu, t).sum(),
        lambda r, x, mu, t: ((r - x) ** 2).sum() * divergence(mu, t).sum(),
        lambda r, x, mu, t: ((r - x) ** 4).sum() + divergence(mu, t).sum(),
        lambda r, x, mu, t: ((r - x) ** 2)[:, 0].sum() + divergence(mu, t).sum(),
        lambda r, x, mu, t: ((r - x) ** 2).sum() + divergence(mu, t).sum().square(),
        lambda r, x, mu, t: ((r - x) ** 2).sum() + divergence(mu, t).sum(1).max(),
    ],
    ids=["root", "product", "fourth power", "one pixel", "squared KL", "largest KL"],
)
def test_none_of_these_with_a_residual(loss):
    found = audit(loss)
    assert found.likelihood == NONE and not found.exact
    assert found.residual > 1e-6
    assert "None of the losses known here." in str(found) and "Left over" in str(found)


def test_mixtures_of_errors_are_named():
    def loss(r, x, mu, t):
        ce = F.binary_cross_entropy(r, x, reduction="sum")
        return ce + 3 * F.mse_loss(r, x, reduction="sum") + divergence(mu, t).sum()

    found = audit(loss)
    assert found.likelihood == NONE
    assert "3 × squared error" in found.faults[0]


def test_noise_nan_and_no_numbers():
    noisy = audit(lambda r, x, mu, t: (r - x).square().sum() + torch.randn(()))
    assert "two calls with the same arguments" in noisy.faults[0]
    broken = audit(lambda r, x, mu, t: (r - x).square().sum() * math.nan)
    assert "NaN or infinite" in broken.faults[0]
    with pytest.raises(ValueError, match="must return a tensor of numbers, got dict"):
        audit(lambda r, x, mu, t: {"loss": r.sum()})


def test_float32_inside_is_forgiven():
    found = audit(lambda *arguments: half_squares(*(a.float() for a in arguments)))
    assert found.verdict == "Gaussian, s² = 1, β = 1" and found.faults == ()


def test_bad_arguments():
    with pytest.raises(ValueError, match="choose one of log_variance"):
        audit(half_squares, spread="std")
    with pytest.raises(ValueError, match="must be 1 or more"):
        audit(half_squares, latent=0)


def test_the_default_dtype_does_not_matter():
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            assert audit(half_squares).residual < 1e-12
    finally:
        torch.set_default_dtype(before)


# what a reader would try next: verdicts that must not be given, and words that must


def squares(r, x):
    return F.mse_loss(r, x, reduction="sum")


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda r, x, mu, t: squares(r, x) + 0.5 * (t.exp() + mu**2 + t - 1).sum(),
         "ln σ² has the wrong sign"),
        (lambda r, x, mu, t: squares(r, x) + 0.5 * (t.exp() - mu**2 - t - 1).sum(),
         "μ² has the wrong sign"),
        (lambda r, x, mu, t: squares(r, x) + 0.5 * ((-t).exp() + mu**2 - t - 1).sum(),
         "that of no Gaussian: it is 0.5 × μ², -0.5 × t, 0.5 × exp(−t)"),
        (lambda r, x, mu, t: squares(r, x) + 0.5 * (mu**2).sum(),
         "σ² and ln σ² are missing from the KL term: it is that of N(μ, I)"),
        (lambda r, x, mu, t: squares(r, x) + divergence(mu, t.abs()).sum(),
         "for negative ln σ² it is another loss"),
        (lambda r, x, mu, t: F.smooth_l1_loss(r, x, reduction="sum") + divergence(mu, t).sum(),
         "for reconstructions outside [0, 1] it is another loss"),
        (lambda r, x, mu, t: squares(r, x) + divergence(mu, t).sum(1).mean(),
         "the two terms treat the batch differently"),
        (lambda r, x, mu, t: F.mse_loss(r, x) + len(x) / 100 * divergence(mu, t).sum(1).mean(),
         "the two terms treat the batch differently"),
        (lambda r, x, mu, t: F.binary_cross_entropy(x, r, reduction="sum")
         + divergence(mu, t).sum(),
         "x and its probabilities swapped"),
    ],
)  # fmt: skip
def test_slips_are_named_and_no_other(loss, said):
    found = audit(loss)
    assert len(found.faults) == 1 and said in found.faults[0], str(found)
    if "wrong sign" in said or "Gaussian" in said or "missing" in said:
        assert found.beta is None and found.variance is None


@pytest.mark.parametrize(("missing", "kl"), [
    ("ln σ²", lambda mu, v: 0.5 * (v + mu**2)),
    ("σ²", lambda mu, v: 0.5 * (mu**2 - v.log())),
])  # fmt: skip
def test_a_missing_piece_is_no_other_reading(missing, kl):
    found = audit(lambda r, x, mu, v: squares(r, x) + kl(mu, v).sum(), spread="variance")
    assert found.faults == (f"{missing} is missing from the KL term",)


def test_a_small_weight_and_a_small_number_in_the_logarithm():
    for weight in (1e-4, 1e-8):
        found = audit(lambda r, x, mu, t, w=weight: squares(r, x) + w * divergence(mu, t).sum())
        assert found.faults == () and found.variance == pytest.approx(weight / 2, rel=1e-6)
    for tiny in (1e-8, 1e-6):

        def by_hand(r, x, mu, t, e=tiny):
            ce = -(x * (r + e).log() + (1 - x) * (1 - r + e).log()).sum()
            return ce + divergence(mu, t).sum()

        found = audit(by_hand)
        assert (found.verdict, found.faults) == ("Bernoulli, from probabilities, β = 1", ())
        assert "an ε in a logarithm" in " ".join(str(found).split())


def test_variances_of_its_own():
    def nll(r, x, mu, t):  # torch leaves ½ ln 2π out
        error = F.gaussian_nll_loss(r, x, torch.full_like(r, 0.04), reduction="sum")
        return error + 4 * divergence(mu, t).sum()

    assert audit(nll).verdict == "Gaussian, s² = 0.04, β = 4"
    each = torch.linspace(0.1, 1, 6, dtype=torch.float64)
    assert audit(partial(gaussian_loss, variance=each)).likelihood == NONE
    log_s = torch.nn.Parameter(torch.tensor(-0.7, dtype=torch.float64))

    def learned(r, x, mu, t):
        return (divergence(mu, t).sum(1) - Normal(r, log_s.exp()).log_prob(x).sum(1)).mean()

    assert audit(learned).variance == pytest.approx(math.exp(-1.4))


def test_a_mean_times_its_number_is_a_sum():
    found = audit(lambda r, x, mu, t: 6 * F.mse_loss(r, x) + divergence(mu, t).sum(1).mean())
    assert found.variance == pytest.approx(0.5)
    assert not any("mean over" in remark for remark in found.remarks)


def test_half_precision_is_refused():
    with pytest.raises(ValueError, match="too coarse"):
        audit(lambda *arguments: half_squares(*(a.bfloat16() for a in arguments)))


# float32: what rounding may do is no fault, and what it cannot do still is one


def single(loss):
    return lambda *arguments: loss(*(a.float() for a in arguments))


def half_error(r, x):
    return 0.5 * ((r - x) ** 2).flatten(1).sum(1).mean()


def mean_kl(mu, t):
    return divergence(mu, t).sum(1).mean()


def bce_small_kl(h, x, mu, t):
    ce = F.binary_cross_entropy_with_logits(h, x, reduction="sum") / len(x)
    return ce + 0.01 * divergence(mu, t).sum() / len(x)


def mse_small_kl(r, x, mu, t):
    return F.mse_loss(r, x) + 1e-4 * mean_kl(mu, t)


SMALL_KL = [
    (bce_small_kl, {"data_shape": 784, "latent": 20}, 0.01),
    (bce_small_kl, {"data_shape": (3, 32, 32), "latent": 64}, 0.01),
    (bce_small_kl, {"data_shape": 64, "latent": 2, "batch": 128}, 0.01),
    (mse_small_kl, {}, 1e-4),
    (mse_small_kl, {"data_shape": 64, "latent": 2, "batch": 128}, 1e-4),
]


@pytest.mark.parametrize("back", [torch.Tensor.float, torch.Tensor.double])
@pytest.mark.parametrize(("loss", "sizes", "weight"), SMALL_KL)
def test_a_correct_float32_loss_is_not_accused(loss, sizes, weight, back):
    exact, found = audit(loss, **sizes), audit(lambda *a: back(single(loss)(*a)), **sizes)
    assert found.faults == ()
    assert found.kl_weight == pytest.approx(weight, rel=5e-3)
    assert exact.residual < 1e-9 < found.residual
    for name in ("likelihood", "reads", "kl_reduction", "reconstruction_reduction"):
        assert getattr(found, name) == getattr(exact, name)
    told = [r for r in found.remarks if "in float32 the KL term is known to" in r]
    assert len(told) == (loss is bce_small_kl)
    assert not any("float32" in remark for remark in exact.remarks)


def test_where_float32_leaves_it_open_that_is_said():
    sizes = {"data_shape": 784, "latent": 20}
    lost = partial(gaussian_loss, variance=1e-7, beta=1e-2)
    found = audit(single(lost), **sizes)
    assert found.faults == () and found.beta is None
    assert "in float32 the KL term is lost: give the loss float64 numbers" in found.remarks
    assert audit(lost, **sizes).verdict == "Gaussian, s² = 1e-07, β = 0.01"
    vague = audit(single(partial(gaussian_loss, variance=1e-6)), **sizes)
    assert vague.faults == () and any("% only" in remark for remark in vague.remarks)
    assert "sum (or 4 × mean) over the batch" in vague.kl_reduction
    vaguer = audit(single(partial(gaussian_loss, variance=3e-7)), **sizes)
    assert vaguer.faults == () and not any("½" in remark for remark in vaguer.remarks)
    no_kl = audit(single(lambda r, x, mu, t: squares(r, x)))
    assert "no KL term that float32 could show" in no_kl.faults[0]


@pytest.mark.parametrize("sizes", [{}, {"data_shape": 784, "latent": 20}])
@pytest.mark.parametrize("mutant", sorted(set(KL_MUTANTS) - {"none"}))
def test_true_faults_are_found_in_float32(mutant, sizes):
    wrong, said = KL_MUTANTS[mutant]
    weighted = single(lambda r, x, mu, t: squares(r, x) + 0.1 * wrong(mu, t).sum())
    found = audit(weighted, **sizes)
    assert any(said in fault for fault in found.faults), str(found)
    assert not any("doubling" in fault or "another loss" in fault for fault in found.faults)


def test_a_detached_mean_beside_large_squares_in_float32():
    def loss(r, x, mu, t):
        return squares(r, x) + 0.01 * divergence(mu.detach(), t).sum()

    assert audit(single(loss), data_shape=784).faults == ("the gradient does not reach mu",)


# thresholds on the KL term

THRESHOLDS = {
    "free bits of the batch": lambda mu, t, c: mean_kl(mu, t).clamp(min=c),
    "free bits of each point": lambda mu, t, c: divergence(mu, t).sum(1).clamp(min=c).mean(),
    "free bits of each latent": lambda mu, t, c: divergence(mu, t).clamp(min=c).sum(1).mean(),
    "a target": lambda mu, t, c: (mean_kl(mu, t) - c).abs(),
    "a margin": lambda mu, t, c: (mean_kl(mu, t) - c).clamp(min=0),
    "a ceiling": lambda mu, t, c: mean_kl(mu, t).clamp(max=c),
}


@pytest.mark.parametrize(
    ("at", "sizes"),
    [
        (0.02, {}),
        (0.1, {}),
        (0.1, {"latent": 128, "batch": 2}),
        (0.5, {}),
        (2.0, {"latent": 20}),
        (25.0, {}),
        (1000.0, {"data_shape": 784, "latent": 128}),
    ],
)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_thresholds_are_none_of_these(threshold, at, sizes):
    def loss(r, x, mu, t):
        return half_error(r, x) + THRESHOLDS[threshold](mu, t, at)

    for found in (audit(loss, **sizes), audit(single(loss), **sizes)):
        assert found.likelihood == NONE and not found.exact and found.beta is None
        assert not any("sign" in said or "gradient" in said for said in found.faults)
        assert "fixed" not in str(found)
    if at < 0.5 and threshold not in ("a ceiling", "free bits of each latent"):
        assert any("codes near the prior it is another loss" in f for f in found.faults)


# sizes, words, errors


def test_a_size_in_a_view_is_a_sum_or_a_mean_and_nothing_wrong():
    def loss(r, x, mu, t):
        return 0.5 * ((r - x).view(-1, 784) ** 2).sum(1).mean() + mean_kl(mu, t)

    found = audit(loss, data_shape=784)
    said = "mean over the batch, sum (or 784 × mean) over the dimensions"
    assert found.reconstruction_reduction == said
    assert found.reconstruction_weight == pytest.approx(0.5)
    assert not any("mean over" in remark for remark in found.remarks)
    plain = audit(lambda r, x, mu, t: F.mse_loss(r, x) + mean_kl(mu, t), data_shape=784)
    assert plain.reconstruction_reduction == "mean over the batch, mean over the dimensions"
    assert any("a mean over the dimensions" in remark for remark in plain.remarks)


def test_a_refused_size_leaves_both_words():
    def loss(r, x, mu, t):
        assert len(x) == 4
        return half_error(r, x) + mean_kl(mu, t)

    found = audit(loss)
    batch = "sum (or 4 × mean) over the batch, whose size is fixed"
    assert found.faults == ()
    assert found.reconstruction_reduction == f"{batch}, sum over the dimensions"
    assert found.kl_reduction == f"{batch}, sum over the latent dimensions"
    assert (found.kl_weight, found.reconstruction_weight) == pytest.approx((0.25, 0.125))


@pytest.mark.parametrize("tiny", [1e-7, 1e-5, 1e-4, 1e-3])
def test_a_number_in_the_logarithm_is_no_mixture(tiny):
    def by_hand(r, x, mu, t):
        ce = -(x * (r + tiny).log() + (1 - x) * (1 - r + tiny).log()).sum()
        return ce + divergence(mu, t).sum()

    for found in (audit(by_hand), audit(single(by_hand))):
        assert found.faults == () and found.residual > 1e-9
        assert found.likelihood == (NONE if tiny > 2e-5 else "Bernoulli, from probabilities")


def test_words_that_misled():
    def doubled(r, x, mu, t):
        return (((r - x) ** 2).sum(1) + 2 * divergence(mu, t).sum(1)).mean()

    found = audit(doubled)
    assert found.verdict == "Gaussian, s² = 1, β = 1" and found.faults == ()
    assert "neither term has its ½: this is twice −ELBO" in found.remarks
    assert not any("counts twice" in remark for remark in found.remarks)

    scaled = audit(lambda *a: 0.37 * gaussian_loss(*a, variance=0.1, beta=2.0))
    assert any("squared error and some constant" in remark for remark in scaled.remarks)
    assert scaled.normalised is None and scaled.variance == pytest.approx(0.2)

    joined = audit(lambda *a: half_squares(*a) + 1e-4 * a[0].mean() * a[2].mean())
    assert joined.faults == () and joined.verdict == "Gaussian, s² = 1, β = 1"
    assert joined.residual > 1e-6

    def balanced(r, x, mu, t):
        error, kl_sum = squares(r, x), divergence(mu, t).sum()
        return error + kl_sum * (error / kl_sum).detach()

    found = audit(balanced)
    assert "the value holds no KL term, though the gradient does" in found.faults
    assert "autoencoder" not in str(found) and found.beta is None

    def reverse(mu, t):
        return 0.5 * ((1 + mu**2) * (-t).exp() + t - 1)

    found = audit(lambda r, x, mu, t: half_error(r, x) + reverse(mu, t).sum(1).mean())
    assert found.faults == ("this is KL(p‖q), the other direction",)
    assert found.kl_reduction == "mean over the batch, sum over the latent dimensions"


def test_one_value_for_each_pixel_is_not_one_for_each_point():
    def loss(r, x, mu, t):
        return 0.5 * ((r - x) ** 2).mean(0) + mean_kl(mu, t)

    for batch_size in (3, 6, 12):
        found = audit(loss, data_shape=6, batch=batch_size)
        assert "each point" not in str(found)
        assert found.reconstruction_reduction.startswith("mean over the batch")
    assert "each point" in audit(keras_2016, data_shape=6, batch=6).kl_reduction


def test_a_loss_that_asserts_black_and_white_pixels_is_audited_on_them():
    def loss(r, x, mu, t):
        assert ((x == 0) | (x == 1)).all()
        return F.binary_cross_entropy(r, x, reduction="sum") + divergence(mu, t).sum()

    found = audit(loss)
    assert (found.verdict, found.faults) == ("Bernoulli, from probabilities, β = 1", ())
    assert "it makes sense for black-and-white x only" in found.remarks


def test_a_loss_that_changes_its_arguments_is_audited_on_clones():
    def loss(r, x, mu, t):
        r -= x
        return 0.5 * (r**2).sum() + divergence(mu, t).sum()

    found = audit(loss)
    assert (found.verdict, found.faults) == ("Gaussian, s² = 1, β = 1", ())
    assert "it changes its arguments in place" in found.remarks
    assert not any("in place" in remark for remark in audit(half_squares).remarks)


def breaks_its_own_gradient(r, x, mu, t):
    probabilities = r.sigmoid()
    value = F.binary_cross_entropy(probabilities, x, reduction="sum") + divergence(mu, t).sum()
    probabilities *= 2
    return value


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda r, x, mu: r.sum(), "takes 3 positional arguments"),
        (lambda r, x, mu, t: half_error(r.view(-1, 10), x.view(-1, 10)), "set data_shape"),
        (lambda r, x, mu, t: {}["loss"], "KeyError"),
        (lambda r, x, mu, t: float((r - x).square().sum().numpy()), "numpy"),
        (breaks_its_own_gradient, "inplace operation"),
    ],
    ids=["signature", "shape", "key", "numpy", "gradient"],
)
def test_an_error_of_the_loss_is_one_clear_valueerror(loss, said):
    with pytest.raises(ValueError, match=said):
        audit(loss)
