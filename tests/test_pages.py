"""The built pages: whole, without a network, from a server and from the folder, wide and narrow."""

import re
import threading
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import axe_playwright_python
import pytest
import yaml
from bs4 import BeautifulSoup
from sphinx_proof.proof_type import PROOF_TYPES

from book.notebooks import published
from book.numbering import docnames, number

ROOT = Path(__file__).parent.parent
PAGES = [*docnames(ROOT), "search", "genindex"]
# from a server: what pages ask for there is the same for all chapters, so that two will do
SERVED = [page for page in PAGES if not re.search(r"/\d", page) or re.search("/(03|11)_", page)]
NUMBERED = ",".join(f"div.admonition.{kind}" for kind in [*PROOF_TYPES, "exercise"])

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
OVERFLOWING = (ROOT / "tests" / "overflowing.js").read_text("utf-8")

# Formulas and figures, which are one thing each to a reader, lose their insides, and of each kind
# of coloured word in code one is left.
THIN = """() => {
  for (const formula of document.querySelectorAll("mjx-container")) formula.replaceChildren("x");
  for (const figure of document.querySelectorAll(".vk-figure")) figure.replaceChildren();
  const seen = new Set();
  for (const word of document.querySelectorAll(".highlight span[class]")) {
    if (seen.has(word.className)) word.replaceWith(word.textContent);
    seen.add(word.className);
  }
}"""

# What still fades in would be judged half-way.
STILL = "*, ::before, ::after { transition: none !important; animation: none !important; }"

# Of all words that look the same on the same ground, the first speaks for their contrast.
SAMPLE = """() => {
  const grounds = new Map(), seen = new Set();
  for (const element of document.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    const own = [style.backgroundColor, style.backgroundImage, style.opacity].join(" ");
    const below = grounds.get(element.parentElement) ?? "";
    grounds.set(element, own === "rgba(0, 0, 0, 0) none 1" ? below : `${below}, ${own}`);
    const look = [grounds.get(element), style.color, style.fontSize, style.fontWeight].join();
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const shown = words && element.checkVisibility({ visibilityProperty: true });
    element.toggleAttribute("data-sample", shown && !seen.has(look));
    if (shown) seen.add(look);
  }
}"""

UNFOLD = """() => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const box of document.querySelectorAll("article .toggle-hidden")) {
    box.querySelector("button").click();
  }
  return document.querySelectorAll("article .toggle-hidden").length;
}"""


# what of some elements a reader does not see: checked in the page, as there are thousands
HIDDEN = """(selector) => [...document.querySelectorAll(selector)].filter((element) => {
  const { width, height } = element.getBoundingClientRect();
  return !width || !height || !element.checkVisibility({ visibilityProperty: true });
}).map((element) => element.outerHTML.slice(0, 200))"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def served(built_book):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=built_book))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(params=["file", "http"])
def base(request, built_book):
    """Return where the book is opened: from the folder, or from a local server."""
    return built_book.as_uri() if request.param == "file" else request.getfixturevalue("served")


@pytest.fixture
def page(browser, base):
    """Return a page that must ask no other host, fail at nothing and complain of nothing."""
    theme = "light" if base.startswith("file") else "dark"
    context, wrong = browser.new_context(color_scheme=theme), []

    def local_only(route):
        if route.request.url.startswith((base, "data:", "blob:")):
            return route.continue_()
        wrong.append(f"asks {route.request.url}")
        return route.abort()

    context.route("**/*", local_only)
    page = context.new_page()
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"{request.url}: {request.failure}"))
    page.on("response", lambda r: r.status >= 400 and wrong.append(f"{r.url}: {r.status}"))
    yield page
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def by_id(soup):
    """Return a function that gives the elements of a page by their ids."""

    @cache
    def elements(name):
        return {element["id"]: element for element in soup(name).select("[id]")}

    return elements


@pytest.fixture(scope="module")
def soup(built_book):
    """Return a function that parses a page as it is stored."""

    @cache
    def parse(name):
        text = (built_book / f"{name}.html").read_text("utf-8")
        return BeautifulSoup(text, "html.parser")

    return parse


@pytest.mark.parametrize("base", ["http"], indirect=True)
@pytest.mark.parametrize("name", SERVED)
def test_page_is_whole_from_a_server(name, page, base, soup):
    page.goto(f"{base}/{name}.html")
    everything_is_there(page, soup(name))


@pytest.mark.parametrize("base", ["file"], indirect=True)
@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(name, page, base, soup):
    """A page is opened once for all that follows: to typeset a chapter takes seconds."""
    page.goto(f"{base}/{name}.html")
    everything_is_there(page, soup(name))
    if soup(name).select("article"):  # the search page has none
        nothing_is_cut_off(page, 1440, 1024, 1280)
        nothing_is_cut_off_on_paper(page)
        nothing_is_cut_off(page, 390)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        nothing_is_cut_off(page, 390)
    axe_finds_nothing(page)


def everything_is_there(page, stored):
    """Each formula is typeset and spoken, each widget mounted, each solution opens."""
    formulas = len(stored.select(".math"))
    if formulas:
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate("MathJax.startup.promise")
    assert page.locator(".math > mjx-container").count() == formulas
    assert page.locator("mjx-merror").count() == 0
    silent = "mjx-container:not(:has(> mjx-assistive-mml > math)), mjx-math:not([aria-hidden])"
    assert page.locator(silent).count() == 0
    views = stored.select('script[type="application/vnd.jupyter.widget-view+json"]')
    for i in range(len(views)):  # a mounted widget stands after the mark of its place
        page.wait_for_function(
            "i => document.querySelectorAll('script[type$=\"widget-view+json\"]')[i]"
            ".nextElementSibling?.children.length",
            arg=i,
        )
    page.evaluate("document.fonts.ready")
    assert page.evaluate(UNFOLD) == 0, "solutions open at a click"
    page.wait_for_timeout(400)  # the time in which a box unfolds


def nothing_is_cut_off(page, *widths):
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        for _ in range(40):  # the column glides to its new width, and formulas follow it
            page.wait_for_timeout(250)
            found = page.evaluate(OVERFLOWING)
            if not found["wrong"] and (width < 1024 or not found["more"]):
                break
        assert found["wrong"] == [], width
        assert width < 1024 or found["more"] == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def nothing_is_cut_off_on_paper(page):
    theme = "document.documentElement.dataset.theme"
    before = page.evaluate(theme)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(theme) == "light"
    assert page.evaluate(OVERFLOWING)["wrong"] == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(theme) == before
    page.emulate_media(media="screen")


def axe_finds_nothing(page):
    """The page is thinned out first: axe takes minutes for 40 000 elements."""
    page.evaluate(THIN)
    page.add_style_tag(content=STILL)
    page.evaluate(AXE)
    page.evaluate("axe.configure({rules: [{id: 'color-contrast', selector: '[data-sample]'}]})")
    levels = "runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']"
    rules = f"{{{levels}, resultTypes: ['violations'], preload: false}}"
    for theme, width in [("dark", 390), ("light", 1280)]:
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(SAMPLE)
        violations = page.evaluate(f"axe.run({rules})")["violations"]
        nodes = [(violation["id"], node) for violation in violations for node in violation["nodes"]]
        found = [(rule, node["html"][:200], node["failureSummary"]) for rule, node in nodes]
        assert found == [], theme


@pytest.mark.parametrize("name", docnames(ROOT))
def test_page_is_read_without_javascript(name, browser, built_book, soup):
    context = browser.new_context(java_script_enabled=False, color_scheme="light")
    page = context.new_page()
    page.goto(f"{built_book.as_uri()}/{name}.html")
    assert page.locator("article .toggle-hidden").count() == 0
    for kind in (".math", "section > p", ".vk-proof", ".admonition", "figure"):
        assert page.evaluate(HIDDEN, f"article {kind}:not(details *)") == []
    ink = "getComputedStyle(document.querySelector('article p, article h1')).color"
    assert page.evaluate(ink) == "rgb(34, 39, 46)"
    context.close()


def test_figures_are_part_of_their_page(soup):
    figures = 0
    for name in docnames(ROOT):
        for figure in soup(name).select("article figure"):
            assert not figure.select("img")
            for svg in figure.select("svg.vk-figure"):
                figures += 1
                assert svg["role"] == "img" and svg["aria-label"]
                assert not re.search("#000000|#ffffff|DejaVu|<style", str(svg))
    assert figures


def test_search_finds_a_chapter(page, base):
    page.goto(f"{base}/search.html?q=divergence")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    page.get_by_text("Search finished").wait_for()
    assert any("03_kl" in link.get_attribute("href") for link in results.all())
    if base.startswith("http"):  # from the folder there are no summaries
        page.locator("#search-results .context").first.wait_for()
        for summary in page.locator("#search-results .context").all_text_contents():
            assert len(summary) > 100 and ".ipynb" not in summary, summary


@pytest.mark.parametrize("name", docnames(ROOT))
def test_no_markup_is_left_in_the_text(name, soup):
    article = BeautifulSoup(str(soup(name).select_one("article")), "html.parser")
    for hidden in article.select("pre, code:not(.xref), script, style, .math"):
        hidden.decompose()
    assert not article.select(".problematic, .system-message")
    # a reference that was not resolved is an xref outside a link
    assert [x.text for x in article.select(".xref") if not x.find_parent("a")] == []
    text = article.get_text()
    assert not re.search(
        r"\$[^$\n]{1,80}\$|\$\$|\\(frac|ln|mathrm|mathbb|begin)\b|:::|\{[\w:-]+\}`", text
    )


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_book_lead_somewhere(name, soup, by_id, built_book):
    for tag, key in [("a", "href"), ("link", "href"), ("script", "src"), ("img", "src")]:
        for element in soup(name).select(f"{tag}[{key}]"):
            url, anchor = urldefrag(element[key])
            if urlsplit(url).scheme:
                assert tag == "a" and "your--account" not in url
                continue
            here = built_book / f"{name}.html"
            path = unquote(urlsplit(url).path)
            target = here.parent / path if path else here
            assert target.exists(), element
            if anchor and target.suffix == ".html":
                of = str(target.resolve().relative_to(built_book).with_suffix(""))
                assert anchor == "top" or unquote(anchor) in by_id(of), element


@pytest.mark.parametrize("name", docnames(ROOT))
def test_ids_are_unique(name, soup):
    ids = [element["id"] for element in soup(name).select("article [id]")]
    assert sorted(ids) == sorted(set(ids))


def test_numbers_are_those_of_the_notebooks(soup, by_id):
    shown = {"exercise": "Exercise {}", "equation": "({})", "figure": "Fig. {}"}
    boxes = dict.fromkeys(docnames(ROOT), 0)
    for entry in number(ROOT).values():
        element = by_id(entry.docname).get(entry.anchor)
        assert element, entry
        if entry.number and entry.kind != "solution":
            head = element.select_one(".eqno, .caption-number, .admonition-title").get_text()
            label = shown.get(entry.kind, f"{entry.kind.title()} {{}}").format(entry.number)
            assert re.match(re.escape(label) + r"(?![.\d])", head), (entry, head)
            boxes[entry.docname] += entry.kind in PROOF_TYPES or entry.kind == "exercise"
    for name, count in boxes.items():
        assert len(soup(name).select(NUMBERED)) == count


def test_chapters_offer_their_notebooks_and_name_no_unpublished_place(soup, built_book):
    url = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["repository"]["url"]
    for path in sorted((ROOT / "chapters").glob("*_*.ipynb")):
        name = f"chapters/{path.stem}"
        assert soup(name).select(f'a[href$="_sources/{name}.ipynb"]')
        assert (built_book / "_sources" / f"{name}.ipynb").stat().st_size > path.stat().st_size
        colab = soup(name).select('a[href*="colab"]')
        assert bool(colab) == published(url)
