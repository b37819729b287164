"""Builds of small books, for the tests of the press."""

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result


def build(root: Path) -> Result:
    """Run ``jupyter-book build`` on `root` in this process, which has loaded everything already.

    The press is this clone's; `root` needs none.
    """
    from jupyter_book.cli.main import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.environ["PYTHONPATH"])  # the press puts `root` before it
        patch.setattr(sys, "path", [*sys.path])
        return CliRunner().invoke(main, ["build", str(root)])
