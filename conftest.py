"""What the tests and the notebooks need to run in a clean clone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parent

# Under `make test` several processes share the cores: threads that fight over one crawl.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    threads = max(1, (os.cpu_count() or 1) // int(workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

# The kernels that nbval starts import vaekit from this clone, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Let nbval compare what a claim cell says as text; its rich form holds sampled digits."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html", "text/markdown")


def build(root: Path) -> subprocess.CompletedProcess:
    """Run ``jupyter-book build .`` in `root`, in this environment."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "."]
    return subprocess.run(
        command, cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.fixture(scope="session")
def built_book(testrun_uid: str) -> Path:
    """Build the book from the clone as it is and return the folder of its pages."""
    html, done = ROOT / "_build" / "html", ROOT / "_build" / "tested"
    with FileLock(ROOT / "_build.lock"):  # every process of `make test` asks for it, one builds
        if not (html.exists() and done.exists() and done.read_text() == testrun_uid):
            run = build(ROOT)
            if run.returncode:
                pytest.fail(f"the book does not build:\n{run.stdout[-6000:]}", pytrace=False)
            done.write_text(testrun_uid)
    return html


# not for the whole session: nbval's kernels need the event loop that Playwright holds
@pytest.fixture(scope="module")
def browser():
    """Start Chromium; without one the test is skipped, or fails where there must be one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), "")
    if not path:
        reason = "no Chromium: install it (Debian and Ubuntu: apt install chromium)"
        (pytest.fail if os.environ.get("VAEKIT_BROWSER") == "required" else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    quiet = "background-networking component-update default-apps extensions sync".split()
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=flags + [f"--disable-{name}" for name in quiet]
        )
        yield chromium
        chromium.close()
