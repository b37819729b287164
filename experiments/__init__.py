"""Runs that are too long for a page. Each writes files into chapters/results; a page shows them."""

from __future__ import annotations

import json
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from vaekit.estimates import generator
from vaekit.models import VAE
from vaekit.storage import write_bytes

RESULTS = Path(__file__).parent.parent / "chapters" / "results"


def threshold(x: Tensor) -> Tensor:
    """Return black-and-white pixels: 1 where the grey value is above one half, else 0."""
    return (x > 0.5).to(x.dtype)


@torch.no_grad()
def bounds(vae: VAE, x: Tensor, *, k: int, n: int, samples: int = 100) -> dict[str, Tensor]:
    """Return −ELBO (mean of `samples` draws), −L_k and −L_n, in nats, one value for each image."""
    g = generator(0)
    blocks = x.split(250)
    elbo = [sum(vae.elbo(block, seed=g) for _ in range(samples)) / samples for block in blocks]
    return {
        "elbo": -torch.cat(elbo).double(),
        "bound": -torch.cat([vae.log_evidence(block, k, seed=g) for block in blocks]).double(),
        "nll": -torch.cat([vae.log_evidence(block, n, seed=g) for block in blocks]).double(),
    }


def summary(runs: list[dict[str, Tensor]]) -> dict[str, dict]:
    """Average the values of `bounds` over seeds and images, with a standard error for each.

    `over_seeds` is the standard deviation of the seeds' means / √seeds, null for one seed;
    `over_images` is that of the images' means / √images.
    """
    rows = {}
    for name in runs[0]:
        values = torch.stack([run[name] for run in runs])  # (seeds, images)
        seeds, images = values.shape
        over_seeds = values.mean(1).std().item() / seeds**0.5 if seeds > 1 else None
        rows[name] = {
            "mean": values.mean().item(),
            "over_seeds": over_seeds,
            "over_images": values.mean(0).std().item() / images**0.5,
        }
    return rows


def machine() -> dict:
    """Return when and on what a result was made."""
    return {
        "date": date.today().isoformat(),
        "device": f"CPU ({platform.machine()}), threads: {torch.get_num_threads()}",
        "versions": {"python": platform.python_version()}
        | {name: version(name).split("+")[0] for name in ("torch", "numpy", "scikit-learn")},
    }


def store(name: str, facts: dict) -> None:
    """Write `facts` to `name` in the folder of results, floats to six digits."""
    rounded = json.loads(json.dumps(facts), parse_float=lambda text: float(f"{float(text):.6g}"))
    write_bytes(RESULTS / name, (json.dumps(rounded, indent=1) + "\n").encode())
