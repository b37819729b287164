"""Chapter 10 over several trainings: whether a VAE unrolls the roll, and what is gained if it does.

    python -m experiments.swiss_roll

Five trainings from random weights, five with a head start, and others with other step sizes and
three times the epochs. Everything runs on one thread, since the matrices are too small for more.
"""

from __future__ import annotations

import math
import subprocess
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments import machine, store
from vaekit.data import swiss_roll, swiss_roll_log_density, swiss_roll_spiral
from vaekit.estimates import seeded
from vaekit.evaluation import elbo, plane_density, two_sample_distance
from vaekit.models import VAE, swiss_roll_vae
from vaekit.training import fit

Schedule = tuple[tuple[float, int], ...]  # step size, epochs

RANDOM = ((5e-3, 60), (1e-3, 30))
HEAD_START = ((1e-3, 15), (5e-4, 15), (1e-4, 10))
STEPS = 2000  # of learning the unrolled codes by example

# name: (head start?, schedule, seeds)
RUNS: dict[str, tuple[bool, Schedule, range]] = {
    "random weights": (False, RANDOM, range(5)),
    "head start": (True, HEAD_START, range(5)),
    "step size 0.001": (False, ((1e-3, 60), (2e-4, 30)), range(5, 7)),
    "step size 0.02": (False, ((2e-2, 60), (2e-3, 30)), range(5, 7)),
    "three times the epochs": (False, ((5e-3, 180), (1e-3, 90)), range(5, 7)),
}
PAIRS = 8  # of a sample from the model and a sample of the data
PROTOCOL = {
    "network": "2-128-128, latent 2, LeakyReLU, Gaussian decoder with a learned variance",
    "data": "swiss_roll(10_000, seed=0); judged on swiss_roll(5_000, seed=1)",
    "batch_size": 200,
    "optimiser": "Adam",
    "schedules": {name: schedule for name, (_, schedule, _) in RUNS.items()},
    "head start": f"{STEPS} steps towards codes z1 = ndtri(place on the spiral), z2 = noise",
    "energy distance": f"mean of {PAIRS} pairs of 8000 points, in blocks of 2000",
}


def place(points: Tensor) -> Tensor:
    """Return where on the spiral each point lies, from 0 at the inner end to 1 at the outer."""
    spiral = swiss_roll_spiral()
    return (torch.cdist(points, spiral).argmin(1) + 0.5) / len(spiral)


def off_the_roll(points: Tensor) -> float:
    """Return the share of points over four standard deviations of the noise from the spiral."""
    far = torch.cdist(points, swiss_roll_spiral()).amin(1) > 4 * 0.05
    return far.float().mean().item()


def unroll(model: VAE, x: Tensor, seed: int) -> None:
    """Teach both networks by example that z1 is the place on the roll and z2 is noise."""
    z1 = torch.special.ndtri(place(x))
    zero = torch.zeros_like(z1)
    wanted = torch.stack([z1, zero, zero + 2 * math.log(0.03), zero], dim=1)  # μ and ln σ²
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, total_iters=STEPS)
    with seeded(seed):
        for _ in range(STEPS):
            i = torch.randint(len(x), (200,))
            mu, log_variance = wanted[i].chunk(2, dim=1)
            z = mu + (log_variance / 2).exp() * torch.randn(200, 2)
            loss = F.mse_loss(model.encoder(x[i]), wanted[i])
            loss = loss + 10 * F.mse_loss(model.decoder(z), x[i])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            slower.step()


def trained(x: Tensor, head_start: bool, schedule: Schedule, seed: int) -> VAE:
    """Return a model trained from random weights or with a head start."""
    variance = 0.004 if head_start else 0.1
    model = swiss_roll_vae(variance=variance, learn_variance=True, seed=seed)
    if head_start:
        unroll(model, x, seed)
    for lr, epochs in schedule:
        fit(model, x, epochs=epochs, batch_size=200, lr=lr, seed=seed, device="cpu", progress=False)
    return model


@torch.no_grad()
def straightness(model: VAE, x: Tensor) -> float:
    """Return R²: how much of ndtri(place) a linear function of the codes' means explains."""
    mu, _ = model.encode(x)
    design = torch.cat([mu, torch.ones(len(x), 1)], dim=1).double()
    wanted = torch.special.ndtri(place(x)).double()
    left = wanted - design @ torch.linalg.lstsq(design, wanted[:, None]).solution[:, 0]
    return 1 - (left.var() / wanted.var()).item()


def distances(first: list[Tensor], second: list[Tensor]) -> list[float]:
    """Return the squared energy distance of each pair of samples."""
    pairs = zip(first, second, strict=True)
    return [two_sample_distance(a, b, blocks=4).value.item() for a, b in pairs]


def score(model: VAE, held_out: Tensor, rolls: list[Tensor]) -> dict[str, float]:
    """Return what the chapter's table shows of one model."""
    drawn = [model.sample(8_000, seed=seed) for seed in range(len(rolls))]
    log_p = plane_density(model).log_prob(held_out)
    return {
        "elbo": elbo(model, held_out, samples=10).value.item(),
        "log_density": log_p.mean().item(),
        "kl_from_data": (swiss_roll_log_density(held_out).double() - log_p).mean().item(),
        "off_the_roll": sum(map(off_the_roll, drawn)) / len(drawn),
        "energy_distance": sum(distances(drawn, rolls)) / len(rolls),
        "straightness": straightness(model, held_out),
        "s": (model.likelihood.log_variance / 2).exp().item(),
    }


def commit() -> str:
    """Return the commit that the tree was at."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Train and score every run."""
    torch.set_num_threads(1)
    x, held_out = swiss_roll(10_000, seed=0), swiss_roll(5_000, seed=1)
    rolls = [swiss_roll(8_000, seed=seed) for seed in range(30, 30 + 2 * PAIRS)]
    facts = machine() | {"commit": commit(), "protocol": PROTOCOL}
    facts["best_log_density"] = swiss_roll_log_density(held_out).mean().item()
    facts["two_real_samples"] = distances(rolls[::2], rolls[1::2])
    facts["runs"] = []
    for name, (head_start, schedule, seeds) in RUNS.items():
        for seed in seeds:
            start = time.process_time()
            model = trained(x, head_start, schedule, seed)
            seconds = time.process_time() - start
            row = {"start": name, "seed": seed, "training_cpu_seconds": seconds}
            facts["runs"].append(row | score(model, held_out, rolls[::2]))
            print(facts["runs"][-1], flush=True)
    store("swiss_roll.json", facts)


if __name__ == "__main__":
    main()
