"""The command line, as a user types it."""

import json
import os
import subprocess
import sys

import pytest
import torch

from vaekit import models
from vaekit.__main__ import main, parser, splits


def vaekit(*arguments) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    options = ("--epochs", 3, "--hidden", 32, 16, "--latent", 4, "--beta", 0.5, "--device", "cpu")
    assert vaekit("train", "digits", "--out", folder, *options) == 0
    return folder


def test_train_writes_three_files(run):
    assert {p.name for p in run.iterdir()} >= {"model.safetensors", "config.json", "history.json"}
    config = json.loads((run / "config.json").read_text())
    assert config["data"] == "digits" and config["training"]["beta"] == 0.5
    assert (config["model"]["hidden"], config["model"]["latent"]) == ([32, 16], 4)
    assert len(json.loads((run / "history.json").read_text())) == 3
    assert models.load(run / "model.safetensors").config == config["model"]


def test_evaluate_gives_three_columns_with_errors(run, capsys):
    assert vaekit("evaluate", run, "--k", 7, "--samples", 100, "--points", 50, "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["points"] == 50 and numbers["samples"] == 100
    elbo, bound, nll = (numbers[name] for name in ("-ELBO", "-L_7", "NLL"))
    assert elbo["value"] > bound["value"] > nll["value"] > 0
    assert all(0 < e["standard_error"] < 3 for e in (elbo, bound, nll))
    assert vaekit("evaluate", run, "--k", 7, "--samples", 100, "--points", 50) == 0
    text = capsys.readouterr().out
    for name in ("-ELBO", "-L_7", "NLL"):
        number = numbers[name]
        assert f"{number['value']:.3f} ± {number['standard_error']:.3f}" in text


def test_sample_writes_a_picture(run, tmp_path, capsys):
    assert vaekit("sample", run, "--n", 9) == 0
    assert (run / "samples.png").read_bytes()[:4] == b"\x89PNG"
    assert vaekit("train", "swiss-roll", "--out", tmp_path, "--epochs", 1, "--hidden", 8) == 0
    assert vaekit("sample", tmp_path, "--out", tmp_path / "x.png") == 0
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_resume_goes_on_to_the_same_weights(run, tmp_path):
    options = ("--hidden", 32, 16, "--latent", 4, "--beta", 0.5, "--device", "cpu")
    for epochs in (1, 3):
        train = ("train", "digits", "--out", tmp_path, "--epochs", epochs, "--resume")
        assert vaekit(*train, *options) == 0
    for a, b in zip(
        models.load(run / "model.safetensors").parameters(),
        models.load(tmp_path / "model.safetensors").parameters(),
        strict=True,
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train digits --out {run}", "holds a run: pass --resume"),
        ("train digits --out {run} --resume", "is of another run: its model setting"),
        ("train swiss-roll --out {run} --resume", "is of another run: its data setting"),
        ("train digits --out {tmp}/a --latent 0", "size 1 or more"),
        ("train digits --out {tmp}/a --lr 0", "lr must be positive"),
        ("train digits --out {tmp}/a --batch-size 5000", "larger than the data, 1197 points"),
        ("train digits --out {tmp}/file/a", "could not write"),
        ("evaluate {tmp}", "holds no config.json"),
        ("train digits --out {tmp}/a --epochs 0", "--epochs must be 1 or more"),
        ("evaluate {run} --points -5", "--points must be 2 or more, got -5"),
        ("sample {run} --n 0", "--n must be 1 or more, got 0"),
        ("evaluate {run} --samples 0", "n must be a whole number of 1 or more, got 0"),
        ("sample {tmp}/none", "holds no config.json"),
    ],
)
def test_a_failure_is_one_sentence(run, tmp_path, capsys, arguments, message):
    (tmp_path / "file").write_text("")
    before = {p: p.read_bytes() for p in run.iterdir()}
    assert vaekit(*arguments.format(run=run, tmp=tmp_path).split()) == 1
    shown = [line for line in capsys.readouterr().err.splitlines() if "it/s" not in line]
    assert len(shown) == 1 and shown[0].startswith("error: ") and message in shown[0]
    assert {p: p.read_bytes() for p in run.iterdir()} == before


def test_a_damaged_model_is_refused(run, tmp_path, capsys):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    assert vaekit("evaluate", tmp_path) == 1
    assert "truncated" in capsys.readouterr().err
    path = tmp_path / "config.json"
    for damaged in (path.read_text()[:-30], "{}", "[]"):
        path.write_text(damaged)
        assert vaekit("evaluate", tmp_path) == 1
        assert "config.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate", "sample"])
def test_help_explains_each_option_with_its_default(command, capsys):
    with pytest.raises(SystemExit) as stop:
        vaekit(command, "--help")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    actions = parser()._subparsers._group_actions[0].choices[command]._actions
    for action in actions:
        assert action.help
        if action.option_strings and action.dest not in ("help", "out"):
            assert action.help.endswith(")")  # the default, in brackets
        if action.default and action.dest not in ("help", "run"):
            assert f"({action.default})" in text


def test_test_pixels_are_drawn_once():
    _, a = splits("digits")
    _, b = splits("digits")
    assert torch.equal(a, b) and set(a.unique().tolist()) == {0.0, 1.0}


def test_torchrun_shares_the_batches(tmp_path):
    options = ["train", "digits", "--epochs", "1", "--batch-size", "100", "--device", "cpu"]
    assert vaekit(*options, "--out", tmp_path / "one") == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "-m", "vaekit"]
    shown = subprocess.run(
        [*torchrun, *options, "--out", tmp_path / "two"],
        env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("ELBO") == 1  # one process speaks
    one, two = (
        torch.cat(
            [p.flatten() for p in models.load(tmp_path / n / "model.safetensors").parameters()]
        )
        for n in ("one", "two")
    )
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
