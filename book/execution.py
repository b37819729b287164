"""When a chapter is run again: when a cell of it, or something that its cells use, has changed.

jupyter-cache knows cells but not what they import. So each chapter has a cache of its own, named by
the digest of what its cells use: the code of the modules of vaekit that they import, directly or
not, the files that these name (a widget's ``.js``), the stored results that they name, and
``requirements.txt``.
"""

import ast
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatch
from functools import cache, partial
from importlib.util import resolve_name
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager
from myst_nb.core.execute.cache import NotebookClientCache
from myst_nb.core.read import create_nb_reader
from myst_nb.core.utils import coalesce_streams
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from book.myst import directives

RESULTS = Path("chapters", "results")
AT_ONCE = min(os.cpu_count() or 1, 4)  # chapters: each has a kernel with torch in its memory


class ChapterClient(NotebookClientCache):
    """Runs a chapter, or takes its outputs from the cache that is right for it."""

    root: Path

    def start_client(self) -> None:
        """Choose the cache, and run or look up.

        A chapter found in the cache is written with its outputs, as one that has just run is;
        myst-nb would write it to ``_build/jupyter_execute`` as it was before it ran. What a cell
        prints is one output; myst-nb's option for that changes the first piece and leaves the rest.
        """
        source = self.notebook
        docname = self.path.relative_to(self.root).with_suffix("").as_posix()
        name = folder(docname, digest(self.path, self.root))
        path = Path(self.nb_config.execution_cache_path, name)
        self._nb_config = self.nb_config.copy(execution_cache_path=str(path))
        super().start_client()
        for cell in self.notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = coalesce_streams(joined(cell.outputs))
        source.update(self.notebook)


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join the pieces in which a stream arrived, by chance: myst-nb would trim each of them."""
    found, streams = [], {}
    for output in map(NotebookNode, outputs):
        name = output.get("name") if output.output_type == "stream" else None
        if name in streams:
            streams[name].text += output.text
            continue
        found.append(output)
        if name:
            streams[name] = output
    return found


def run_ahead(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Run the chapters that Sphinx is about to read, several at once: it reads them one by one.

    Each runs as Sphinx will run it, so that Sphinx finds it in the cache. What fails here is left
    alone: it will fail again when Sphinx reads it, and be reported with its page.
    """

    def run(docname: str) -> None:
        path = Path(env.doc2path(docname))
        text = path.read_text("utf-8")
        config, logger = env.mystnb_config, logging.getLogger(__name__)
        reader = create_nb_reader(str(path), env.myst_config, config, text)
        with suppress(Exception):
            ChapterClient(
                reader.read(text), path, config, logger, read_fmt=reader.read_fmt
            ).start_client()

    chapters = [name for name in docnames if code_of(Path(env.doc2path(name)).read_text()).body]
    if len(chapters) < 2:
        return
    kernels = min(AT_ONCE, len(chapters))
    threads = max(1, (os.cpu_count() or 1) // kernels)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # kernels that fight over cores crawl
    with ThreadPoolExecutor(kernels) as pool:
        list(pool.map(run, chapters))


def folder(docname: str, digest: str) -> str:
    """Name the cache of a page whose cells use what has this digest."""
    return f"{docname.replace('/', '-')}-{digest}"


def outdated(app: Sphinx, env: BuildEnvironment, *_) -> set[str]:
    """Name the pages whose cells use something else than when they were read.

    The caches for what was used before are removed.
    """
    root = Path(app.srcdir)
    pages = {name: root / f"{name}.md" for name in env.found_docs}
    now = {name: digest(page, root) for name, page in pages.items() if page.is_file()}
    before, env.digests = getattr(env, "digests", {}), now
    for old in Path(env.mystnb_config.execution_cache_path).glob("*"):
        if old.name not in {folder(*page) for page in now.items()}:
            shutil.rmtree(old, ignore_errors=True)
    return {name for name in now if now[name] != before.get(name)}


def digest(chapter: Path, root: Path) -> str:
    """Digest of what the cells of a chapter use; comments and docstrings do not count."""
    found = hashlib.sha256()
    for path in uses(chapter, root):
        content = path.read_bytes()
        if path.suffix == ".py":
            content = without_words(content.decode()).encode()
        found.update(f"{path.relative_to(root)}\0".encode() + content)
    return found.hexdigest()[:16]


@cache
def without_words(code: str) -> str:
    """Write a module down without its comments, docstrings and layout."""
    tree = ast.parse(ast.unparse(python(code)))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


def uses(chapter: Path, root: Path) -> list[Path]:
    """Return the files that the cells of a chapter use.

    Imports count wherever they stand in a cell or a module. A file counts as used if a string in
    the code is its name; ``f"mnist_{name}.png"`` is the name of each that it may be.

    Parameters
    ----------
    chapter : Path
        The source.
    root : Path
        The folder of ``_toc.yml``, of ``vaekit`` and of the stored results.
    """
    code = code_of(chapter.read_text("utf-8"))
    files = {root / "requirements.txt", *named(code, root / RESULTS)}
    modules = list(imported(code, root))
    for path in modules:  # it grows
        if path not in files:
            files.add(path)
            tree = python(path.read_text("utf-8"))
            package = ".".join(path.parent.relative_to(root).parts)
            files.update(named(tree, path.parent))
            modules += imported(tree, root, package)
    return sorted(path for path in files if path.is_file())


def code_of(text: str) -> ast.Module:
    """Return the code of all cells of a chapter."""
    cells = [python(cell.body) for cell in directives(text, "code-cell")]
    return ast.Module([statement for cell in cells for statement in cell.body], [])


@cache
def python(code: str) -> ast.Module:
    """Parse the code of a module or a cell; what is wrong with it is said when it is run."""
    for plain in (str, TransformerManager().transform_cell):  # magics are no Python
        with suppress(SyntaxError):
            return ast.parse(plain(code))
    return ast.Module([], [])


def imported(code: ast.AST, root: Path, package: str = "") -> Iterator[Path]:
    """Yield the files of the modules of vaekit that a piece of code in `package` imports."""
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{module}.{alias.name}" for alias in node.names]  # a module, or in one
        else:
            continue
        for name in names:
            path = root
            for part in name.split(".") if name.partition(".")[0] == "vaekit" else ():
                path /= part  # importing a module runs the packages that it is in
                yield from filter(Path.is_file, (path.with_suffix(".py"), path / "__init__.py"))


def named(code: ast.AST, place: Path) -> Iterator[Path]:
    """Yield the files in a place, but for Python's, whose names are in the strings of the code."""
    strings = {text for node in ast.walk(code) for text in _string(node)}
    for path in place.rglob("*"):
        name = partial(fnmatch, path.name)
        if path.suffix not in ("", ".py", ".pyc") and any(
            name(text.rpartition("/")[2]) for text in strings if text.endswith(path.suffix)
        ):
            yield path


def _string(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(v.value if isinstance(v, ast.Constant) else "*" for v in node.values)
