"""The linear-Gaussian model, against quadrature, scipy, scikit-learn and the rule itself."""

import math

import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from torch.distributions import Normal, kl_divergence

from vaekit.bayes import LinearGaussian
from vaekit.estimates import integrate, integrate_plane

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def random_model(*batch: int, D: int = 3, K: int = 2, seed: int = 0) -> LinearGaussian:
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(*batch, D, K, generator=g, dtype=torch.float64)
    bias = torch.randn(*batch, D, generator=g, dtype=torch.float64)
    s = 0.5 + torch.rand(batch, generator=g, dtype=torch.float64)
    return LinearGaussian(weight, bias, s)


def observations(model: LinearGaussian, seed: int = 1) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*model.bias.shape, generator=g, dtype=torch.float64)


def test_evidence_and_posterior_are_those_of_quadrature_over_a_line():
    model = random_model(20, D=3, K=1)
    x = observations(model)
    evidence = integrate(lambda z: model.log_joint(x, z.expand(20, 1)).exp(), -20, 20)
    assert model.evidence.log_prob(x).numpy() == pytest.approx(evidence.value.log(), rel=1e-9)
    mean = integrate(lambda z: z * model.log_joint(x, z.expand(20, 1)).exp(), -20, 20)
    posterior = model.posterior(x)
    assert posterior.mean[:, 0].numpy() == pytest.approx(mean.value / evidence.value, rel=1e-8)


def test_evidence_is_that_of_quadrature_over_a_plane():
    model = random_model(5, D=2, K=2)
    x = observations(model)
    evidence = integrate_plane(lambda z: model.log_joint(x, z).exp(), limit=9, step=0.1)
    assert model.evidence.log_prob(x).exp().numpy() == pytest.approx(evidence.value, rel=1e-9)


@pytest.mark.parametrize(("D", "K"), [(1, 1), (5, 2), (2, 5)])
def test_bayes_rule_holds_at_any_point(D, K):
    model = random_model(30, D=D, K=K)
    x = observations(model)
    z = model.prior.sample()
    by_rule = model.log_joint(x, z) - model.evidence.log_prob(x)
    torch.testing.assert_close(model.posterior(x).log_prob(z), by_rule, rtol=1e-9, atol=1e-9)


def test_scalar_case_is_the_product_of_two_gaussians():
    model = LinearGaussian(torch.tensor([[2.0]]), torch.tensor([1.0]), 0.5)
    posterior = model.posterior(torch.tensor([4.0]))
    assert posterior.mean.item() == pytest.approx(2 * 3 / (4 + 0.25))
    assert posterior.variance.item() == pytest.approx(0.25 / 4.25)
    truth = stats.norm.logpdf(4, 1, math.sqrt(4.25))
    assert model.evidence.log_prob(torch.tensor([4.0])).item() == pytest.approx(truth)


def test_evidence_is_the_log_likelihood_of_scikit_learns_pca():
    g = torch.Generator().manual_seed(2)
    x = torch.randn(200, 4, generator=g, dtype=torch.float64) @ torch.diag(
        torch.tensor([3.0, 2.0, 1.0, 1.0]).double()
    )
    pca = PCA(2).fit(x.numpy())
    axes = torch.from_numpy(pca.components_)
    excess = torch.from_numpy(pca.explained_variance_ - pca.noise_variance_)
    weight = axes.mT * excess.sqrt()
    model = LinearGaussian(weight, torch.from_numpy(pca.mean_), math.sqrt(pca.noise_variance_))
    ours = model.evidence.log_prob(x).numpy()
    assert ours == pytest.approx(pca.score_samples(x.numpy()), rel=1e-9)


def test_divergence_from_the_prior_is_torchs():
    model = random_model(7)
    assert kl_divergence(model.posterior(observations(model)), model.prior).shape == (7,)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_device_and_shapes(dtype, device):
    weight = torch.ones(4, 1, 3, 2, dtype=dtype, device=device)
    bias = torch.zeros(5, 3, dtype=dtype, device=device)
    model = LinearGaussian(weight, bias, 0.5)
    x = torch.ones(6, 4, 5, 3, dtype=dtype, device=device)
    z = torch.ones(4, 5, 2, dtype=dtype, device=device)
    assert model.batch_shape == (4, 5)
    assert model.prior.sample((6,)).shape == (6, 4, 5, 2)
    results = (
        (model.likelihood(z).mean, (4, 5, 3)),
        (model.evidence.log_prob(x), (6, 4, 5)),
        (model.posterior(x).sample(), (6, 4, 5, 2)),
        (model.log_joint(x, z), (6, 4, 5)),
    )
    for result, shape in results:
        assert (result.dtype, result.device.type, result.shape) == (dtype, device, shape)


def test_one_model_takes_many_observations():
    model = random_model(D=3, K=2)
    x = torch.randn(9, 3, dtype=torch.float64)
    for row, both in zip(x, model.posterior(x).mean, strict=True):
        torch.testing.assert_close(model.posterior(row).mean, both)


def test_float32_is_near_float64():
    model = random_model(10)
    single = LinearGaussian(model.weight.float(), model.bias.float(), model.s.float())
    x = observations(model)
    ours, truth = single.posterior(x.float()), model.posterior(x)
    torch.testing.assert_close(ours.mean.double(), truth.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        single.evidence.log_prob(x.float()).double(), model.evidence.log_prob(x), rtol=1e-4, atol=0
    )


def test_gradients_reach_weight_bias_and_noise():
    inputs = [t.requires_grad_() for t in (random_model(2).weight, random_model(2).bias)]
    s, x = torch.tensor([0.5, 0.7]).double().requires_grad_(), observations(random_model(2))
    assert torch.autograd.gradcheck(
        lambda W, b, s: LinearGaussian(W, b, s).evidence.log_prob(x), (*inputs, s)
    )


@pytest.mark.parametrize("s", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_noise_is_refused(s):
    with pytest.raises(ValueError, match="s must be positive and finite"):
        LinearGaussian(torch.ones(3, 2), torch.zeros(3), s)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_numbers_are_refused_by_name(bad):
    with pytest.raises(ValueError, match="weight holds NaN"):
        LinearGaussian(torch.full((3, 2), bad), torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="bias holds NaN"):
        LinearGaussian(torch.ones(3, 2), torch.full((3,), bad), 1.0)


def test_bad_shapes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"weight needs the shape \(\.\.\., D, K\), not \(3,\)"):
        LinearGaussian(torch.ones(3), torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match=r"bias needs the shape \(\.\.\., 3\), not \(2,\)"):
        LinearGaussian(torch.ones(3, 2), torch.zeros(2), 1.0)


def test_whole_numbers_and_two_dtypes_are_refused():
    for weight, bias in (([[2]], [1]), ([[2.0]], [1])):
        with pytest.raises(ValueError, match="one dtype, of floating point"):
            LinearGaussian(torch.tensor(weight), torch.tensor(bias), 1.5)


def test_scalar_model_needs_no_batch():
    model = LinearGaussian(torch.ones(1, 1), torch.zeros(1), 1.0)
    assert model.batch_shape == ()
    assert model.evidence.log_prob(torch.zeros(1)).item() == pytest.approx(
        Normal(0.0, math.sqrt(2)).log_prob(torch.tensor(0.0)).item()
    )


def test_bad_points_are_refused_by_name():
    model = random_model(D=3, K=2)
    with pytest.raises(ValueError, match=r"x needs the shape \(\.\.\., 3\), not \(2,\)"):
        model.posterior(torch.zeros(2).double())
    with pytest.raises(ValueError, match=r"z needs the shape \(\.\.\., 2\), not \(\)"):
        model.likelihood(torch.zeros(()).double())
    with pytest.raises(ValueError, match="z holds NaN"):
        model.log_joint(torch.zeros(3).double(), torch.full((2,), math.nan).double())
    with pytest.raises(ValueError, match="x holds NaN or an infinite"):
        model.posterior(torch.tensor([0.0, math.inf, 0.0]).double())
