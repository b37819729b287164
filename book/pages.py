"""The HTML pages: what the theme leaves to be done, and what lies beside them."""

import re
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.fileutil import copy_asset

from book.notebooks import published

HERE = Path(__file__).parent


def configure(app: Sphinx, config: Config) -> None:
    """Add the press's own files, and leave out links to a place that is not there."""
    config.html_static_path.append(str(HERE / "static"))
    config.templates_path.append(str(HERE / "templates"))
    options = config.html_theme_options
    if not published(options.get("repository_url", "")):
        options.update(repository_url="", use_repository_button=False, launch_buttons={})


def typeset(_app: Sphinx, doctree: nodes.document) -> None:
    """Keep formulas on a line with the punctuation after them, and ids unique.

    sphinx-proof and sphinx-exercise give the inside of every box the same id.
    """
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        if isinstance(after, nodes.Text) and (mark := re.match(r"[.,;:!?)’”]+", after)):
            group = nodes.inline(classes=["vk-together"])
            formula.replace_self(group)
            group += [formula, nodes.Text(mark[0])]
            after.parent.replace(after, nodes.Text(after[mark.end() :]))
    for section in doctree.findall(nodes.section):
        section["ids"] = [i for i in section["ids"] if not i.endswith("-content")]


def page_context(app: Sphinx, pagename: str, _template: str, context: dict, _doctree) -> None:
    """Offer the notebook of a chapter and take out what only a web server could serve."""
    if "kernelspec" in app.env.metadata.get(pagename, {}):
        context["ipynb_source"] = f"{pagename}.ipynb"
    if pagename == "search":
        app.add_js_file("search.js", defer="defer")
    context["local"] = local


def local(head: str) -> str:
    """Take the theme's font preloads, which file:// refuses, and icon script out of a page's head.

    The icons themselves come from the same fonts through CSS; the script would draw them again.
    """
    head = re.sub(r'<link rel="preload" as="font"[^>]*>', "", head)
    return re.sub(r'<script src="[^"]*fontawesome[^"]*"></script>', "", head)


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Put the parts of MathJax that the pages use beside them."""
    if exception or app.builder.format != "html":
        return
    mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for part in ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts"):
        target = Path(app.outdir) / "_static" / "mathjax" / part
        copy_asset(mathjax / part, target if (mathjax / part).is_dir() else target.parent)
