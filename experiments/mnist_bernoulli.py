"""The 784-200-10-200-784 Bernoulli VAE on MNIST, on the CPU.

    python -m experiments.mnist_bernoulli [--seeds 0 1 2] [--epochs 100] [--importance 1000]

A stopped run goes on from its last epoch when the command is given again. The environment variable
VAEKIT_DATA may name a folder that holds MNIST's files; else they are downloaded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from experiments import RESULTS, bounds, machine, store, summary, threshold
from vaekit.data import mnist
from vaekit.models import VAE, digits_vae
from vaekit.plotting import tiles
from vaekit.training import fit

CHECKPOINTS = Path(__file__).parent.parent / "_build" / "experiments" / "mnist_bernoulli"


def tile(images: Tensor) -> Image.Image:
    """Lay images, shape (rows, columns, 784), ink between 0 and 1, out in one picture.

    Sixteen levels of grey make a small file, and eyes want no more.
    """
    ink = tiles(images, gap=0)
    return Image.fromarray((17 * (15 * (1 - ink)).round()).byte().numpy())


@torch.no_grad()
def pictures(vae: VAE, x: Tensor, labels: Tensor) -> dict[str, Image.Image]:
    """Return samples, reconstructions and the way from a 4 to a 9, as pixel probabilities.

    The digits shown are the first of the test set: two of each class for the reconstructions, the
    first 4 and the first 9 for the way.
    """

    def probabilities(z: Tensor) -> Tensor:
        return vae.decode(z).base_dist.probs

    first_two = torch.cat([(labels == digit).nonzero()[:2, 0] for digit in range(10)])
    a, b = (x[labels == digit][0] for digit in (4, 9))
    t = torch.linspace(0, 1, 11)[:, None]
    mu_a, mu_b = vae.encode(torch.stack([a, b]))[0]
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 20, vae.latent, generator=generator)
    return {
        "samples": tile(probabilities(z)),
        "reconstructions": tile(
            torch.stack([x[first_two], probabilities(vae.encode(x[first_two])[0])])
        ),
        "four_to_nine": tile(
            torch.stack([probabilities((1 - t) * mu_a + t * mu_b), (1 - t) * a + t * b])
        ),
    }


def main() -> None:
    """Train and evaluate each seed; store numbers and the first seed's pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--importance", type=int, default=1000, help="samples for each NLL")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    data = mnist()
    x_train, x_valid, x_test = map(threshold, (data.train, data.valid, data.test))
    runs, seeds = [], []
    for seed in args.seeds:
        vae = digits_vae(784, seed=seed)
        history = fit(
            vae,
            x_train,
            epochs=args.epochs,
            seed=seed,
            device="cpu",
            validation=x_valid,
            patience=args.epochs,
            checkpoint=CHECKPOINTS / f"seed{seed}-epochs{args.epochs}",
            resume=True,
        )
        runs.append(bounds(vae, x_test, k=50, n=args.importance, samples=10))
        seeds.append(
            {
                "seed": seed,
                "best_epoch": 1 + max(range(len(history)), key=history["validation"].__getitem__),
                "training_seconds": sum(history["seconds"]),
                "fastest_epoch_seconds": min(history["seconds"]),
            }
            | {name: values.mean().item() for name, values in runs[-1].items()}
        )
        print(seeds[-1], flush=True)
        if seed == args.seeds[0]:
            for name, picture in pictures(vae, x_test, data.test_labels).items():
                picture.save(RESULTS / f"mnist_{name}.png", optimize=True)
    protocol = {
        "network": "784-200-10-200-784, ReLU, Bernoulli pixels",
        "data": "MNIST, 50 000 train, 10 000 validation, 10 000 test; pixel / 255 > 0.5",
        "batch_size": 128,
        "optimiser": "Adam",
        "lr": 1e-3,
        "epochs": args.epochs,
        "stopping": "the epoch with the best one-sample ELBO on the validation digits",
        "k": 50,
        "n": args.importance,
    }
    facts = {"protocol": protocol, "seeds": seeds, "summary": summary(runs)}
    store("mnist_bernoulli.json", machine() | facts)


if __name__ == "__main__":
    main()
