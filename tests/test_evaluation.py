"""Evaluation: standard errors that are true, constant memory, distances by brute force."""

import math

import pytest
import torch
from scipy.stats import energy_distance
from torch.distributions import MultivariateNormal
from torch.utils._python_dispatch import TorchDispatchMode

from vaekit.estimates import expectation
from vaekit.evaluation import (
    PlaneDensity,
    active_units,
    elbo,
    iwae_bound,
    log_evidence,
    log_evidence_on_grid,
    plane_density,
    two_sample_distance,
)
from vaekit.likelihoods import GaussianLikelihood
from vaekit.models import VAE, digits_vae, from_config, mlp


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def toy() -> VAE:
    return from_config({"data_dim": 3, "hidden": [8], "latent": 2, "likelihood": "gaussian"})


def test_values_are_means_over_the_points():
    vae, x = toy(), normal(100, 3)  # one block, so that the same seed draws the same noise
    for estimate, values in (
        (elbo(vae, x, seed=3), vae.elbo(x, seed=3)),
        (iwae_bound(vae, x, 5, seed=3), vae.iwae_bound(x, 5, seed=3)),
        (log_evidence(vae, x, 50, seed=3), vae.log_evidence(x, 50, seed=3)),
    ):
        assert estimate.n == 100
        torch.testing.assert_close(estimate.value, values.detach().double().mean())
        torch.testing.assert_close(
            estimate.standard_error, values.detach().double().std() / math.sqrt(100)
        )


def test_standard_errors_are_the_spread_of_repetitions():
    vae = toy()
    for bound in (elbo, lambda *a, **k: iwae_bound(*a, 5, **k)):
        repeats = [bound(vae, normal(200, 3, seed=s), seed=s) for s in range(300)]
        spread = torch.stack([e.value for e in repeats]).std()
        claimed = torch.stack([e.standard_error for e in repeats]).mean()
        assert 0.85 < spread / claimed < 1.15


def test_more_samples_of_z_shrink_the_error_of_the_elbo():
    vae, x = toy(), normal(1, 3).expand(2000, 3)  # one point: all spread is the noise of z
    one, four = elbo(vae, x), elbo(vae, x, samples=4)
    assert 1.8 < one.standard_error / four.standard_error < 2.2


def test_memory_grows_with_neither_points_nor_samples():
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.is_floating_point() and out._base is None:
                self.numel = max(self.numel, out.numel())
            return out

    vae = digits_vae()
    for bound in (log_evidence, iwae_bound):
        for points, samples in ((256, 32), (1024, 32), (256, 512)):
            x = torch.ones(1, 64).expand(points, 64)
            with Largest() as largest:
                bound(vae, x, samples)
            assert largest.numel == 2**11 * 200  # the hidden layer of one piece


def test_seeds_decide_and_the_global_generator_stays():
    vae, x = toy(), normal(300, 3)
    before = torch.random.get_rng_state()
    assert log_evidence(vae, x, 9, seed=1).value == log_evidence(vae, x, 9, seed=1).value
    assert log_evidence(vae, x, 9, seed=1).value != log_evidence(vae, x, 9, seed=2).value
    assert torch.equal(before, torch.random.get_rng_state())


def test_active_units_are_those_that_listen():
    vae = VAE(mlp([3, 6]), mlp([3, 3]), GaussianLikelihood())
    with torch.no_grad():
        vae.encoder[0].weight.zero_()
        vae.encoder[0].weight[:3] = torch.diag(torch.tensor([1.0, 0.05, 0.12]))
        vae.encoder[0].bias.fill_(7.0)
    x = normal(20_000, 3)
    count, activity = active_units(vae, x)
    assert count == 2
    torch.testing.assert_close(activity, torch.tensor([1.0, 0.0025, 0.0144]), rtol=0.05, atol=0)
    assert active_units(vae, x, threshold=0.001)[0] == 3


def test_energy_distance_by_brute_force_and_by_scipy():
    x, y = normal(30, 2), normal(30, 2, seed=1) + 0.5
    values = []
    for a, b in zip(x.split(10), y.split(10), strict=True):
        between = sum((p - q).norm() for p in a for q in b) / 100
        within = sum((p - q).norm() for t in (a, b) for p in t for q in t) / 90
        values.append(2 * between - within)
    ours = two_sample_distance(x, y, blocks=3)
    torch.testing.assert_close(ours.value, torch.stack(values).mean())
    torch.testing.assert_close(ours.standard_error, torch.stack(values).std() / 3**0.5)

    u, v = normal(4000, 1), 1 + 2 * normal(4000, 1, seed=1)
    scipy = energy_distance(u.flatten(), v.flatten()) ** 2
    ours = two_sample_distance(u, v)
    assert abs(ours.value - scipy) < 5 * ours.standard_error + 0.003


def test_energy_distance_is_unbiased_and_sees_a_shift():
    zeros = [
        two_sample_distance(normal(400, 2, seed=s), normal(400, 2, seed=1000 + s))
        for s in range(100)
    ]
    values = torch.stack([e.value for e in zeros])
    assert abs(values.mean()) < 4 * values.std() / 10
    claimed = torch.stack([e.standard_error for e in zeros]).mean()
    assert 0.8 < values.std() / claimed < 1.25
    shifted = two_sample_distance(normal(2000, 2), normal(2000, 2, seed=1) + 0.3)
    assert shifted.value > 5 * shifted.standard_error


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vae: elbo(vae, normal(1, 3)), "needs at least 2 data points"),
        (
            lambda vae: elbo(vae, normal(9, 3), samples=0),
            "samples must be a whole number of 1 or more, got 0",
        ),
        (lambda vae: iwae_bound(vae, normal(9, 3), 0), "k must be .* got 0"),
        (lambda vae: log_evidence(vae, normal(9, 3), 0), "n must be .* got 0"),
        (lambda vae: log_evidence(vae, normal(9, 3) / 0), "NaN or infinite"),
        (lambda vae: elbo(vae, normal(9, 4)), "must have shape"),
        (lambda vae: active_units(vae, normal(9, 4)), "must have shape"),
        (lambda vae: two_sample_distance(normal(9, 3), normal(8, 3)), "two samples"),
        (lambda vae: two_sample_distance(normal(9, 3), normal(9, 3)), "do not fill 10 blocks"),
        (lambda vae: two_sample_distance(normal(19, 3), normal(19, 3)), "do not fill 10 blocks"),
        (lambda vae: two_sample_distance(normal(9, 3), normal(9, 3), blocks=1), "2 or more, got 1"),
        (lambda vae: two_sample_distance(normal(9, 3), normal(9, 3), blocks=2.5), "got 2.5"),
        (lambda vae: active_units(vae, normal(1, 3)), "at least 2 data points"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(toy())


def test_plane_density_of_a_linear_model():
    model = VAE(mlp([2, 4]), mlp([2, 2]), GaussianLikelihood(0.09))
    W = torch.tensor([[0.6, 0.2], [-0.1, 0.3]])
    with torch.no_grad():
        model.decoder[0].weight.copy_(W)
        model.decoder[0].bias.copy_(torch.tensor([0.3, -0.2]))
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) / 2
    exact = MultivariateNormal(torch.tensor([0.3, -0.2]), W @ W.T + 0.09 * torch.eye(2))
    rough = plane_density(model, half_width=4, cell=0.12)  # which 8 is no multiple of
    assert abs((rough.log_prob(x) - exact.log_prob(x))[exact.log_prob(x) > -5].mean()) < 0.005
    found = plane_density(model, half_width=4)
    usual = exact.log_prob(x) > -5
    assert (found.log_prob(x) - exact.log_prob(x))[usual].abs().max() < 0.05
    assert found.values.sum().item() * 0.01**2 == pytest.approx(1, abs=1e-3)
    assert found.log_prob(torch.tensor([[9.0, 0.0]])) == -math.inf
    assert torch.equal(plane_density(model, draws=99).values, plane_density(model, draws=99).values)


def test_a_density_on_cells_is_linear_between_their_middles():
    middles = torch.arange(8).double() / 4 - 7 / 8
    density = PlaneDensity(3 + middles[:, None] - 2 * middles, half_width=1.0)
    x = 1.7 * torch.rand(3, 50, 2, generator=torch.Generator().manual_seed(0)).double() - 0.85
    assert torch.allclose(density.log_prob(x).exp(), 3 + x[..., 0] - 2 * x[..., 1])
    bent = PlaneDensity((middles**2)[:, None].expand(8, 8), half_width=1.0)
    between = torch.tensor([1 / 4, 0.0]).double()  # half-way from 1/8 to 3/8
    assert bent.log_prob(between).exp() == pytest.approx((1 / 64 + 9 / 64) / 2)


def test_plane_density_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="make no density"):
        plane_density(VAE(mlp([2, 4]), mlp([2, 2]), GaussianLikelihood(0.09)), draws=0)
    with pytest.raises(ValueError, match="a Gaussian decoder"):
        plane_density(digits_vae(2, latent=2))
    with pytest.raises(ValueError, match="2 dimensions"):
        plane_density(VAE(mlp([3, 4]), mlp([2, 3]), GaussianLikelihood(0.09)))
    with pytest.raises(ValueError, match="2 cells"):
        plane_density(VAE(mlp([2, 4]), mlp([2, 2]), GaussianLikelihood(0.015**2)))


def test_the_grid_gives_what_sampling_the_prior_gives():
    vae = digits_vae(6, latent=2, hidden=[5], seed=3).double()
    g = torch.Generator().manual_seed(0)
    x = (torch.rand(4, 6, generator=g) > 0.5).double()
    exact = log_evidence_on_grid(vae, x)
    sampled = expectation(lambda z: vae.decode(z[:, None]).log_prob(x).exp(), vae.prior, 100_000)
    assert ((sampled.value - exact.exp()).abs() < 6 * sampled.error).all()
    assert torch.allclose(exact, log_evidence_on_grid(vae, x, step=0.1), atol=1e-4)
    moved = MultivariateNormal(
        torch.tensor([1.0, -1.0]).double(), torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()
    )
    sampled = expectation(lambda z: vae.decode(z[:, None]).log_prob(x).exp(), moved, 100_000)
    there = log_evidence_on_grid(vae, x, moved)
    assert ((sampled.value - there.exp()).abs() < 6 * sampled.error).all()
    with pytest.raises(ValueError, match="plane"):
        log_evidence_on_grid(digits_vae(6, latent=3).double(), x)
