"""`log_evidence`: 5000 samples for each image, beside a loop over images and the products alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measure import Goal, Measurement, alternate, peak, ratios
from benchmarks.training import D, pixels
from vaekit.evaluation import log_evidence
from vaekit.models import VAE, digits_vae

HIDDEN, K = 200, 10


def network() -> VAE:
    return digits_vae(D, latent=K, hidden=[HIDDEN])


def vaekit(n: int, samples: int) -> Callable[[], object]:
    model, x = network(), pixels(n)
    return lambda: log_evidence(model, x, samples)


def loop(n: int, samples: int) -> Callable[[], Tensor]:
    """Return what the formula says, an image at a time, in distributions of torch."""
    model, x = network(), pixels(n)

    @torch.no_grad()
    def run() -> Tensor:
        values = []
        for image in x:
            q = model.posterior(image)
            z = q.sample((samples,))
            log_w = model.decode(z).log_prob(image) + model.prior.log_prob(z) - q.log_prob(z)
            values.append(log_w.logsumexp(0) - math.log(samples))
        return torch.stack(values).mean()

    return run


def products(n: int, samples: int) -> Callable[[], None]:
    """Return the decoder's two matrix products, on as many rows at a time as `log_evidence`."""
    rows = 2**11
    first, second = torch.randn(HIDDEN, K), torch.randn(D, HIDDEN)
    z, h, y = torch.randn(rows, K), torch.empty(rows, HIDDEN), torch.empty(rows, D)

    def run() -> None:
        for _ in range(math.ceil(n * samples / rows)):
            torch.mm(z, first.T, out=h)
            torch.mm(h, second.T, out=y)

    return run


def measure(device: str, *, rounds: int, quick: bool) -> Measurement:
    samples = 20 if quick else 5000
    few, many, timed = (128, 1280, 8) if quick else (1_000, 10_000, 256)
    contenders = {
        "log_evidence": vaekit(timed, samples),
        "loop over images": loop(timed, samples),
        "matrix products alone": products(timed, samples),
    }
    torch.manual_seed(0)
    speeds = alternate(contenders, timed, rounds)
    goals = [
        Goal(f"log_evidence / {other}", None, ratios(speeds, "log_evidence", [other]))
        for other in ("loop over images", "matrix products alone")
    ]
    skipped = []
    if small := peak(vaekit, few, samples):
        memory, seconds = peak(vaekit, many, samples)
        goals += [
            Goal(f"memory above imports and images, {few} images, MB", None, [small[0]]),
            Goal(f"the same, {many} images, MB", None, [memory]),
            Goal("memory for ten times the images", 1.2, [memory / small[0]], at_most=True),
        ]
        speeds[f"log_evidence, once, all {many} images"] = [many / seconds]
    else:
        skipped.append("memory: this system has no /proc")
    return Measurement(
        title="log_evidence",
        settings=f"VAE {D}-{HIDDEN}-{K}, Bernoulli pixels, float32, {samples} samples for each"
        f" image; {timed} images a run, {rounds} rounds",
        unit="images/s",
        runs=speeds,
        goals=goals,
        skipped=skipped,
    )
