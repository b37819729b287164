"""The benchmarks run, and their page shows what was measured. No test here asserts a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import END, HERE, START, headlines, table
from benchmarks.measure import ratios, spread
from benchmarks.training import BATCH, loop, pixels, vaekit


def shown(folder: Path) -> str:
    return (folder / "README.md").read_text().split(START)[1].split(END)[0]


def test_the_page_shows_the_stored_results():
    assert shown(HERE) == table(json.loads((HERE / "results.json").read_text()))


def test_the_headline_is_the_least_favourable_processor():
    stored = json.loads((HERE / "results.json").read_text())
    processor = next(name for name in stored if "expectation-cpu" in stored[name])
    measured = stored[processor]
    worse = json.loads(json.dumps(measured))
    goals = {goal["statement"]: goal for goal in worse["training-cpu"]["goals"]}
    goals["fit / fastest library"]["measured"] = [1.1, 1.2, 1.3]
    lines = headlines(stored | {"A slower one": worse}).splitlines()
    (line,) = [line for line in lines if ": fit / fastest library" in line]
    assert "A slower one | ≥ 1.5 | 1.20 (1.10–1.30) | **missed**" in line
    (line,) = [line for line in lines if "drawing alone" in line]
    assert processor in line or "A slower one" in line


def test_ratios_are_taken_round_by_round_against_the_fastest():
    speeds = {"ours": [10.0, 30.0], "a": [5.0, 10.0], "b": [2.0, 20.0]}
    assert ratios(speeds, "ours", ["a", "b"]) == [2.0, 1.5]


def test_spread_is_median_minimum_maximum():
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00–3.00)"
    assert spread([12345.6]) == "12,346"


def test_the_loop_and_fit_train_on_the_same_objective():
    x = pixels(20 * BATCH)
    torch.manual_seed(0)
    fit = [-elbo for elbo in vaekit(x, 2, "cpu", "float32")()["elbo"]]
    tutorial = loop(x, 1, "cpu", "float32")
    assert fit == pytest.approx([tutorial() / 20, tutorial() / 20], rel=0.02)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--device", "cpu"]
    subprocess.run([*command, "--rounds", "2", "--out", folder], check=True, cwd=HERE.parent)
    return folder


def test_a_quick_run_measures_everything(quick):
    (results,) = json.loads((quick / "results.json").read_text()).values()  # of one processor
    assert set(results) == {"training-cpu", "expectation-cpu", "log-evidence-cpu"}
    for result in results.values():
        assert result["facts"]["threads"] == 2
        assert all(speed > 0 for runs in result["runs"].values() for speed in runs)
        assert all(len(goal["measured"]) in (1, 2) for goal in result["goals"])
    runs = results["training-cpu"]["runs"]
    assert {"vaekit fit", "DataLoader loop", "matrix products alone"} <= set(runs)
    skipped = " ".join(results["training-cpu"]["skipped"])
    assert all(name in runs or name in skipped for name in ("pythae", "pyro-ppl"))


def test_a_quick_run_writes_its_table(quick):
    assert shown(quick) == table(json.loads((quick / "results.json").read_text()))
    assert "Not measured: training on a GPU" in shown(quick)
