"""The scripts behind stored results: their averages, their pictures, and what they stored."""

import json

import numpy as np
import pytest
import torch

from experiments import RESULTS, bounds, summary, threshold
from experiments.mnist_bernoulli import tile
from vaekit.models import digits_vae


def test_summary_averages_over_seeds_and_images():
    runs = [{"nll": torch.tensor([1.0, 2.0, 6.0])}, {"nll": torch.tensor([3.0, 2.0, 4.0])}]
    row = summary(runs)["nll"]
    assert row["mean"] == pytest.approx(3.0)
    assert row["over_seeds"] == pytest.approx(0.0)  # both seeds have mean 3
    assert row["over_images"] == pytest.approx(np.std([2, 2, 5], ddof=1) / 3**0.5)
    assert summary(runs[:1])["nll"]["over_seeds"] is None


def test_bounds_are_ordered():
    x = threshold(torch.rand(300, 64, generator=torch.Generator().manual_seed(0)))
    values = bounds(digits_vae(), x, k=5, n=50, samples=20)
    assert all(v.shape == (300,) for v in values.values())
    assert values["elbo"].mean() > values["bound"].mean() > values["nll"].mean()


def test_threshold_is_strict():
    assert threshold(torch.tensor([0.0, 0.5, 0.51, 1.0])).tolist() == [0, 0, 1, 1]


def test_tile_puts_images_in_rows():
    images = torch.zeros(2, 3, 784)
    images[0, 2] = 1  # black, the third of the first row
    grid = np.asarray(tile(images))
    assert grid.shape == (56, 84)
    assert (grid[:28, 56:] == 0).all() and (grid[28:] == 255).all() and (grid[:, :56] == 255).all()


@pytest.mark.parametrize("name, seeds", [("digits_baseline", 5), ("mnist_bernoulli", 3)])
def test_stored_results_are_whole(name, seeds):
    facts = json.loads((RESULTS / f"{name}.json").read_text())
    assert {"date", "device", "versions", "protocol"} <= set(facts)
    assert [seed["seed"] for seed in facts["seeds"]] == list(range(seeds))
    for key, row in facts["summary"].items():
        values = [seed[key] for seed in facts["seeds"]]
        assert row["mean"] == pytest.approx(np.mean(values), rel=1e-4)
        assert row["over_seeds"] == pytest.approx(np.std(values, ddof=1) / seeds**0.5, rel=1e-2)
    assert facts["summary"]["elbo"]["mean"] > facts["summary"]["nll"]["mean"]


def test_stored_runs_on_the_roll_say_what_the_chapter_says():
    facts = json.loads((RESULTS / "swiss_roll.json").read_text())
    assert {"date", "device", "versions", "commit", "protocol"} <= set(facts)
    runs = {}
    for run in facts["runs"]:
        runs.setdefault(run["start"], []).append(run)
    head = runs.pop("head start")
    assert (
        [run["seed"] for run in head]
        == list(range(5))
        == [run["seed"] for run in runs["random weights"]]
    )
    wound = [run for rows in runs.values() for run in rows]
    assert len(wound) == 11
    assert min(run["straightness"] for run in head) > 0.95
    assert max(run["straightness"] for run in wound) < 0.3
    assert min(run["elbo"] for run in head) > max(run["elbo"] for run in runs["random weights"])
    assert max(run["kl_from_data"] for run in head) < min(run["kl_from_data"] for run in wound)


def test_the_comparison_with_the_autoencoder_is_whole():
    facts = json.loads((RESULTS / "digits_autoencoder.json").read_text())
    assert {"date", "device", "versions", "protocol", "references"} <= set(facts)
    assert [seed["seed"] for seed in facts["seeds"]] == list(range(5))
    for key, row in facts["summary"].items():
        values = [seed[key] for seed in facts["seeds"]]
        assert row["mean"] == pytest.approx(np.mean(values), rel=1e-4)
        assert row["over_seeds"] == pytest.approx(np.std(values, ddof=1) / 5**0.5, rel=1e-2)
    for seed in facts["seeds"]:
        gap = seed["autoencoder_2_nll_fitted"] - seed["vae_2_nll_prior"]
        assert seed["nll_difference"] == pytest.approx(gap, abs=1e-3)
