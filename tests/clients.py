"""Drive the widgets by keyboard in a real JupyterLab: ``make clients``. Too slow for every run.

A notebook with all widgets is opened in JupyterLab and in Notebook by Chromium, its cells are run,
and every control is reached and moved with the keyboard alone. The cells must keep their selection
meanwhile: both clients take arrow keys for themselves unless a widget tells them not to.
JupyterLab lives in an environment of its own below ``_build``; the kernel is this Python.
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
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "_build" / "clients"
CELLS = [
    "from vaekit.widgets import KLWidget, LatentPlane, TypeFormula",
    "KLWidget()",
    """import torch
from vaekit.models import digits_vae
x = (torch.rand(30, 64) < 0.5).float()
LatentPlane.from_vae(digits_vae(latent=2, seed=1), x, torch.arange(30) % 10)""",
    """a = torch.linspace(0.5, 2, 9, dtype=torch.float64)
TypeFormula("∫₀ᵃ x dx =", {"a": a}, a**2 / 2, slips={"the half is missing": "a²"})""",
    "'the last cell'",
]


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


@contextmanager
def server(jupyter: Path) -> Iterator[str]:
    """Serve one notebook with every widget; yields the address."""
    shutil.rmtree(HOME / "work", ignore_errors=True)
    (HOME / "work").mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    notebook.metadata["kernelspec"] = {"name": "vaekit", "display_name": "vaekit"}
    nbformat.write(notebook, HOME / "work" / "widgets.ipynb")
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
    command = [jupyter, "lab", "--no-browser", f"--port={port}", "--IdentityProvider.token="]
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
            raise RuntimeError(f"JupyterLab does not start: see {HOME / 'server.log'}")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def selected(page: Page) -> list[int]:
    """Which cells the client has selected or made active."""
    return page.locator(".jp-Notebook .jp-Cell").evaluate_all(
        """all => all.flatMap((cell, i) =>
          cell.matches(".jp-mod-active, .jp-mod-selected") ? [i] : [])"""
    )


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: {found!r} instead of {wanted!r}")
    print(f"  {what}: {found!r}")


def drive(page: Page, client: str) -> None:
    """Press the keys, and compare what the widgets show and which cell is selected."""
    # The notebook is open, and its kernel waits for work: earlier, the command does nothing.
    page.wait_for_function(
        """() => {
          const session = window.jupyterapp?.shell.currentWidget?.sessionContext?.session;
          return session?.kernel?.status === "idle" && document.querySelector(".jp-Cell");
        }""",
        timeout=90_000,
    )
    # not awaited: the cells below tell when it is done
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    page.get_by_text("'the last cell'").nth(1).wait_for(timeout=90_000)
    page.locator(".vk-formula").wait_for(timeout=60_000)
    press = page.keyboard.press
    print(client)

    def value(locator) -> float:
        return float(locator.get_attribute("aria-valuenow"))

    handles = page.locator("[data-name]")
    handles.first.focus()
    before = selected(page)
    for i in range(4):
        handle = handles.nth(i)
        handle.focus()
        start = value(handle)
        for key, step in (("ArrowRight", 0.05), ("ArrowDown", -0.05), ("PageUp", 0.5)):
            press(key)
            start = round(start + step, 2)
            expect(f"{handle.get_attribute('aria-label')}, {key}", value(handle), start)
    expect("cells selected", selected(page), before)
    radios = page.locator(".vk-values input")
    radios.first.focus()
    press("ArrowDown")
    page.wait_for_timeout(300)
    expect("direction after ArrowDown", radios.nth(1).is_checked(), True)
    button = page.get_by_role("button", name="p = q")
    button.focus()
    press("Space")
    expect("mean of p after the button", value(handles.first), 0.0)
    expect("cells selected", selected(page), before)

    point = page.locator(".vk-point")
    point.focus()
    before = selected(page)
    for key in ("ArrowRight", "ArrowUp", "End", "Home", "PageDown", "0", "ArrowRight"):
        press(key)
    expect("z", page.inner_text(".vk-decoded output"), "0.10, 0.00")
    expect("cells selected", selected(page), before)

    box = page.get_by_label("∫₀ᵃ x dx =")
    box.focus()
    before = selected(page)
    page.keyboard.type("a^2")  # among them keys that add, cut and move cells in command mode
    press("Enter")
    page.wait_for_timeout(500)
    status = page.locator(".vk-formula [role=status]")
    expect("answer", status.inner_text(), "Not right, and a known slip: the half is missing.")
    press("End")
    page.keyboard.type("/2")
    press("Enter")
    expect("answer", status.inner_text()[:6], "Right.")
    expect("cells selected", selected(page), before)
    expect("cells", page.locator(".jp-Notebook .jp-Cell").count(), len(CELLS))


def main() -> None:
    """Drive both clients; raises on the first difference."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)))
    with server(environment()) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for client, place in (("JupyterLab", "lab/tree"), ("Notebook", "notebooks")):
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{address}/{place}/widgets.ipynb")
            try:
                drive(page, client)
            except Exception:
                page.screenshot(path=HOME / f"{client}.png")
                raise
            page.close()
        chromium.close()


if __name__ == "__main__":
    main()
