"""The press: a Sphinx extension for what Jupyter Book cannot do by itself.

Each of its modules does one thing; this one only registers them.
"""

import os
from pathlib import Path

from myst_nb.core import execute
from sphinx.application import Sphinx
from sphinx.environment.collectors.toctree import TocTreeCollector


def setup(app: Sphinx) -> dict:
    """Register everything with Sphinx."""
    # here, since `python -m book.notebooks` would load that module twice
    from book import access, execution, figures, ledger, notebooks, numbering, pages, proofs

    # Kernels import vaekit from this clone, installed or not.
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(app.srcdir), *filter(None, path)])
    execution.ChapterClient.root = Path(app.srcdir)
    execute.NotebookClientCache = execution.ChapterClient
    TocTreeCollector.assign_figure_numbers = numbering.assign_numbers
    app.connect("config-inited", pages.configure)
    app.connect("env-get-outdated", execution.outdated)
    app.connect("env-get-outdated", ledger.read_again)
    app.connect("env-before-read-docs", execution.run_ahead)
    app.connect("env-before-read-docs", ledger.read_last)
    app.connect("source-read", ledger.fill)
    app.connect("doctree-read", pages.typeset)
    app.connect("env-updated", ledger.check)
    app.connect("doctree-resolved", figures.inline_figures)
    app.connect("html-page-context", pages.page_context)
    app.connect("html-page-context", access.current_roles)
    app.connect("build-finished", pages.copy_mathjax)
    app.connect("build-finished", notebooks.offer)
    app.connect("build-finished", ledger.write)
    app.add_directive_to_domain("prf", "proof", proofs.Proof, override=True)
    app.add_css_file("vaekit.css", priority=900)
    app.add_js_file("pages.js", defer="defer")
    app.add_js_file("formulas.js", defer="defer")
    app.add_js_file("widgets.js", defer="defer")
    # the ledger's page is read last
    return {"parallel_read_safe": False, "parallel_write_safe": True}
