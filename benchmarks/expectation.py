"""`expectation`: the mean of f(x) = x² over 10⁹ normal float64 samples, beside drawing alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.distributions import Normal

from benchmarks.measure import Goal, Measurement, alternate, peak, ratios
from vaekit.estimates import CHUNK, expectation, seeded


def standard_normal() -> Normal:
    return Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))


def estimate(n: int) -> Callable[[], object]:
    return lambda: expectation(torch.square, standard_normal(), n)


def drawing(n: int) -> Callable[[], None]:
    """Return the same draws in the same pieces, used for nothing."""

    def draw() -> None:
        normal = standard_normal()
        with torch.no_grad(), seeded(0):
            for start in range(0, n, CHUNK):
                normal.sample((min(CHUNK, n - start),))

    return draw


def measure(device: str, *, rounds: int, quick: bool) -> Measurement:
    n = 10**5 if quick else 10**9
    contenders = {
        "expectation": estimate(n),
        "drawing alone": drawing(n),
    }
    speeds = alternate(contenders, n / 1e6, rounds)
    slowdown = ratios(speeds, "drawing alone", ["expectation"])
    goals = [Goal("time of expectation / drawing alone", 1.25, slowdown, at_most=True)]
    skipped = []
    if memory := peak(estimate, n):
        goals.append(Goal("memory above the imports, MB", 300, [memory[0]], at_most=True))
    else:
        skipped.append("memory: this system has no /proc")
    return Measurement(
        title="expectation",
        settings=f"f(x) = x², {n:.0e} samples of N(0, 1) in float64, {CHUNK} at a time;"
        f" drawing alone: the same calls of `sample` in the same pieces; {rounds} rounds",
        unit="million samples/s",
        runs=speeds,
        goals=goals,
        skipped=skipped,
    )
