"""The Makefile: the environment is made, mended, and refused with one sentence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make")


@pytest.fixture
def folder(tmp_path):
    """A clone that requires nothing, in a folder with a blank in its name."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.txt").touch()
    return folder


def make(folder, *arguments):
    # not as a part of the make that may be running the tests
    env = {key: value for key, value in os.environ.items() if "MAKE" not in key}
    return subprocess.run(["make", *arguments], cwd=folder, env=env, text=True, capture_output=True)


def python(folder, *conditions):
    """Write a Python that fails for code that contains one of the words.

    The environments that it makes have a pip that is quick: it only reads what is required.
    """
    (folder / "pip").mkdir(exist_ok=True)
    (folder / "pip" / "__init__.py").touch()
    (folder / "pip" / "__main__.py").write_text(
        "import pathlib, sys\nsys.exit('missing' in pathlib.Path('requirements.txt').read_text())"
    )
    path = folder / "python"
    cases = "".join(f"*{word}*) exit 1;; " for word in conditions)
    path.write_text(
        f"""#!/bin/sh
case "$*" in
  {cases}
  "-m venv "*) exec {sys.executable} "$@" --without-pip;;
  *) exec {sys.executable} "$@";;
esac
"""
    )
    path.chmod(0o755)
    return "PYTHON=./python"


@pytest.mark.parametrize(
    "lacks, sentence",
    [
        ("version_info", "This book needs Python 3.11 or newer"),
        ("ensurepip", "This Python cannot make an environment: install its venv module"),
    ],
)
def test_a_python_that_will_not_do_gets_one_sentence(folder, lacks, sentence):
    run = make(folder, "book", python(folder, lacks))
    assert run.returncode != 0
    said = [line for line in run.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(said) == 1
    assert said[0].startswith(sentence)
    assert not (folder / ".venv").exists()


def test_a_missing_python_gets_that_sentence_too(folder):
    run = make(folder, "book", "PYTHON=./nowhere")
    assert run.returncode != 0
    assert "This book needs Python 3.11 or newer" in run.stderr


def test_an_environment_is_made_once_and_mended(folder):
    ready = folder / ".venv" / "ready"
    name = python(folder)
    (folder / ".venv" / "bin").mkdir(parents=True)  # half made
    (folder / ".venv" / "bin" / "python").write_text("half")
    assert make(folder, ".venv/ready", name).returncode == 0
    whole = [folder / ".venv" / "bin" / "python", "-c", "import pip"]
    assert subprocess.run(whole, cwd=folder).returncode == 0
    made = ready.stat().st_mtime_ns
    assert "up to date" in make(folder, ".venv/ready", name).stdout
    assert ready.stat().st_mtime_ns == made

    (folder / ".venv" / "bin" / "python").unlink()  # its Python is gone
    assert make(folder, ".venv/ready", name).returncode == 0
    assert (folder / ".venv" / "bin" / "python").exists()


def test_requirements_that_cannot_be_met_leave_nothing_that_counts_as_ready(folder):
    (folder / "requirements.txt").write_text("missing-package\n")
    assert make(folder, ".venv/ready", python(folder)).returncode != 0
    assert not (folder / ".venv" / "ready").exists()
