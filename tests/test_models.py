"""Models and likelihoods: against exact evidence, torch's own densities, and quadrature."""

import decimal
import errno
import math
import os

import pytest
import torch
from scipy.integrate import quad
from torch import nn
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from vaekit import likelihoods, models, storage
from vaekit.divergence import kl_diagonal, kl_standard_normal
from vaekit.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
    binarize,
)
from vaekit.models import VAE, Autoencoder, digits_vae, from_config, mlp, swiss_roll_vae


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def linear_gaussian(widen: float = 1.0) -> tuple[VAE, MultivariateNormal]:
    """A linear VAE whose encoder is the exact posterior (widened), and its exact evidence.

    The columns of W are orthogonal, so that the posterior's covariance is diagonal.
    """
    d, k, variance = 5, 2, 0.3
    w = torch.linalg.qr(double(d, k)).Q * torch.tensor([1.5, 0.7], dtype=torch.float64)
    b = double(d, seed=1)
    precision = 1 + (w**2).sum(0) / variance
    vae = VAE(mlp([d, 2 * k]), mlp([k, d]), GaussianLikelihood(variance)).double()
    with torch.no_grad():
        vae.likelihood.log_variance.fill_(math.log(variance))
        vae.decoder[0].weight.copy_(w)
        vae.decoder[0].bias.copy_(b)
        mean = w.T / variance / precision[:, None]
        vae.encoder[0].weight.copy_(torch.cat([mean, torch.zeros_like(mean)]))
        vae.encoder[0].bias.copy_(torch.cat([-mean @ b, (widen / precision).log()]))
    return vae, MultivariateNormal(b, w @ w.T + variance * torch.eye(d, dtype=torch.float64))


def test_bounds_are_tight_at_the_exact_posterior():
    vae, evidence = linear_gaussian()
    x = double(50, 5, seed=2)
    exact = evidence.log_prob(x)
    close(vae.iwae_bound(x, 1), exact)
    close(vae.iwae_bound(x, 7), exact)
    close(vae.log_evidence(x, 100), exact)
    draws = vae.elbo(x.repeat(1000, 1)).reshape(1000, 50)
    assert ((draws.mean(0) - exact).abs() < 5 * draws.std(0) / 1000**0.5).all()


def test_bounds_rise_to_the_evidence():
    vae, evidence = linear_gaussian(widen=3.0)
    x = evidence.sample((4000,))
    exact = evidence.log_prob(x).mean()
    bounds = [vae.iwae_bound(x, k).mean() for k in (1, 5, 50)]
    gap = kl_divergence(Normal(0.0, 3**0.5), Normal(0.0, 1.0)).item() * 2  # in both dimensions
    assert abs(bounds[0] - (exact - gap)) < 0.05
    assert bounds[0] + 0.5 < bounds[1] < bounds[2] - 0.01
    assert bounds[2] < exact < bounds[2] + 0.05
    part = x[:500]
    assert abs((vae.log_evidence(part, 3000) - evidence.log_prob(part)).mean()) < 0.005


def test_log_evidence_does_not_depend_on_the_pieces():
    vae, evidence = linear_gaussian(widen=2.0)
    x = evidence.sample((3,))
    epsilon = torch.randn(
        3000, 3, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    log_w = vae.log_weights(x, *vae.encode(x), epsilon)
    close(vae.log_evidence(x, 3000, seed=4), log_w.logsumexp(0) - math.log(3000), 0.02)
    close(vae.log_evidence(x, 600, seed=4), log_w[:600].logsumexp(0) - math.log(600))


def test_kl_term_is_the_divergence_from_the_prior():
    vae = digits_vae().double()
    x = double(20, 64).sigmoid()
    mu, sigma = vae.encode(x)
    _, kl = vae.terms(x, double(20, 10))
    close(kl, kl_standard_normal(mu, sigma))
    close(kl.sum(-1), kl_diagonal(mu, sigma))
    close(kl.sum(-1), kl_divergence(vae.posterior(x), vae.prior))


def test_the_training_step_computes_with_the_formulas_that_are_proved(monkeypatch):
    vae, x = digits_vae(), torch.ones(4, 64)
    monkeypatch.setattr(models, "kl_term", lambda mu, log_variance: 0 * mu + 7)
    assert vae.terms(x, torch.zeros(4, 10))[1].eq(7).all()
    gaussian = GaussianLikelihood(0.3)
    monkeypatch.setattr(likelihoods, "log_density", lambda x, mu, log_variance: 0 * mu + 7)
    assert gaussian.log_prob(x, x).eq(7 * 64).all()


def test_elbo_is_the_sum_of_densities_written_out():
    vae = digits_vae().double()
    x = (double(6, 64) > 0).double()
    epsilon = double(1, 6, 10, seed=3)
    q = vae.posterior(x)
    z = q.base_dist.mean + q.base_dist.stddev * epsilon
    log_joint = vae.prior.log_prob(z) + vae.decode(z).log_prob(x)
    close(vae.log_weights(x, *vae.encode(x), epsilon), log_joint - q.log_prob(z))
    reconstruction, _ = vae.terms(x, epsilon[0])
    close(reconstruction, vae.decode(z[0]).log_prob(x))


@pytest.mark.parametrize(
    "likelihood",
    [
        GaussianLikelihood(0.3),
        GaussianLikelihood(0.3, learn=True),
        GaussianLikelihood(torch.tensor([0.1, 1.0, 3.0]), learn=True),
        BernoulliLikelihood(),
        BernoulliLikelihood(grey=True),
        ContinuousBernoulliLikelihood(),
    ],
)
def test_log_prob_and_its_gradient_are_those_of_torch(likelihood):
    likelihood = likelihood.double()
    h = double(4, 7, 3).requires_grad_()
    x = double(7, 3, seed=1).sigmoid()
    x = x.round() if likelihood.binary else x
    wanted = [h, *(p for p in likelihood.parameters() if p.requires_grad)]
    ours, theirs = likelihood.log_prob(h, x), likelihood(h).log_prob(x)
    assert ours.shape == likelihood(h).batch_shape == (4, 7)
    close(ours, theirs, 1e-7)
    for a, b in zip(
        torch.autograd.grad(ours.sum(), wanted),
        torch.autograd.grad(theirs.sum(), wanted),
        strict=True,
    ):
        close(a, b, 1e-6)


def test_gaussian_variance_is_a_variance():
    value = GaussianLikelihood(0.25).double().log_prob(double(1, 3), double(1, 3, seed=1))
    wanted = Normal(double(1, 3), 0.5).log_prob(double(1, 3, seed=1)).sum(-1)
    close(value, wanted, 1e-7)
    assert GaussianLikelihood()(double(1, 3)).variance.eq(1).all()
    for variance in (0.0, math.inf):
        with pytest.raises(ValueError, match="variance must be positive and finite"):
            GaussianLikelihood(variance)


def test_bernoulli_does_not_overflow():
    h = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
    value = BernoulliLikelihood().log_prob(h, torch.tensor([0.0, 1.0]))
    value.sum().backward()
    assert value.tolist() == [0.0, -400.0]
    assert h.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


@pytest.mark.parametrize("h", [-40.0, -3.0, -0.1001, -0.0999, 0.0, 1e-4, 0.5, 12.0, 60.0])
def test_continuous_bernoulli_is_normalised(h):
    likelihood, logit = ContinuousBernoulliLikelihood(), torch.tensor([h], dtype=torch.float64)

    def density(x: float) -> float:
        return likelihood.log_prob(logit, logit.new_tensor([x])).exp().item()

    assert abs(quad(density, 0, 1)[0] - 1) < 1e-7
    mean = quad(lambda x: x * density(x), 0, 1)[0]
    logit.requires_grad_()
    likelihood.log_prob(logit, torch.tensor([0.25])).backward()
    assert abs(logit.grad.item() - (0.25 - mean)) < 1e-5  # the score of an exponential family


@pytest.mark.parametrize("h", ["1e-9", "1e-4", "0.03", "0.0999999", "0.1000001", "0.7", "9"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_continuous_bernoulli_to_fourteen_digits_on_both_sides_of_the_seam(h, sign):
    decimal.getcontext().prec = 50
    x, h = decimal.Decimal("0.3"), sign * decimal.Decimal(h)
    e = h.exp()
    exact = x * h - (1 + e).ln() + (h * (e + 1) / (e - 1)).ln()
    slope = x - (e / (e - 1) - 1 / h)  # the score of an exponential family: x − mean
    logit = torch.tensor([float(h)], dtype=torch.float64, requires_grad=True)
    value = ContinuousBernoulliLikelihood().log_prob(
        logit, torch.tensor([0.3], dtype=torch.float64)
    )
    (gradient,) = torch.autograd.grad(value, logit)
    assert value.item() == pytest.approx(float(exact), rel=0, abs=1e-14)
    assert gradient.item() == pytest.approx(float(slope), rel=0, abs=3e-14)


def test_distributions_have_the_right_shapes():
    vae = VAE(mlp([6, 8, 4]), mlp([2, 8, 6]), BernoulliLikelihood())
    assert (vae.data_dim, vae.latent) == (6, 2)
    assert vae.prior.event_shape == (2,) and vae.prior.batch_shape == ()
    assert vae.posterior(torch.zeros(3, 6)).batch_shape == (3,)
    p = vae.decode(torch.zeros(4, 3, 2))
    assert (p.batch_shape, p.event_shape) == ((4, 3), (6,))
    assert vae.iwae_bound(torch.zeros(3, 6), 5).shape == vae.elbo(torch.zeros(3, 6)).shape == (3,)
    assert vae.sample(9).shape == (9, 6)


def test_iwae_bound_is_differentiable():
    vae = digits_vae()
    (-vae.iwae_bound(torch.ones(4, 64), 5).mean()).backward()
    assert all(p.grad.abs().sum() > 0 for p in vae.parameters())


def test_samples_have_the_moments_of_the_model():
    vae, evidence = linear_gaussian()
    x = vae.sample(40_000, seed=5)
    close(x.mean(0), evidence.mean, 0.04)
    close(x.T.cov(), evidence.covariance_matrix, 0.06)


def test_seeds_decide_and_the_global_generator_stays():
    before = torch.random.get_rng_state()
    a, b, other = digits_vae(seed=1), digits_vae(seed=1), digits_vae(seed=2)
    x = torch.zeros(4, 64)
    assert torch.equal(a.encoder[0].weight, b.encoder[0].weight)
    assert not torch.equal(a.encoder[0].weight, other.encoder[0].weight)
    for draw in (lambda s: a.elbo(x, seed=s), lambda s: a.sample(4, seed=s)):
        assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))
    g = torch.Generator().manual_seed(0)
    first = a.iwae_bound(x, 3, seed=g)
    assert torch.equal(first, a.iwae_bound(x, 3, seed=0))
    assert not torch.equal(first, a.iwae_bound(x, 3, seed=g))  # the generator has moved on
    assert torch.equal(before, torch.random.get_rng_state())


def test_autoencoder_minimises_squares():
    ae = Autoencoder(mlp([5, 3]), mlp([3, 5]))
    x = torch.rand(4, 5)
    reconstruction, kl = ae.terms(x, torch.zeros(4, 3))
    squares = (x - ae.decoder(ae.encoder(x))).square().sum(-1)
    close(reconstruction, -squares - 2.5 * math.log(math.pi), 1e-5)
    assert kl.shape == (4, 3) and not kl.any()
    ae = Autoencoder(mlp([5, 3]), mlp([3, 5]), BernoulliLikelihood())
    x = x.round()
    probabilities = ae.decoder(ae.encoder(x)).sigmoid()
    close(ae.terms(x, torch.zeros(4, 3))[0], Bernoulli(probabilities).log_prob(x).sum(-1), 1e-5)


def test_config_builds_the_same_model_again():
    for model in (swiss_roll_vae(latent=3), digits_vae(seed=4), from_config(
        {"data_dim": 6, "hidden": [], "latent": 2, "model": "autoencoder", "likelihood": "gaussian"}
    )):  # fmt: skip
        again = from_config(model.config)
        assert type(again) is type(model)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[name])
    sizes = [m.out_features for m in digits_vae().modules() if isinstance(m, nn.Linear)]
    assert sizes == [200, 20, 200, 64]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": 0}, "size 1 or more"),
        ({"hidden": [10, -1]}, "size 1 or more"),
        ({"latent": None}, "missing model settings: latent"),
        ({"hidden": 8}, "hidden must be a list of sizes, got 8"),
        ({"latent": 1.5}, "size 1 or more"),
        ({"likelihood": "poisson"}, "likelihood must be one of"),
        ({"model": "gan"}, "model must be one of"),
        ({"activation": "Relu"}, "no activation 'Relu'"),
        ({"latnet": 2}, "unknown model settings: latnet"),
    ],
)
def test_config_errors(change, message):
    with pytest.raises(ValueError, match=message):
        from_config({"data_dim": 4, "hidden": [8], "latent": 2} | change)


@pytest.mark.parametrize("outputs", [0, 3])
def test_encoder_must_give_two_numbers_for_each_latent_dimension(outputs):
    encoder = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    encoder[1].out_features = outputs
    with pytest.raises(ValueError, match="at least one latent dimension"):
        VAE(encoder, mlp([1, 4]), BernoulliLikelihood())


def test_decoder_and_variances_must_suit_the_encoder():
    for decoder in (nn.Sequential(), nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(6))):
        VAE(mlp([6, 12 if len(decoder) < 1 else 4]), decoder)
    with pytest.raises(ValueError, match="the decoder needs 2 in_features, it has 3"):
        VAE(mlp([6, 4]), mlp([3, 6]))
    with pytest.raises(ValueError, match="the decoder needs 6 out_features, it has 1"):
        VAE(mlp([6, 4]), mlp([2, 1]))
    with pytest.raises(ValueError, match=r"\(3,\) variances do not suit 6 dimensions"):
        VAE(mlp([6, 4]), mlp([2, 6]), GaussianLikelihood(torch.ones(3)))
    for variance in (torch.ones(2, 1), torch.ones(0)):
        with pytest.raises(ValueError, match=r"variance must have shape \(\) or \(D,\)"):
            GaussianLikelihood(variance)


def test_encoder_must_have_a_linear_layer():
    with pytest.raises(ValueError, match="no linear layer"):
        VAE(nn.Identity(), mlp([1, 4]), BernoulliLikelihood())


GOOD = torch.tensor([[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (GOOD.tolist(), TypeError, "torch tensor, got list"),
        (GOOD.to(torch.uint8), TypeError, "dtype torch.uint8"),
        (GOOD.double(), TypeError, "dtype torch.float64"),
        (GOOD[0], ValueError, r"shape \(N, 2\), got \(2,\)"),
        (torch.zeros(4, 3), ValueError, r"shape \(N, 2\), got \(4, 3\)"),
        (GOOD[:0], ValueError, "empty"),
        (GOOD * math.nan, ValueError, "NaN or infinite"),
        (GOOD + math.inf, ValueError, "NaN or infinite"),
        (GOOD / 2, ValueError, "outside the Bernoulli's support"),
        (GOOD * 2, ValueError, r"from 0 to 2, outside the likelihood's support \[0, 1\]"),
    ],
)
def test_bad_data_is_refused(x, error, message):
    vae = VAE(mlp([2, 4]), mlp([2, 2]), BernoulliLikelihood())
    vae.validate(GOOD)
    with pytest.raises(error, match=message):
        vae.validate(x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda vae: vae.elbo(GOOD.double()), TypeError, "x has dtype torch.float64"),
        (lambda vae: vae.elbo(GOOD[0]), ValueError, r"x must have shape \(N, 2\), got \(2,\)"),
        (lambda vae: vae.iwae_bound(GOOD.tolist(), 3), TypeError, "x must be a torch tensor"),
        (lambda vae: vae.iwae_bound(GOOD, 0), ValueError, "k must be .* 1 or more, got 0"),
        (lambda vae: vae.log_evidence(GOOD, 0), ValueError, "n must be .* 1 or more, got 0"),
        (lambda vae: vae.log_evidence(GOOD, 2.5), ValueError, "n must be a whole number"),
        (lambda vae: vae.log_evidence(GOOD.T[:0], 5), ValueError, "x is empty"),
        (lambda vae: vae.sample(-1), ValueError, "n must be .* 1 or more, got -1"),
    ],
)
def test_a_bad_argument_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(VAE(mlp([2, 4]), mlp([2, 2]), BernoulliLikelihood()))


def test_grey_pixels_are_for_those_who_ask():
    for likelihood in (ContinuousBernoulliLikelihood(), BernoulliLikelihood(grey=True)):
        vae = VAE(mlp([2, 4]), mlp([2, 2]), likelihood)
        vae.validate(GOOD / 2)
        assert vae.elbo(GOOD / 2).isfinite().all()
        with pytest.raises(ValueError, match=r"from 0 to 255, outside .* \[0, 1\]"):
            vae.validate(GOOD * 255)
    with pytest.raises(ValueError, match="within the support"):
        BernoulliLikelihood()(GOOD).log_prob(GOOD / 2)


def test_binarize_draws_ones_as_often_as_the_grey_value_says():
    grey = torch.tensor([0.0, 0.3, 0.9, 1.0]).expand(40_000, 4)
    drawn = binarize(grey, seed=5)
    assert ((drawn == 0) | (drawn == 1)).all()
    error = (grey[0] * (1 - grey[0]) / 40_000).sqrt()
    assert ((drawn.mean(0) - grey[0]).abs() <= 5 * error).all()
    assert torch.equal(drawn, binarize(grey, seed=torch.Generator().manual_seed(5)))
    assert not torch.equal(drawn, binarize(grey, seed=6))
    for wrong in (255 * grey, -grey, grey / 0, (255 * grey).byte()):
        with pytest.raises(ValueError, match="grey values between 0 and 1"):
            binarize(wrong)


# the file


@pytest.fixture
def stored(tmp_path):
    model = digits_vae()
    path = tmp_path / "run" / "model.safetensors"
    storage.write(path, model.state_dict(), {"config": model.config})
    return model, path


def test_a_stored_model_needs_no_code_to_open(stored):
    model, path = stored
    x = torch.ones(3, 64)
    assert torch.equal(models.load(path).elbo(x), model.elbo(x))
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(stored, share):
    _, path = stored
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="truncated or no vaekit checkpoint"):
        models.load(path)


def test_a_changed_byte_is_noticed_wherever_it_is(stored):
    _, path = stored
    content = path.read_bytes()
    header = int.from_bytes(content[:8], "little")
    positions = torch.linspace(0, len(content) - 1, 60).long().tolist()
    positions += torch.linspace(8, 8 + header - 1, 60).long().tolist()
    for i in positions:
        path.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        if content[i : i + 1] != b" ":  # padding of the header
            with pytest.raises(ValueError, match=r"truncated|SHA-256"):
                models.load(path)


def test_a_file_of_others_is_refused(tmp_path):
    import safetensors.torch

    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="no vaekit checkpoint"):
        storage.read(path)
    with pytest.raises(FileNotFoundError):
        storage.read(tmp_path / "absent")


def test_a_model_built_by_hand_says_so(tmp_path):
    vae = VAE(mlp([2, 4]), mlp([2, 2]), BernoulliLikelihood())
    storage.write(tmp_path / "m", vae.state_dict(), {"config": vae.config})
    with pytest.raises(ValueError, match="built by hand"):
        models.load(tmp_path / "m")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(stored, monkeypatch, call):
    _, path = stored
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"could not write .*No space left on device.*nothing was"):
        storage.write(path, {"a": torch.zeros(10)}, {})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]
