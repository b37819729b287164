"""The numbers of theorems, exercises, equations and figures, read from the chapters.

Pages and notebooks must say "Theorem 3.1" of the same theorem, so both ask this module. Within a
chapter all statements of sphinx-proof (theorem, proposition, lemma, corollary, definition, remark,
example, …) share one counter; exercises, labelled equations and captioned figures have one each.
The chapter's number is the leading one of its file name.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docutils.nodes import make_id
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx_external_toc.parsing import parse_toc_yaml
from sphinx_proof.proof_type import PROOF_TYPES

from book.myst import Directive, directive, parse

CLAIMS = ("theorem", "proposition", "lemma", "corollary")
"""Statements that must be checked; the other kinds of sphinx-proof (definition, …) need not."""


@dataclass(frozen=True)
class Entry:
    """One thing in a chapter that can be referred to.

    Attributes
    ----------
    kind : str
        A kind of sphinx-proof ("theorem", "remark", …), "exercise", "solution", "equation",
        "figure" or "section".
    number : str
        "3.1", or "" where the thing is not numbered. A solution has its exercise's number.
    title : str
        Its title in Markdown, or "".
    docname : str
        The page, such as "chapters/03_kl_divergence".
    anchor : str
        The page's element id.
    """

    kind: str
    number: str
    title: str
    docname: str
    anchor: str


def docnames(root: Path) -> list[str]:
    """Return the pages of the book in reading order, as ``_toc.yml`` in `root` gives it."""
    sitemap = parse_toc_yaml(Path(root) / "_toc.yml")

    def below(docname: str) -> Iterator[str]:
        yield docname
        for subtree in sitemap[docname].subtrees:
            for item in subtree.items:
                if item in sitemap:
                    yield from below(item)

    return list(below(sitemap.root.docname))


def chapter_number(docname: str) -> str:
    """Return the number in a chapter's file name without leading zeros, "" for other pages."""
    match = re.match(r"(\d+)_", docname.rpartition("/")[2])
    return str(int(match[1])) if match else ""


def number(root: Path) -> dict[str, Entry]:
    """Give a number to everything in the book that carries a label.

    Parameters
    ----------
    root : Path
        The folder of ``_toc.yml``.

    Returns
    -------
    dict of str to Entry
        By label, in reading order.

    Raises
    ------
    ValueError
        If a label occurs twice, or a numbered statement or exercise has none.
    """
    entries: dict[str, Entry] = {}
    for docname in docnames(root):
        for label, entry in _page(docname, (Path(root) / f"{docname}.md").read_text("utf-8")):
            if label in entries:
                raise ValueError(
                    f"label {label} in {docname}.md is already taken in {entries[label].docname}.md"
                )
            entries[label] = entry
    return entries


def _page(docname: str, text: str) -> Iterator[tuple[str, Entry]]:
    counter: Counter[str] = Counter()
    exercises: dict[str, str] = {}

    def count(family: str) -> str:
        counter[family] += 1
        return ".".join(filter(None, [chapter_number(docname), str(counter[family])]))

    for kind, label, title, numbered in _things(text):
        if kind in PROOF_TYPES or kind == "exercise":
            if not label:
                raise ValueError(f"{docname}.md: give the {kind} “{title}” a label")
            family = "exercise" if kind == "exercise" else "statement"
            entry = Entry(kind, count(family) if numbered else "", title, docname, label)
            exercises[label] = entry.number
        elif kind == "solution":  # its title names the exercise
            entry = Entry(kind, exercises.get(title, ""), title, docname, label)
        elif kind == "equation":
            entry = Entry(kind, count(kind), title, docname, make_id(f"equation-{label}"))
        elif kind == "figure":
            entry = Entry(kind, count(kind), title, docname, make_id(label))
        else:
            entry = Entry(kind, "", title, docname, make_id(label))
        if label:
            yield label, entry


def _things(text: str) -> Iterator[tuple[str, str, str, bool]]:
    """Yield (kind, label, title, numbered) of what can be referred to, in the order of the text."""
    targets: list[str] = []
    tokens = parse(text)
    for i, token in enumerate(tokens):
        if token.type == "myst_target":
            targets.append(token.content)
        elif token.type == "heading_open":
            yield from (("section", target, tokens[i + 1].content, False) for target in targets)
            targets.clear()
        elif token.type == "math_block_label":
            yield "equation", token.info, "", True
        elif found := directive(token):
            yield from _inside(found)


def _inside(found: Directive) -> Iterator[tuple[str, str, str, bool]]:
    options, label = found.options, str(found.options.get("label", ""))
    # {exercise-start} … {exercise-end}
    kind = found.name.removeprefix("prf:").removesuffix("-start")
    if found.name == "code-cell":
        figure = (options.get("mystnb") or {}).get("figure") or {}
        if figure.get("caption"):
            yield "figure", figure.get("name", ""), figure["caption"].strip(), True
    elif found.name == "figure":
        yield "figure", options.get("name", ""), found.body.strip(), True
    elif found.name == "math":
        if label:
            yield "equation", label, "", True
    else:
        if kind in PROOF_TYPES or kind in ("exercise", "solution"):
            yield kind, label, found.argument, "nonumber" not in options
        yield from _things(found.body)


def assign_numbers(_collector: TocTreeCollector, env: BuildEnvironment) -> list[str]:
    """Give Sphinx these numbers in place of its own.

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
