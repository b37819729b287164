"""The notebooks beside the chapters, for Jupyter, Colab and GitHub.

``python -m book.notebooks`` writes ``chapters/NN_name.ipynb`` from ``chapters/NN_name.md`` and the
outputs of the book's last build; with ``--check`` it only names those that are out of date. The
text is the only source: nothing is ever read back from a notebook but its outputs.
"""

import argparse
import hashlib
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from book.markdown import PLAIN, Book, Translator

ROOT = Path(__file__).parent.parent
EXECUTED = Path("_build/jupyter_execute")  # where myst-nb leaves what it ran
METADATA = {
    "colab": {"provenance": [], "toc_visible": True},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}
# Widgets live only with a kernel, and a stored view of one that is gone shows an error.
PICTURES = ("image/png", "image/svg+xml")
TEXTS = ("text/html", "text/latex", "text/markdown", "text/plain")
SOLUTION = "Solution to "
CHECK = re.compile(r"(?<![\w.])(?:claim|derivation)\(")

FIND = """\
# Finds the course's package, vaekit, in the clone around this notebook.
import importlib.util
import sys
from pathlib import Path

here = Path.cwd()
for clone in (here, *here.parents):
    beside = (clone / "vaekit" / "__init__.py").exists()
    if beside and not importlib.util.find_spec("vaekit"):
        sys.path.append(str(clone))
if not importlib.util.find_spec("vaekit"):
"""
INSTALL = """\
    import subprocess

    pip = [sys.executable, "-m", "pip", "install", "-qq"]
    subprocess.check_call([*pip, "{source}"])
    importlib.invalidate_caches()"""
NOWHERE = """\
    class Missing(ModuleNotFoundError):
        def _render_traceback_(self):  # the sentence alone
            return [str(self)]

    raise Missing(
        "vaekit is missing: download the whole course and open this "
        "notebook there, or pip install the folder of that download."
    )"""


def published(url: str) -> bool:
    """Whether `url` is a repository on GitHub under a name that an account there can have."""
    return bool(re.fullmatch(r"https://github\.com/[A-Za-z0-9]+(-[A-Za-z0-9]+)*/[\w.-]+/?", url))


def install_cell(url: str, root: Path) -> str:
    """Return the source of the first cell.

    Parameters
    ----------
    url : str
        ``repository.url``: a URL that git can clone, or a folder (relative to `root`).
    root : Path
        The folder of ``_config.yml``.
    """
    if not url or (url.startswith("https://github.com/") and not published(url)):
        return FIND + NOWHERE  # the placeholder: install nothing from a stranger
    if "://" not in url:
        url = (root / Path(url).expanduser()).resolve().as_uri()
    return FIND + INSTALL.format(source=f"git+{url.removeprefix('git+')}")


def compose(book: Book, docname: str) -> nbformat.NotebookNode:
    """Return the notebook of a chapter without outputs, from its source alone.

    Raises
    ------
    ValueError
        Naming file, line and construct, if something has no plain form.
    """
    text = book.text(docname)
    translator = Translator(book, docname)
    url = book.config.get("repository", {}).get("url", "")
    cells = [new_code_cell(install_cell(url, book.root))]
    position = 0
    for cell in jupytext.reads(text, fmt="md:myst").cells:
        start = text.find(cell.source, position)
        line = text.count("\n", 0, start) + 1
        position = start + len(cell.source)
        if cell.cell_type == "markdown":
            parts = sections(translator.translate(cell.source, line))
            cells += [new_markdown_cell(part, metadata=folded(part)) for part in parts]
            continue
        metadata = cell_metadata(cell, bool(translator.solving))
        cells.append(new_code_cell(cell.source, metadata=metadata))
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if figure.get("caption"):
            caption = translator.caption(figure.get("name", ""), figure["caption"].strip(), line)
            cells.append(new_markdown_cell(caption))
    if references := translator.references():
        cells.append(new_markdown_cell(references))
    name_cells(cells)
    return new_notebook(cells=cells, metadata=METADATA)


def sections(text: str) -> list[str]:
    """Split text before its headings, so that Jupyter and Colab can fold each section.

    The heading of a solution stands alone, so that what is folded below it is all of it.
    """
    edges = [0]
    for token, inside in pairwise(PLAIN.parse(text)):
        if token.type == "heading_open" and token.level == 0:
            start, end = token.map
            edges += [start, end] if inside.content.startswith(SOLUTION) else [start]
    lines = text.splitlines()
    parts = ["\n".join(lines[a:b]).strip() for a, b in pairwise([*edges, len(lines)])]
    return [part for part in parts if part]


def folded(part: str) -> dict:
    """Return the metadata of Markdown: below the heading of a solution all is folded away.

    Jupyter unfolds the outputs of each cell that it runs, but not what is below a folded heading.
    """
    heading = part.startswith(f"##### {SOLUTION}")
    return {"jp-MarkdownHeadingCollapsed": True} if heading else {}


def cell_metadata(cell: nbformat.NotebookNode, solving: bool) -> dict:
    """Return what other interfaces understand of a code cell's metadata.

    Its tags say what is folded away; in a solution the code and what it shows are. Jupyter reads
    ``jupyter`` and ``collapsed``, Colab ``cellView``; VS Code folds nothing for a notebook.
    """
    tags = list(cell.metadata.get("tags", []))
    if CHECK.search(cell.source):
        tags.append("nbval-check-output")
    metadata = {"tags": tags} if tags else {}
    folded = {}
    if solving or {"hide-input", "hide-cell", "remove-input", "remove-cell"} & set(tags):
        folded["source_hidden"], metadata["cellView"] = True, "form"
    if solving or {"hide-output", "hide-cell"} & set(tags):
        folded["outputs_hidden"], metadata["collapsed"] = True, True
    return metadata | {"jupyter": folded} if folded else metadata


def name_cells(cells: list[nbformat.NotebookNode]) -> None:
    """Give each cell an id that depends on its source alone, as far as sources differ."""
    seen: Counter[str] = Counter()
    for cell in cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        cell.id = f"{digest}-{seen[digest]}" if seen[digest] else digest
        seen[digest] += 1


def fill(
    notebook: nbformat.NotebookNode, executed: nbformat.NotebookNode, pictures: bool = False
) -> None:
    """Put the outputs of the book's build into a notebook.

    Parameters
    ----------
    notebook : NotebookNode
        From `compose`.
    executed : NotebookNode
        What the build ran.
    pictures : bool
        Whether to keep figures: without them a notebook stays small in the history.

    Raises
    ------
    ValueError
        If the build ran other cells, or left an error or an object's address in an output.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"][1:]
    ran = [cell for cell in executed.cells if cell.cell_type == "code"]
    if [cell.source for cell in cells] != [cell.source for cell in ran]:
        raise ValueError("the build is older than its source: run `make book` first")
    for count, (cell, done) in enumerate(zip(cells, ran, strict=True), 2):
        cell.execution_count = count
        alt = done.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if "remove-output" not in cell.metadata.get("tags", []):
            # progress bars and warnings are for the one who runs the cell
            shown = [output for output in done.outputs if output.get("name") != "stderr"]
            shown = [o for o in shown if pictures or not set(PICTURES) & set(o.get("data", ()))]
            cell.outputs = [clean(output, count, alt) for output in shown]


def clean(output: nbformat.NotebookNode, count: int, alt: str) -> nbformat.NotebookNode:
    """Return an output with what every reader shows, and nothing that changes from run to run."""
    if output.output_type == "error":
        raise ValueError(f"a cell failed: {output.ename}: {output.evalue}")
    if output.output_type == "stream":
        text = re.sub(r"^.*\r(?!\n)", "", output.text, flags=re.MULTILINE)
        return nbformat.v4.new_output("stream", name="stdout", text=text)
    data = {mime: output.data[mime] for mime in (*PICTURES, *TEXTS) if mime in output.data}
    if address := re.search(r"<.* at 0x[0-9a-f]+>", data.get("text/plain", "")):
        raise ValueError(f"an output is only {address[0]}: end the cell's last line with a “;”")
    # Of a notebook that its reader did not run Jupyter shows no SVG, but the words inside it
    if "image/png" in data:
        data.pop("image/svg+xml", None)
    if html := data.pop("text/html", ""):
        html = re.sub(r"<svg\b.*?</svg>", "", html, flags=re.DOTALL)
        data |= {"text/html": html} if html.strip() else {}
    size = dict(output.metadata.get("image/png", {}))
    if alt and "image/png" in data:
        size["alt"] = alt
    metadata = {"image/png": size} if size else {}
    if output.output_type == "execute_result":
        return nbformat.v4.new_output(
            "execute_result", data, metadata=metadata, execution_count=count
        )
    return nbformat.v4.new_output("display_data", data, metadata=metadata)


def filled(book: Book, docname: str, pictures: bool = False) -> str:
    """Return the notebook of a chapter with the outputs of the last build, as it is stored.

    Raises
    ------
    ValueError
        If something has no plain form, or the build is missing, older or failed.
    """
    notebook = compose(book, docname)
    built = book.root / EXECUTED / f"{docname}.ipynb"
    if not built.exists():
        raise ValueError("it was not built: run `make book` first")
    fill(notebook, nbformat.read(built, as_version=4), pictures)
    nbformat.validate(notebook)
    return nbformat.writes(notebook, indent=1, sort_keys=True) + "\n"


def offer(app: Sphinx, exception: Exception | None) -> None:
    """Put the executed notebooks, pictures included, where the pages offer them."""
    if exception or app.builder.format != "html":
        return
    book = Book(Path(app.srcdir))
    for docname in book.chapters:
        if "kernelspec" not in app.env.metadata[docname]:
            continue  # a page without cells
        path = Path(app.outdir) / "_sources" / f"{docname}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_text(filled(book, docname, pictures=True), "utf-8")
        except ValueError as problem:
            raise ExtensionError(f"the notebook of {docname}.md: {problem}") from None


def write(root: Path = ROOT) -> list[str]:
    """Write the notebooks of all chapters that were built.

    Returns
    -------
    list of str
        Why a notebook could not be written, one sentence for each.
    """
    book, problems = Book(Path(root)), []
    for docname in book.chapters:
        path = book.root / f"{docname}.ipynb"
        try:
            text = filled(book, docname)
        except ValueError as problem:
            problems.append(f"{docname}.md: {problem}")
            continue
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print(f"wrote {docname}.ipynb")
    return problems


def check(root: Path = ROOT) -> list[str]:
    """Compare the notebooks with their sources; no build is needed and no time stamp read.

    Returns
    -------
    list of str
        What is wrong, one sentence for each notebook or cell.
    """
    book, problems = Book(Path(root)), []
    for docname in book.chapters:
        path = book.root / f"{docname}.ipynb"
        if not path.exists():
            problems.append(f"{docname}.ipynb is missing")
            continue
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            problems += [f"{docname}.ipynb: cell {cell.id}: {fault}" for fault in faults(cell)]
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        if notebook != compose(book, docname):
            problems.append(f"{docname}.ipynb is out of date with {docname}.md")
    chapters = {f"{docname}.ipynb" for docname in book.chapters}
    for path in sorted((book.root / "chapters").glob("*.ipynb")):
        name = path.relative_to(book.root).as_posix()
        if name not in chapters:
            problems.append(f"{name} belongs to no chapter of _toc.yml")
    return problems


def faults(cell: nbformat.NotebookNode) -> list[str]:
    """Say what is wrong with the stored outputs of a cell."""
    if cell.cell_type != "code":
        return []
    found = ["a stored error" for output in cell.outputs if output.output_type == "error"]
    data = [output.get("data", {}) for output in cell.outputs]
    found += ["a stored picture" for d in data if set(PICTURES) & set(d) or "<svg" in str(d)]
    if sum(output.output_type == "stream" for output in cell.outputs) > 1:
        found.append("what it prints is in pieces")
    checked = "nbval-check-output" in cell.metadata.get("tags", [])
    # nbval compares nothing where the stored cell has no execution count
    if checked and (cell.execution_count is None or not cell.outputs):
        found.append("the check has no stored output")
    return found


def main() -> int:
    """Run from the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m book.notebooks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    try:
        problems = check() if parser.parse_args().check else write()
    except (OSError, ValueError) as problem:  # a page of _toc.yml may be missing
        problems = [str(problem)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
