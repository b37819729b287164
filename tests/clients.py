"""Read the chapters in a real JupyterLab and a real Notebook: ``make clients``.

Too slow for every run: a minute for each chapter in each client. ``python -m tests.clients 03 11``
takes these chapters alone.

Each executed notebook that the last build offers is opened by Chromium and looked at as it is
stored, after all its cells were run, and when it was saved and its kernel is gone. Meanwhile every
control of every widget is reached and moved with the keyboard alone. The cells must keep their
selection: both clients take keys for themselves unless a widget tells them not to. JupyterLab lives
in an environment of its own below ``_build``; the kernel is this Python.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "_build" / "clients"
OFFERED = ROOT / "_build" / "html" / "_sources" / "chapters"
LOOK = (ROOT / "tests" / "clients.js").read_text("utf-8")
# By client, the program that serves it (each refuses the other its fonts), and where a notebook is
# opened: JupyterLab opens again what was open in a workspace, so each chapter has its own.
CLIENTS = {"JupyterLab": ("lab", "lab/workspaces/{}/tree"), "Notebook": ("notebook", "notebooks")}
SHUT_DOWN = "jupyterapp.shell.currentWidget.sessionContext.shutdown()"
WAIT = 300_000  # milliseconds that all cells of a chapter may take


def environment() -> Path:
    """Install JupyterLab and Notebook once, apart from the environment of the book."""
    jupyter = HOME / "venv" / "bin" / "jupyter"
    if not jupyter.exists():
        subprocess.run([sys.executable, "-m", "venv", HOME / "venv"], check=True)
        packages = ["jupyterlab>=4,<5", "notebook>=7,<8", "ipywidgets>=8", "anywidget"]
        pip = [HOME / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *packages], check=True)
    return jupyter


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def lay_out(chapters: list[Path]) -> None:
    """Put fresh copies of the notebooks, and what their cells read, where the server serves."""
    shutil.rmtree(HOME / "work", ignore_errors=True)
    shutil.copytree(ROOT / "chapters" / "results", HOME / "work" / "results")
    for path in chapters:
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata["kernelspec"] = {"name": "vaekit", "display_name": "vaekit"}
        for client in CLIENTS:
            nbformat.write(notebook, HOME / "work" / f"{path.stem}_{client}.ipynb")


@contextmanager
def server(jupyter: Path, program: str) -> Iterator[str]:
    """Serve the folder of the notebooks; yields the address."""
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    write(
        HOME / "data" / "kernels" / "vaekit" / "kernel.json",
        {"argv": argv, "display_name": "vaekit", "language": "python"},
    )
    # Cells out of sight would be left out of the page.
    write(
        HOME / "settings" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings",
        {"windowingMode": "none"},
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [jupyter, program, "--no-browser", f"--port={port}", "--IdentityProvider.token="]
    command += [f"--{app}.expose_app_in_browser=True" for app in ("LabApp", "JupyterNotebookApp")]
    command.append(f"--notebook-dir={HOME / 'work'}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    settings = {
        "JUPYTER_DATA_DIR": HOME / "data",
        "JUPYTER_CONFIG_DIR": HOME / "config",
        "JUPYTER_RUNTIME_DIR": HOME / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": HOME / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": HOME / "workspaces",
        "PYTHONPATH": ROOT,
    }
    env = {**os.environ, **{name: str(path) for name, path in settings.items()}}
    with open(HOME / "server.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urlopen(f"{address}/api", timeout=2).close()
                break
            except (URLError, OSError):
                time.sleep(0.5)
        else:
            raise RuntimeError(f"Jupyter does not start: see {HOME / 'server.log'}")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: {found!r} instead of {wanted!r}")


def ready(page: Page) -> None:
    """Wait until the notebook is open and its kernel waits for work."""
    page.wait_for_function(
        """() => {
          const session = window.jupyterapp?.shell.currentWidget?.sessionContext?.session;
          return session?.kernel?.status === "idle" && document.querySelector(".jp-Cell");
        }""",
        timeout=90_000,
    )


def command(page: Page, name: str, arguments: object = None) -> None:
    """Let the client do what one of its menus would, and wait until it has."""
    page.evaluate(
        """([name, args]) => {
          window.vkDone = false;
          jupyterapp.commands.execute(name, args ?? {}).finally(() => { window.vkDone = true; });
        }""",
        [name, arguments],
    )
    page.wait_for_function("window.vkDone", timeout=WAIT)


def look(page: Page) -> dict:
    """Wait until every formula is typeset, and report what a reader would stumble on."""
    shown = -1
    for _ in range(60):
        page.wait_for_timeout(500)
        count = page.locator("mjx-container").count()
        if count == shown and not page.get_by_text("Loading widget...").count():
            break
        shown = count
    found = page.evaluate(LOOK)
    expect("what is wrong", found.pop("wrong"), [])
    return found


def selected(page: Page) -> list[int]:
    """Which cells the client has selected or made active."""
    return page.locator(".jp-Notebook .jp-Cell").evaluate_all(
        """all => all.flatMap((cell, i) =>
          cell.matches(".jp-mod-active, .jp-mod-selected") ? [i] : [])"""
    )


def answers(widget: Locator, control: Locator, *keys: str) -> bool:
    """Whether the widget changes at one of the keys; the last ones undo the first."""
    control.focus()
    before = widget.evaluate(STATE)
    changed = False
    for key in keys:
        control.page.keyboard.press(key)
        changed |= widget.evaluate(STATE) != before
    return changed


STATE = """widget => widget.innerHTML
  + [...widget.querySelectorAll("input")].map((input) => input.value + input.checked)"""


def alive(page: Page) -> None:
    """Expect of each widget that its first control answers a key."""
    for widget in page.locator(".vk-widget").all():
        first = widget.locator("[role=slider], input").first
        keys = ("ArrowRight", "ArrowUp", "ArrowDown", "1")
        label = widget.get_attribute("aria-label")
        expect(f"{label} lives again", answers(widget, first, *keys), True)


def drive(page: Page) -> int:
    """Move every control of every widget by keyboard; returns how many there are."""
    cells, count = page.locator(".jp-Notebook .jp-Cell").count(), 0
    for widget in page.locator(".vk-widget").all():
        label = widget.get_attribute("aria-label")
        first = widget.locator("[tabindex='0'], input, button").first
        first.focus()
        kept = selected(page)
        for control in widget.locator("[role=slider], input[type=range]").all():
            name = f"{label}: {control.get_attribute('aria-label')}"
            moved = answers(widget, control, "ArrowRight", "ArrowUp", "PageUp", "PageDown", "Home")
            expect(f"{name} answers", moved, True)
            count += 1
        radios = widget.locator("input[type=radio]")
        if radios.count():
            radios.first.focus()
            page.keyboard.press("Space")
            page.keyboard.press("ArrowDown")
            page.wait_for_timeout(300)
            expect(f"{label}: second choice after ArrowDown", radios.nth(1).is_checked(), True)
            count += 1
        for box in widget.locator("input[type=text]").all():
            box.focus()
            page.keyboard.press("Control+A")
            page.keyboard.type("d+x-a")  # keys that cut, add and move cells in command mode
            page.keyboard.press("Enter")
            page.wait_for_timeout(500)
            expect(f"{label}: the text", box.input_value(), "d+x-a")
            expect(f"{label}: an answer", bool(widget.locator("[role=status]").inner_text()), True)
            count += 1
        buttons = widget.locator("button:visible:enabled").all()
        pressed = [answers(widget, button, "Space") for button in buttons]
        expect(f"{label}: a button answers", any(pressed), bool(buttons))
        count += len(buttons)
        expect(f"{label}: cells selected", selected(page), kept)
        inside = widget.evaluate("widget => widget.contains(document.activeElement)")
        expect(f"{label}: has the focus", inside, True)
    expect("cells", page.locator(".jp-Notebook .jp-Cell").count(), cells)
    return count


def read(page: Page, address: str, picture: Path) -> None:
    """Read one notebook as stored, run, and opened again; raises on the first difference."""
    page.goto(address)
    ready(page)
    stored = look(page)
    expect("widgets before a run", stored["widgets"] + stored["missing"], stored["places"])
    start = time.monotonic()
    command(page, "notebook:run-all-cells")
    seconds = time.monotonic() - start
    run = look(page)
    for part in ("cells", "formulas", "claims", "folded", "details"):
        expect(f"{part} after a run", run[part], stored[part])
    expect("widgets", run["widgets"], run["places"])
    controls = drive(page)
    page.locator(".vk-widget").first.scroll_into_view_if_needed()
    page.screenshot(path=picture)
    command(page, "docmanager:save")
    # The kernel goes, and with it all that widgets knew.
    page.evaluate(SHUT_DOWN)
    page.reload()
    ready(page)
    again = look(page)
    expect("widgets when opened again", again["widgets"], run["widgets"])
    alive(page)
    page.evaluate(SHUT_DOWN)
    counts = ", ".join(f"{number} {part}" for part, number in run.items())
    print(f"  {counts}, {controls} controls; all cells in {seconds:.0f} s", flush=True)


def main(names: list[str]) -> int:
    """Read the chapters that begin with `names`, or all, in both clients."""
    chapters = [p for p in sorted(OFFERED.glob("*_*.ipynb")) if p.stem.startswith(tuple(names))]
    if not chapters:
        sys.exit("no such chapter has been built: run `make book` first")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    lay_out(chapters)
    failures = 0
    jupyter = environment()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for client, (program, place) in CLIENTS.items():
            with server(jupyter, program) as address:
                for path in chapters:
                    print(f"{path.stem} in {client}", flush=True)
                    page = chromium.new_page(viewport={"width": 1280, "height": 900})
                    picture = HOME / f"{path.stem}_{client}.png"
                    at = f"{address}/{place.format(path.stem)}/{path.stem}_{client}.ipynb"
                    try:
                        read(page, at, picture)
                    except Exception as problem:
                        failures += 1
                        print(f"  {problem}\n  see {picture}", flush=True)
                        page.screenshot(path=picture)
                    page.close()
        chromium.close()
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [""]))
