"""The digits VAE beside an autoencoder of the same network: five trainings of each, K = 10 and 2.

    python -m experiments.digits_autoencoder

A picture counts as far from any digit if more pixels have to change until it is a training digit
than 99 in 100 test digits need. With two latent dimensions the test NLL is computed on a grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from experiments import machine, store, threshold
from experiments.digits_baseline import PROTOCOL
from vaekit.data import digits
from vaekit.estimates import seeded
from vaekit.evaluation import log_evidence_on_grid
from vaekit.models import Autoencoder, from_config
from vaekit.training import fit

SEEDS = range(5)
DRAWS = 5000
FAR = 7  # pixels; more are needed by 0.7 % of the test digits


def off(pictures: Tensor, train: Tensor) -> Tensor:
    """Return how many pixels differ from the nearest training digit, for each picture."""
    return torch.cdist(pictures, train, p=1).min(1).values


def fitted(codes: Tensor) -> MultivariateNormal:
    """Return the Gaussian with the mean and the covariance of the codes."""
    return MultivariateNormal(codes.mean(0), torch.cov(codes.T))


@torch.no_grad()
def places(model: Autoencoder, train: Tensor, test: Tensor) -> dict[str, Tensor]:
    """Return codes from the prior, from a Gaussian fitted to the training codes, and half-way.

    The codes are those that the decoder met in training: a VAE's carry the encoder's noise. The
    half-way points lie between the codes, without noise, of pairs of test digits.
    """
    outputs = model.encoder(train)
    codes, mean = outputs, model.encoder(test)
    if model.latent_outputs == 2:
        codes, mean = model.posterior(train).sample(), model.encode(test)[0]
    half = len(test) // 2
    return {
        "prior": torch.randn(DRAWS, model.latent),
        "fitted": fitted(codes).sample((DRAWS,)),
        "half_way": (mean[:half] + mean[half : 2 * half]) / 2,
    }


@torch.no_grad()
def far_from_digits(model: Autoencoder, train: Tensor, test: Tensor, seed: int) -> dict:
    """Return mean pixels off and the share of far pictures, for each place and both readings.

    `ink` takes every pixel with a probability above one half as ink; `drawn` tosses each pixel.
    """
    facts = {}
    with seeded(seed):
        for place, z in places(model, train, test).items():
            probability = model.decode(z).base_dist.probs
            readings = {"ink": threshold(probability), "drawn": torch.bernoulli(probability)}
            for reading, pictures in readings.items():
                pixels = off(pictures, train)
                facts[f"{place}_{reading}_off"] = pixels.mean().item()
                facts[f"{place}_{reading}_far"] = (pixels > FAR).float().mean().item()
    return facts


def run(seed: int, train: Tensor, valid: Tensor, test: Tensor) -> dict:
    """Train the four models of one seed and return what was measured."""
    facts = {}
    for latent in (10, 2):
        for kind in ("vae", "autoencoder"):
            model = from_config(
                {
                    "model": kind,
                    "data_dim": 64,
                    "hidden": [200],
                    "latent": latent,
                    "seed": seed,
                }
            )
            fit(
                model,
                train,
                epochs=PROTOCOL["epochs"],
                batch_size=PROTOCOL["batch_size"],
                lr=PROTOCOL["lr"],
                seed=seed,
                device="cpu",
                validation=valid,
                patience=PROTOCOL["patience"],
                progress=False,
            )
            name = f"{kind}_{latent}"
            measured = far_from_digits(model, train, test, seed)
            if latent == 2:
                measured["nll_prior"] = -log_evidence_on_grid(model, test).mean().item()
            if latent == 2 and kind == "autoencoder":
                codes = fitted(model.encoder(train).detach())
                measured["nll_fitted"] = -log_evidence_on_grid(model, test, codes).mean().item()
            facts |= {f"{name}_{key}": value for key, value in measured.items()}
    difference = facts["autoencoder_2_nll_fitted"] - facts["vae_2_nll_prior"]
    return {"seed": seed, "nll_difference": difference} | facts


def main() -> None:
    """Run the five seeds and store every number with its mean and standard error over seeds."""
    torch.set_num_threads(1)
    data = digits()
    train, valid, test = map(threshold, (data.train, data.valid, data.test))
    seeds = []
    for seed in SEEDS:
        seeds.append(run(seed, train, valid, test))
        print(seeds[-1], flush=True)
    summary = {}
    for key in seeds[0]:
        values = torch.tensor([row[key] for row in seeds], dtype=torch.float64)
        over_seeds = values.std().item() / len(values) ** 0.5
        summary[key] = {"mean": values.mean().item(), "over_seeds": over_seeds}
    del summary["seed"]
    coins = torch.bernoulli(
        torch.full((DRAWS, 64), 0.5), generator=torch.Generator().manual_seed(0)
    )
    pixels = {"test_digits": off(test, train), "coins": off(coins, train)}
    references = {
        name: {"off": each.mean().item(), "far": (each > FAR).float().mean().item()}
        for name, each in pixels.items()
    }
    protocol = PROTOCOL | {"far": FAR, "draws": DRAWS}
    facts = {"protocol": protocol, "references": references, "seeds": seeds, "summary": summary}
    store("digits_autoencoder.json", machine() | facts)


if __name__ == "__main__":
    main()
