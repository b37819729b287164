"""Test NLL of the 64-200-10-200-64 Bernoulli VAE on scikit-learn's 8×8 digits, five seeds.

    python -m experiments.digits_baseline

The step size is looked at on the validation digits alone; the test digits are used once, at the
end. Everything runs on one thread, since the matrices are too small for more.
"""

from __future__ import annotations

import time

import torch

from experiments import bounds, machine, store, summary, threshold
from vaekit.data import digits
from vaekit.evaluation import elbo
from vaekit.models import VAE, digits_vae
from vaekit.training import Objective, fit

SEEDS = range(5)
PROTOCOL = {
    "network": "64-200-10-200-64, ReLU, Bernoulli pixels",
    "data": "scikit-learn load_digits, split by vaekit.data.digits(seed=0), pixel / 16 > 0.5",
    "batch_size": 128,
    "optimiser": "Adam",
    "lr": 1e-3,
    "epochs": 2000,
    "patience": 100,
    "stopping": "best one-sample ELBO on the 300 validation digits",
    "k": 50,
    "n": 5000,
}


def train(train: torch.Tensor, valid: torch.Tensor, seed: int, lr: float, warmup: int = 0):
    """Return a model trained by the protocol, the epoch of its best weights, and CPU seconds."""
    start = time.process_time()
    vae: VAE = digits_vae(seed=seed)
    history = fit(
        vae,
        train,
        epochs=PROTOCOL["epochs"],
        batch_size=PROTOCOL["batch_size"],
        lr=lr,
        seed=seed,
        device="cpu",
        objective=Objective(warmup=warmup),
        validation=valid,
        patience=PROTOCOL["patience"],
        progress=False,
    )
    best = 1 + max(range(len(history)), key=history["validation"].__getitem__)
    return vae, best, time.process_time() - start


def main() -> None:
    """Search on the validation digits, then train and evaluate five seeds."""
    torch.set_num_threads(1)
    data = digits()
    x_train, x_valid, x_test = map(threshold, (data.train, data.valid, data.test))

    search = []
    for lr, warmup in ((3e-4, 0), (1e-3, 0), (1e-3, 50), (2e-3, 0), (4e-3, 0)):
        models = [train(x_train, x_valid, seed, lr, warmup) for seed in SEEDS]
        values = torch.stack([elbo(vae, x_valid, samples=200).value for vae, _, _ in models])
        search.append(
            {
                "lr": lr,
                "warmup": warmup,
                "validation_elbo": -values.mean().item(),
                "over_seeds": values.std().item() / len(values) ** 0.5,
                "best_epoch": sum(epoch for _, epoch, _ in models) / len(models),
            }
        )
        print(search[-1], flush=True)

    runs, seeds = [], []
    for seed in SEEDS:
        vae, epoch, seconds = train(x_train, x_valid, seed, PROTOCOL["lr"])
        start = time.process_time()
        runs.append(bounds(vae, x_test, k=PROTOCOL["k"], n=PROTOCOL["n"]))
        seeds.append(
            {
                "seed": seed,
                "best_epoch": epoch,
                "training_cpu_seconds": seconds,
                "evaluation_cpu_seconds": time.process_time() - start,
            }
            | {name: values.mean().item() for name, values in runs[-1].items()}
        )
        print(seeds[-1], flush=True)
    facts = {"protocol": PROTOCOL, "search": search, "seeds": seeds, "summary": summary(runs)}
    store("digits_baseline.json", machine() | facts)


if __name__ == "__main__":
    main()
