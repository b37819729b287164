"""The mixture of Gaussians, against torch.distributions and scikit-learn."""

import math
import warnings
from itertools import pairwise

import pytest
import torch
from sklearn import mixture as sklearn_mixture
from sklearn.datasets import load_iris
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from vaekit.mixture import GaussianMixture

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


def random_mixture(*batch: int, components=3, size=2, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    weights = 0.2 + torch.rand(*batch, components, generator=g, dtype=dtype)
    means = torch.randn(*batch, components, size, generator=g, dtype=dtype)
    root = torch.randn(*batch, components, size, size, generator=g, dtype=dtype)
    covariances = root @ root.mT + 0.5 * torch.eye(size, dtype=dtype)
    return GaussianMixture(weights / weights.sum(-1, keepdim=True), means, covariances)


def points(n=40, size=2, seed=1, dtype=torch.float64):
    return 2 * torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def probabilities(*shape, seed=2):
    q = 0.1 + torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return q / q.sum(-1, keepdim=True)


def test_log_prob_is_that_of_torch():
    m, x = random_mixture(4), points()
    parts = MultivariateNormal(m.means[:, None], m.covariances[:, None])
    theirs = MixtureSameFamily(Categorical(m.weights[:, None]), parts).log_prob(x)
    torch.testing.assert_close(m.log_prob(x), theirs, rtol=1e-12, atol=1e-12)


def test_bound_plus_divergence_is_log_prob():
    m, x = random_mixture(4), points() / 4  # near: torch lifts probabilities below 2e-16
    q, posterior = probabilities(4, 40, 3), m.e_step(x)
    divergence = torch.distributions.kl_divergence(Categorical(q), Categorical(posterior))
    torch.testing.assert_close(m.elbo(x, q) + divergence, m.log_prob(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(m.elbo(x, posterior), m.log_prob(x), rtol=1e-12, atol=1e-12)


def test_the_m_step_is_a_maximum():
    x, q = points(), probabilities(40, 3)
    best = GaussianMixture.m_step(x, q)
    tensors = [t.clone().requires_grad_() for t in (best.weights, best.means, best.covariances)]
    logits = tensors[0].log()
    value = GaussianMixture(logits.softmax(-1), *tensors[1:]).elbo(x, q).sum()
    for slope in torch.autograd.grad(value, [logits, *tensors[1:]]):
        assert slope.abs().max() < 1e-10
    for seed in range(20):
        assert random_mixture(seed=seed).elbo(x, q).sum() < value


@pytest.mark.parametrize("columns", [[2], [0, 1, 2, 3]])
def test_every_iterate_is_that_of_scikit_learn(columns):
    iris = load_iris()
    x = torch.tensor(iris.data[:, columns])
    labels = torch.nn.functional.one_hot(torch.tensor(iris.target)).double()
    start = GaussianMixture.m_step(x, (labels + probabilities(150, 3)) / 2)
    theirs = sklearn_mixture.GaussianMixture(
        3,
        reg_covar=0,
        tol=0,
        max_iter=1,
        warm_start=True,
        weights_init=start.weights.numpy(),
        means_init=start.means.numpy(),
        precisions_init=start.covariances.inverse().numpy(),
    )
    for step, mixture in enumerate(start.iterate(x, 12)):
        if step:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs.fit(x.numpy())
            total = theirs.score_samples(x.numpy()).sum()
            assert mixture.log_prob(x).sum().item() == pytest.approx(total, abs=1e-9)
            assert mixture.covariances.numpy() == pytest.approx(theirs.covariances_, rel=1e-9)


def test_fit_stops_where_the_slope_is_zero_and_never_falls():
    x = points(200)
    heights = [m.log_prob(x).sum().item() for m in random_mixture().iterate(x, 30)]
    assert all(b >= a for a, b in pairwise(heights))
    best = random_mixture().fit(x, tolerance=1e-14)
    means = best.means.clone().requires_grad_()
    value = GaussianMixture(best.weights, means, best.covariances).log_prob(x).mean()
    assert torch.autograd.grad(value, means)[0].abs().max() < 1e-5


def test_a_batch_is_fitted_as_one_by_one():
    x, batch = points(), random_mixture(3)
    together = list(batch.iterate(x, 5))[-1]
    for i in range(3):
        alone = GaussianMixture(batch.weights[i], batch.means[i], batch.covariances[i])
        alone = list(alone.iterate(x, 5))[-1]
        torch.testing.assert_close(together.means[i], alone.means, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_device_and_shape(dtype, device):
    m = random_mixture(2, 1, dtype=dtype)
    m = GaussianMixture(*(t.to(device) for t in (m.weights, m.means, m.covariances)))
    x = points(dtype=dtype).to(device).expand(5, 40, 2)
    q = m.e_step(x)
    for result, shape in (
        (m.log_prob(x), (2, 5, 40)),
        (m.log_joint(x), (2, 5, 40, 3)),
        (q, (2, 5, 40, 3)),
        (m.elbo(x, q), (2, 5, 40)),
        (m.m_step(x, q).covariances, (2, 5, 3, 2, 2)),
    ):
        assert (result.dtype, result.device.type, result.shape) == (dtype, device, shape)


def test_a_weight_of_zero_and_a_far_point():
    m = random_mixture()
    gone = GaussianMixture(
        torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64), m.means, m.covariances
    )
    x = torch.tensor([[0.0, 0.0], [1e6, 1e6]], dtype=torch.float64)
    q = gone.e_step(x)
    assert q.isfinite().all() and (q[:, 2] == 0).all()
    assert gone.elbo(x, q).isfinite().all()
    one = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    assert torch.equal(gone.elbo(x, one), gone.log_joint(x)[:, :2].diagonal())
    assert (gone.elbo(x, torch.full((2, 3), 1 / 3, dtype=torch.float64)) == -math.inf).all()


def test_bad_cases_are_named():
    x = points()
    empty = torch.zeros(40, 3, dtype=torch.float64)
    empty[:, 0] = 1
    with pytest.raises(ValueError, match="component 2 is empty"):
        GaussianMixture.m_step(x, empty)
    single = torch.zeros(40, 2, dtype=torch.float64)
    single[:, 0], single[0] = 1, torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match="component 2 has collapsed"):
        GaussianMixture.m_step(x, single)
    with pytest.raises(ValueError, match="component 1 has collapsed"):
        GaussianMixture.m_step(torch.cat([x, 3 * x[:, :1]], 1), probabilities(40, 2))
    with pytest.raises(ValueError, match="component 1 has collapsed"):  # a constant column
        GaussianMixture.m_step(torch.cat([x, torch.ones(40, 1).double()], 1), probabilities(40, 2))


def test_units_do_not_decide_what_is_singular():
    x, q = points(), probabilities(40, 2)
    for unit in (1e-9, 1e9):
        scaled = GaussianMixture.m_step(x * torch.tensor([1.0, unit]), q)
        assert scaled.covariances.isfinite().all()


def test_too_few_steps():
    with pytest.raises(ValueError, match="still moves after 2 steps"):
        random_mixture().fit(points(), steps=2, tolerance=0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.ones(3)}, "weights must sum to 1"),
        ({"weights": torch.tensor([-0.5, 0.5, 1.0])}, "weights must not be negative"),
        ({"weights": torch.tensor([torch.nan, 0.5, 0.5])}, "weights must be finite"),
        ({"weights": torch.ones(2) / 2}, "do not fit"),
        ({"weights": torch.tensor(1.0)}, "need"),
        ({"means": torch.full((3, 2), torch.inf)}, "means must be finite"),
        ({"covariances": torch.zeros(3, 2, 2)}, "positive definite"),
        ({"covariances": torch.tensor([[1.0, 0.5], [0.0, 1.0]]).expand(3, 2, 2)}, "symmetric"),
        ({"covariances": -torch.eye(2).expand(3, 2, 2)}, "positive definite"),
    ],
)
def test_bad_parameters_are_refused(change, message):
    good = {
        "weights": torch.ones(3) / 3,
        "means": torch.zeros(3, 2),
        "covariances": torch.eye(2).expand(3, 2, 2),
    }
    GaussianMixture(**good)
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**{**good, **change})


@pytest.mark.parametrize(
    "x", [torch.zeros(4), torch.zeros(4, 3), torch.full((4, 2), torch.nan)], ids=str
)
def test_bad_points_are_refused(x):
    with pytest.raises(ValueError, match="x "):
        random_mixture(dtype=torch.float32).log_prob(x)


def test_bad_responsibilities_are_refused():
    x = points()
    for bad, message in (
        (probabilities(39, 3), "not one row each"),
        (2 * probabilities(40, 3), "q must sum to 1"),
        (torch.full((40, 3), torch.nan).double(), "q must not be negative or NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture.m_step(x, bad)
    with pytest.raises(ValueError, match=r"q must end in \(40, 3\), got \(40, 1\)"):
        random_mixture().elbo(x, torch.ones(40, 1).double())
