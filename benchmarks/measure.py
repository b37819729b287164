"""What every measurement shares: alternating runs, peak memory, facts of the machine."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

THREADS = 2
STATUS = Path("/proc/self/status")


@dataclass
class Goal:
    """A number, what was aimed at if anything was, and what came out in each round."""

    statement: str
    wanted: float | None
    measured: list[float]
    at_most: bool = False


@dataclass
class Measurement:
    """One comparison: `runs` holds the speed of each contender in each round, in `unit`."""

    title: str
    settings: str
    unit: str
    runs: dict[str, list[float]]
    goals: list[Goal] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def alternate(
    contenders: dict[str, Callable[[], object]], work: float, rounds: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Run the contenders in turn, `rounds` times after one that does not count.

    Every second round goes backwards, so that nobody always follows the same neighbour.

    Returns
    -------
    dict
        `work` per second of each contender in each round.
    """
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name in sorted(contenders, key=list(contenders).index, reverse=round_ % 2 == 0):
            start = time.perf_counter()
            contenders[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_:
                speeds[name].append(work / (time.perf_counter() - start))
    return speeds


def ratios(speeds: dict[str, list[float]], name: str, others: list[str]) -> list[float]:
    """Return, round by round, the speed of `name` over that of the fastest of `others`."""
    return [
        own / max(rivals)
        for own, *rivals in zip(speeds[name], *(speeds[o] for o in others), strict=True)
    ]


def peak(call: Callable[..., object], *arguments: object) -> tuple[float, float] | None:
    """Run `call` in a fresh interpreter; see `_peak`. None where the system has no /proc."""
    if not STATUS.exists():
        return None
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, call, *arguments).result()


def _peak(call: Callable[..., Callable[[], object]], *arguments: object) -> tuple[float, float]:
    """Return how many MB `call(*arguments)()` needs above what stood before, and its seconds.

    What stood before is the interpreter, its imports and what `call` itself prepares. The high
    water mark is read from /proc, since that of `resource.getrusage` starts at the parent's.
    """
    torch.set_num_threads(THREADS)
    run = call(*arguments)
    before = _megabytes("VmRSS")
    start = time.perf_counter()
    run()
    return _megabytes("VmHWM") - before, time.perf_counter() - start


def _megabytes(key: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024 / 1e6


def machine(device: str) -> dict[str, Any]:
    """Return where, when and from which commit something is measured."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
    }
    return facts | ({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit, marked where files of vaekit or benchmarks differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
        status = [*git, "status", "--porcelain", "--", "../vaekit", "*.py"]
        return head + (" with changes" if subprocess.check_output(status) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def spread(values: list[float]) -> str:
    """Return ``median (min–max)``, or the one value there is."""
    low, mid, high = (_number(f(values)) for f in (min, statistics.median, max))
    return f"{mid} ({low}–{high})" if len(values) > 1 else mid


def _number(x: float) -> str:
    """Write three digits, or the whole number where it has more."""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:#.3g}"
