"""Run every claim cell of the book under other seeds: ``python -m book.seeds``.

A check that passes only for the seeds it was given proves nothing. This runs each chapter's claim
cells, and the cells that they rest on, with every seed of torch shifted, counts the alarms, and
names label, shift and message of each. The counts are stored in ``chapters/results/seeds.json``,
for each claim with the commit that it was tried at. A chapter whose code, and what that uses, is
the same as then goes on after the seeds that it has had: a sweep may be stopped and taken up.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import hashlib
import io
import json
import multiprocessing
import os
import subprocess
import symtable
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import torch

from book.execution import code_of, digest
from vaekit.storage import write_bytes

ROOT = Path(__file__).parent.parent
STEP = 1000  # between shifts: farther apart than the seeds of one chapter
TRAINING = ("fit", "fit_stored")  # functions that change the model that they are given
CHUNK = 5  # shifts run by one task: few enough to share the work out evenly


@dataclass
class Cell:
    """A code cell: its claims and the names that it needs, makes and changes."""

    source: str
    labels: list[str] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)  # before the cell itself defines them
    defines: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)  # objects altered in place
    functions: dict[str, set[str]] = field(default_factory=dict)  # what their bodies read
    trains: bool = False
    draws: bool = False

    @classmethod
    def of(cls, source: str) -> Cell:
        """Read a cell; lines of IPython's own syntax are left out."""
        kept = [line for line in source.splitlines() if not line.startswith(("%", "!"))]
        cell = cls("\n".join(kept))
        tree = ast.parse(cell.source)
        for statement in tree.body:
            read, stored = _names(symtable.symtable(ast.unparse(statement), "cell", "exec"))
            if isinstance(statement, ast.FunctionDef):
                cell.functions[statement.name] = read
            # what is stored on one path alone, or only added to, keeps its old value
            sure = isinstance(
                statement, ast.Assign | ast.AnnAssign | ast.FunctionDef | ast.ClassDef
            )
            sure = sure or isinstance(statement, ast.Import | ast.ImportFrom)
            cell.reads |= read - cell.defines
            (cell.defines if sure else cell.changes).update(stored)
        for node in ast.walk(tree):
            cell.changes |= _changed(node)
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                cell.trains |= name in TRAINING  # scikit-learn's estimator.fit is quick
                cell.draws |= name.split(".")[0] in ("plt", "plotting")
                first = node.args[0] if node.args else None
                if name in ("claim", "derivation") and isinstance(first, ast.Constant):
                    cell.labels.append(first.value)
        return cell


def _names(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """Return the global names that a statement reads, in functions too, and those it stores."""
    read, stored = set(), set()
    for symbol in table.get_symbols():
        name, top = symbol.get_name(), table.get_type() == "module"
        if symbol.is_referenced() and (top or symbol.is_global()):
            read.add(name)
        if top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
            stored.add(name)
    for child in table.get_children():
        read |= _names(child)[0]
    return read, stored


def _changed(node: ast.AST) -> set[str]:
    """Return the names of objects that a node may alter without storing the name."""
    altered: list[ast.expr] = []
    if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        altered = [node]  # a.b = …, a[i] = …, del a[i]
    elif isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name.split(".")[-1] in TRAINING:
            altered = [node.func, *node.args]
        elif name.endswith("_"):  # torch's own mark
            altered = [node.func]
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value  # called for what it does, not for what it gives
        altered = [call.func] if isinstance(call.func, ast.Attribute) else call.args
        if isinstance(call.func, ast.Name) and call.func.id[0].isupper():
            altered = []  # a widget that shows itself
    names = set()
    for root in altered:
        while isinstance(root, ast.Attribute | ast.Subscript | ast.Call):
            root = root.func if isinstance(root, ast.Call) else root.value
        if isinstance(root, ast.Name):
            names.add(root.id)
    return names


def read_cells(text: str) -> list[Cell]:
    """Read the code cells of a chapter's source."""
    notebook = jupytext.reads(text, fmt="md:myst")
    return [Cell.of(cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def needed(cells: list[Cell], targets: Iterable[int]) -> list[int]:
    """Return which cells have to run for the targets: a backward slice by names.

    Whole cells are kept or left out. A cell that stores or alters a name that is needed later is
    kept; one that draws is kept only if it stores such a name.
    """
    targets, wanted, kept = set(targets), set(), []
    functions: dict[str, set[str]] = {}
    for cell in cells:
        for name, read in cell.functions.items():
            functions.setdefault(name, set()).update(read)
    for i in range(len(cells) - 1, -1, -1):
        cell = cells[i]
        touched = cell.defines if cell.draws else cell.defines | cell.changes
        if i in targets or touched & wanted:
            kept.append(i)
            wanted = (wanted - cell.defines) | cell.reads
            more = set(wanted)
            while more:  # a function reads its names when it is called, not where it is defined
                more = set().union(*(functions.get(name, set()) for name in more)) - wanted
                wanted |= more
    return kept[::-1]


@dataclass(frozen=True)
class Alarm:
    """A check that failed for a shift of the seeds."""

    label: str
    shift: int
    message: str


def run(text: str, shift: int, folder: Path, *, training: bool = True) -> tuple[list, list[Alarm]]:
    """Run a chapter's claim cells once with every seed of torch shifted.

    Parameters
    ----------
    text : str
        The chapter's source.
    shift : int
        Added to every seed.
    folder : Path
        Where the cells run, as their notebook would.
    training : bool
        Whether to run claims that need a call of ``fit``.

    Returns
    -------
    labels : list of str
        The claims that were tried, once for each cell.
    alarms : list of Alarm
        Those that failed. A cell that breaks before them makes every later claim fail.
    """
    cells = read_cells(text)
    targets = [i for i, cell in enumerate(cells) if cell.labels]
    if not training:
        targets = [i for i in targets if not any(cells[j].trains for j in needed(cells, [i]))]
    labels = [label for i in targets for label in dict.fromkeys(cells[i].labels)]
    alarms: list[Alarm] = []
    namespace: dict[str, object] = {"__name__": "__main__"}
    with contextlib.chdir(folder), shifted(shift), contextlib.redirect_stdout(io.StringIO()):
        torch.manual_seed(0)
        for i in needed(cells, targets):
            cell = cells[i]
            try:
                exec(compile(cell.source, f"cell {i + 1}", "exec"), namespace)
            except Exception as error:
                # only a claim's own failure leaves what comes later untouched
                claims = cell.labels if i in targets else []
                later = (label for j in targets if j > i for label in cells[j].labels)
                named = [label for label in claims if str(error).startswith(f"{label}:")]
                message = str(error) if named else f"cell {i + 1}: {type(error).__name__}: {error}"
                for label in dict.fromkeys(named or claims or later):
                    alarms.append(Alarm(label, shift, message))
                if not claims:
                    break
    namespace.clear()  # its functions hold it: gigabytes would wait for a collection
    gc.collect()
    plt.close("all")
    return labels, alarms


@contextlib.contextmanager
def shifted(shift: int) -> Iterator[None]:
    """Add `shift` to every seed that torch is given inside the block; its default dtype comes back.

    A chapter that sets another dtype sets it for itself alone.
    """
    plain = torch.Generator, torch.manual_seed, torch.default_generator
    dtype = torch.get_default_dtype()

    class Generator(plain[0]):
        def manual_seed(self, seed: int) -> torch.Generator:
            return super().manual_seed(seed + shift)

    class Default:
        def __getattr__(self, name: str) -> object:
            return getattr(plain[2], name)

        def manual_seed(self, seed: int) -> torch.Generator:
            return plain[2].manual_seed(seed + shift)

    torch.Generator, torch.default_generator = Generator, Default()
    torch.manual_seed = lambda seed: plain[1](seed + shift)
    try:
        yield
    finally:
        torch.Generator, torch.manual_seed, torch.default_generator = plain
        torch.set_default_dtype(dtype)


def _task(path: Path, shifts: list[int]) -> list[tuple[list[str], list[Alarm]]]:
    torch.set_num_threads(1)
    return [run(path.read_text(encoding="utf-8"), shift, path.parent) for shift in shifts]


def sweep(path: Path, shifts: list[int], processes: Executor) -> Iterator[list[tuple]]:
    """Run the claims of a chapter under each shift; yield what `run` gives, some shifts at a time.

    In the order of the shifts, so that whoever stops knows where to go on.
    """
    chunks = [shifts[i : i + CHUNK] for i in range(0, len(shifts), CHUNK)]
    for task in [processes.submit(_task, path, chunk) for chunk in chunks]:
        yield task.result()


def code_digest(path: Path, root: Path) -> str:
    """Digest of a chapter's code and of what that uses."""
    code = ast.unparse(code_of(path.read_text("utf-8")))
    return hashlib.sha256(f"{digest(path, root)}\n{code}".encode()).hexdigest()[:16]


def pool(jobs: int) -> ProcessPoolExecutor:
    """Return processes that have loaded what every chapter needs."""
    os.environ.setdefault("MPLBACKEND", "agg")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["book.seeds", "scipy.integrate", "scipy.stats"])
    return ProcessPoolExecutor(jobs, context)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Sweep the chapters, store the counts, and return 1 if there was an alarm."""
    parser = argparse.ArgumentParser(prog="python -m book.seeds", description=__doc__)
    parser.add_argument("chapters", nargs="*", help="names such as 03_kl_divergence; default all")
    parser.add_argument(
        "--seeds", type=int, default=100, help="how many in all, each 1000 further on"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    folder = root / "chapters"
    chapters = sorted(folder.glob("[0-9]*.md"))
    if options.chapters:
        chapters = [folder / f"{Path(name).stem}.md" for name in options.chapters]
    path = folder / "results" / "seeds.json"
    stored = json.loads(path.read_text("utf-8")) if path.exists() else {}
    git = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    tried = {}
    with pool(options.jobs) as processes:
        for chapter in chapters:
            now = {"commit": commit, "date": date.today().isoformat()}
            now["code"] = code_digest(chapter, root)
            rows = {label: row for label, row in stored.items() if row.get("code") == now["code"]}
            done = min((row["runs"] for row in rows.values()), default=0)
            shifts = [STEP * i for i in range(done + 1, options.seeds + 1)]
            for results in sweep(chapter, shifts, processes):
                for labels, alarms in results:
                    for label in labels:
                        row = rows.setdefault(label, {"runs": 0, "alarms": 0} | now)
                        row["runs"] += 1
                    for alarm in alarms:
                        rows[alarm.label]["alarms"] += 1
                        print(f"{alarm.label}: seeds shifted by {alarm.shift}: {alarm.message}")
                _store(path, stored | rows)  # what was tried is kept, whatever comes
            stored |= rows
            tried |= rows
            print(f"{chapter.stem}: {options.seeds} seeds", flush=True)
    # claims of chapters that were not named keep what was stored
    _store(path, stored if options.chapters else tried)
    failed = sum(row["alarms"] for row in tried.values())
    print(f"{len(tried)} claims, {options.seeds} seeds each, {failed} alarms")
    return int(failed > 0)


def _store(path: Path, rows: dict[str, dict]) -> None:
    write_bytes(path, (json.dumps(dict(sorted(rows.items())), indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
