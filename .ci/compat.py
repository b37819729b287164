"""Run vaekit's own tests with the lowest versions that pyproject.toml admits, and with Colab's.

    python .ci/compat.py [lowest] [colab]

Each set of versions gets an environment of its own in _build/compat, which may take some GB.
"""

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOWEST = {name: low for name, low in (line.split(">=") for line in PROJECT["dependencies"])}
# googlecolab/backend-info, August 2026; what is not named there is whatever pip finds
COLAB = {
    "torch": "2.11.0",
    "numpy": "2.1.3",
    "scipy": "1.16.3",
    "scikit-learn": "1.6.1",
    "ipywidgets": "7.7.1",
}
SETS = {
    "lowest": [f"{name}=={version}" for name, version in LOWEST.items()],
    "colab": [f"{name}=={COLAB[name]}" if name in COLAB else name for name in LOWEST],
}
# the tests of vaekit, not those of the press; what they need beside it comes in the book's versions
TESTS = sorted(
    test
    for module in [*(ROOT / "vaekit").glob("[a-z]*"), ROOT / "widget_", ROOT / "fit_reverse"]
    for test in (ROOT / "tests").glob(f"test_{module.stem}*.py")
)
TOOLS = ("pytest", "click", "filelock", "playwright")
PINNED = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()


def passes(name: str) -> bool:
    """Make the environment and run the tests in it."""
    folder = ROOT / "_build" / "compat" / name
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    tools = [line for line in PINNED if line.partition("==")[0] in TOOLS]
    install = [python, "-m", "pip", "install", "--quiet", *SETS[name], *tools]
    if subprocess.run(install).returncode:
        return False
    # without the options of pyproject.toml, which ask for nbval; no book is built with these
    pytest = [python, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    pytest += ["-k", "not built_page", *TESTS]
    return subprocess.run(pytest, cwd=ROOT).returncode == 0


if __name__ == "__main__":
    results = {name: passes(name) for name in sys.argv[1:] or SETS}
    for name, passed in results.items():
        print(f"{name}: {'passed' if passed else 'FAILED'} with {', '.join(SETS[name])}")
    sys.exit(not all(results.values()))
