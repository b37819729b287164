"""The press: a Sphinx extension for what Jupyter Book cannot do by itself.

It numbers statements as `book.numbering` says, keeps the ledger of claims and checks, runs chapters
again when vaekit changes, offers their notebooks, and lets no page ask another host for anything.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from myst_nb.core.execute.cache import NotebookClientCache
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx.util.docutils import SphinxDirective
from sphinx.util.fileutil import copy_asset

from book.access import current_roles
from book.figures import inline_figures
from book.ledger import LEDGER, fill_ledger, of_build, write_ledger
from book.numbering import number

HERE = Path(__file__).parent


def setup(app: Sphinx) -> dict:
    """Register everything with Sphinx."""
    # Kernels import vaekit from this clone, installed or not.
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(app.srcdir), os.environ.get("PYTHONPATH")])
    )
    TocTreeCollector.assign_figure_numbers = assign_numbers
    NotebookClientCache.start_client = keep_outputs(NotebookClientCache.start_client)
    app.connect("config-inited", configure)
    app.connect("env-get-outdated", read_ledger_again)
    app.connect("env-before-read-docs", read_ledger_last)
    app.connect("source-read", fill_ledger)
    app.connect("doctree-read", typeset)
    app.connect("env-updated", check_ledger)
    app.connect("doctree-resolved", inline_figures)
    app.connect("html-page-context", page_context)
    app.connect("html-page-context", current_roles)
    app.connect("build-finished", copy_files)
    app.add_directive_to_domain("prf", "proof", Proof, override=True)
    app.add_css_file("vaekit.css", priority=900)
    app.add_js_file("pages.js", defer="defer")
    app.add_js_file("formulas.js", defer="defer")
    app.add_js_file("widgets.js", defer="defer")
    # the ledger's page is read last
    return {"parallel_read_safe": False, "parallel_write_safe": True}


def configure(app: Sphinx, config: Config) -> None:
    """Settle what depends on the state of the clone."""
    config.html_static_path.append(str(HERE / "static"))
    config.templates_path.append(str(HERE / "templates"))
    # jupyter-cache knows cells but not what they import. One cache for each state of the code;
    # since Sphinx sees a changed setting, it reads all chapters again.
    caches = Path(app.outdir).parent / ".jupyter_cache"
    cache = caches / code_digest(Path(app.srcdir))
    for old in caches.glob("*"):
        if old != cache and old.is_dir():
            shutil.rmtree(old)
    config.nb_execution_cache_path = str(cache)
    options = config.html_theme_options
    if not published(options.get("repository_url", "")):
        options.update(repository_url="", use_repository_button=False, launch_buttons={})


def published(url: str) -> bool:
    """Whether `url` is a repository on GitHub under a name that an account there can have."""
    return bool(re.fullmatch(r"https://github\.com/[A-Za-z0-9]+(-[A-Za-z0-9]+)*/[\w.-]+/?", url))


def code_digest(root: Path) -> str:
    """Digest of what the cells of the chapters in `root` use: vaekit, libraries, stored results."""
    code = [path for path in (root / "vaekit").rglob("*") if path.suffix in (".py", ".js", ".css")]
    results = (root / "chapters" / "results").glob("*.json")
    digest = hashlib.sha256()
    for path in [root / "requirements.txt", *sorted(code), *sorted(results)]:
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def keep_outputs(start: Callable) -> Callable:
    """Let a chapter found in the cache be written with its outputs, as one that has just run is.

    Without this myst-nb writes it to ``_build/jupyter_execute`` as it was before it ran.
    """

    def start_client(self: NotebookClientCache) -> None:
        source = self.notebook
        start(self)
        source.update(self.notebook)

    return start_client


def assign_numbers(_collector: TocTreeCollector, env: BuildEnvironment) -> list[str]:
    """Give Sphinx the numbers of `book.numbering`.

    Every page is written again when a number or a title has changed anywhere, since any page may
    show it. Sphinx alone would leave "Theorem 3.4" in one chapter when another has made it 3.5.
    """
    entries, env.toc_fignumbers = number(env.srcdir), {}
    for entry in entries.values():
        if entry.number and entry.kind != "solution":
            kind = {"equation": "displaymath"}.get(entry.kind, entry.kind)
            of_page = env.toc_fignumbers.setdefault(entry.docname, {})
            of_page.setdefault(kind, {})[entry.anchor] = tuple(entry.number.split("."))
    shown = entries, {docname: title.astext() for docname, title in env.titles.items()}
    before, env.shown = getattr(env, "shown", None), shown
    return [] if shown == before else list(env.all_docs)


def read_ledger_again(_app, _env, added: set, changed: set, removed: set) -> list[str]:
    """Let the ledger's page change whenever any chapter does."""
    return [LEDGER] if added or changed or removed else []


def read_ledger_last(_app, _env, docnames: list[str]) -> None:
    """Read the ledger's page when the outputs of all chapters are there."""
    docnames.sort(key=lambda docname: docname == LEDGER)


def check_ledger(app: Sphinx, _env) -> None:
    """End the build, at each run of it, if claims and checks do not match."""
    of_build(app)


class Proof(SphinxDirective):
    """A proof as text instead of a box, since sphinx-proof's has no title and its ids repeat."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Parse the text and put the title, if one is given in place of "Proof", before it."""
        proof = nodes.container(classes=["vk-proof"])
        self.state.nested_parse(self.content, self.content_offset, proof)
        title, _ = self.state.inline_text((self.arguments or ["Proof"])[0] + ".", self.lineno)
        if not isinstance(proof[0], nodes.paragraph):
            proof.insert(0, nodes.paragraph())
        proof[0].insert(0, [nodes.emphasis("", "", *title), nodes.Text(" ")])
        return [proof]


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
    context["local"] = local


def local(head: str) -> str:
    """Take the theme's font preloads, which file:// refuses, and icon script out of a page's head.

    The icons themselves come from the same fonts through CSS; the script would draw them again.
    """
    head = re.sub(r'<link rel="preload" as="font"[^>]*>', "", head)
    return re.sub(r'<script src="[^"]*fontawesome[^"]*"></script>', "", head)


def copy_files(app: Sphinx, exception: Exception | None) -> None:
    """Finish the pages: MathJax, the notebooks to download, and the ledger as data."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for part in ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts"):
        target = out / "_static" / "mathjax" / part
        copy_asset(mathjax / part, target if (mathjax / part).is_dir() else target.parent)
    for executed in (out.parent / "jupyter_execute").rglob("*.ipynb"):
        relative = executed.relative_to(out.parent / "jupyter_execute")
        written = Path(app.srcdir) / relative
        (out / "_sources" / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(written if written.exists() else executed, out / "_sources" / relative)
    write_ledger(app)
