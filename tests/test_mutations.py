"""The tests notice what must not go wrong: each of these edits to vaekit makes them fail."""

import contextlib
import io
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent

# name: (module, what stands there, what is put in its place)
EDITS = {
    "dropped ½": ("divergence", "/ (2 * q.variance)\n        - 0.5", "/ (2 * q.variance)"),
    "doubled ½": (
        "divergence",
        "torch.log(q.stddev / p.stddev)",
        "0.5 * torch.log(q.stddev / p.stddev)",
    ),
    "arguments swapped": (
        "divergence",
        "def kl_gaussian(p: Normal, q: Normal)",
        "def kl_gaussian(q: Normal, p: Normal)",
    ),
    "quadrature swapped": (
        "divergence",
        "def kl_quadrature(p: Normal, q: Normal)",
        "def kl_quadrature(q: Normal, p: Normal)",
    ),
    "σ for σ²": ("divergence", "(p.variance + ", "(p.stddev + "),
    "σ for σ² in the prior": ("divergence", "/ (2 * q.variance)", "/ (2 * q.stddev)"),
    "σ for σ² in kl_standard_normal": (
        "divergence",
        "(log_variance.exp() + mu**2",
        "((log_variance / 2).exp() + mu**2",
    ),
    "σ for σ² in log_prob": ("gaussian", "(-log_variance).exp()", "(-log_variance / 2).exp()"),
    "mean for sum": (
        "divergence",
        "kl_standard_normal(mu, sigma).sum(-1)",
        "kl_standard_normal(mu, sigma).mean(-1)",
    ),
    "no square root": (
        "estimates",
        "(squares / (n - 1) / n).sqrt()",
        "(squares / (n - 1) / n)",
    ),
    "no 1/n": ("estimates", "(squares / (n - 1) / n)", "(squares / (n - 1))"),
    "rounding × 1000": ("claims", "ROUNDING = 1e-12", "ROUNDING = 1e-9"),
    "false alarms never": ("claims", "FALSE_ALARM = 1e-7", "FALSE_ALARM = 1e-300"),
    "false alarms often": ("claims", "FALSE_ALARM = 1e-7", "FALSE_ALARM = 1e-4"),
    "widths × 1000": ("claims", "widths * error", "1000 * widths * error"),
    "declared resolution × 1000": (
        "claims",
        "def claim(label: str, *, resolution: float = 1e-10",
        "def claim(label: str, *, resolution: float = 1e-7",
    ),
    "infinite tolerance": ("claims", ".nan_to_num(posinf=1)", ""),
    "quadrature error × 1000": ("claims", "error + rounding)", "1000 * error + rounding)"),
}


def outcome(folder: Path, module: str, edit: tuple[str, str] | None) -> int:
    """Copy vaekit, make the edit, and return pytest's exit status of its tests on the copy."""
    shutil.copytree(ROOT / "vaekit", folder / "vaekit", ignore=shutil.ignore_patterns("*.pyc"))
    if edit:
        path = folder / "vaekit" / f"{module}.py"
        source = path.read_text(encoding="utf-8")
        assert source.count(edit[0]) == 1, f"{edit[0]!r} stands {source.count(edit[0])} times"
        path.write_text(source.replace(*edit), encoding="utf-8")
    tests = shutil.copy(ROOT / "tests" / f"test_{module}.py", folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    torch.set_num_threads(1)  # two of these run side by side
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-q", "-x", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider"]
    options += ["--tb=no", "--assert=plain"]  # neither is read, and both take time
    with contextlib.redirect_stdout(io.StringIO()) as report:
        status = pytest.main([*options, "-k", "not memory", tests])
    assert Path(sys.modules["vaekit"].__file__).is_relative_to(folder), report.getvalue()
    return int(status)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> Iterator[dict[str, Future[int]]]:
    """Start every run at once, two at a time, each in a fresh process that has torch already."""
    modules = sorted({module for module, *_ in EDITS.values()})
    jobs = {module: (module, None) for module in modules}
    jobs |= {name: (module, (old, new)) for name, (module, old, new) in EDITS.items()}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "torch", "scipy.integrate", "scipy.stats"])
    with ProcessPoolExecutor(2, context, max_tasks_per_child=1) as pool:
        yield {
            name: pool.submit(outcome, tmp_path_factory.mktemp("copy"), *job)
            for name, job in jobs.items()
        }


@pytest.mark.parametrize("module", sorted({module for module, *_ in EDITS.values()}))
def test_the_copy_without_an_edit_passes(module, outcomes):
    assert outcomes[module].result() == pytest.ExitCode.OK


@pytest.mark.parametrize("name", EDITS)
def test_the_edit_is_noticed(name, outcomes):
    assert outcomes[name].result() == pytest.ExitCode.TESTS_FAILED
