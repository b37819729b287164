"""Spoil one formula at a time and name those that nothing notices: ``python -m tests.mutants``.

Every mutant of vaekit's mathematics must fail the tests of its own module, and every mutant of a
formula in a claim cell must make its claim raise. Names of modules or chapters choose some of them.
"""

import argparse
import ast
import contextlib
import copy
import difflib
import io
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch

from book.seeds import needed, read_cells

ROOT = Path(__file__).parent.parent
SECONDS = 120  # for one run of the tests: an endless loop counts as noticed
SLOW = "not (memory or skewed or error_of_eight or refused_before)"

# the mathematics: module, and which of its functions and classes, where not all
MODULES: dict[str, tuple[str, ...]] = {
    "divergence": (),
    "bounds": (),
    "gaussian": (),
    "bayes": (),
    "mixture": (),
    "gradients": (),
    "losses": (),
    "estimates": (),
    "claims": (),
    "likelihoods": (),
    "models": (
        "terms",
        "elbo",
        "encode",
        "log_weights",
        "iwae_bound",
        "log_evidence",
    ),
    "evaluation": (),
    "training": ("Objective",),
}
# whose tests are not called after them, or not only
TESTS = {"likelihoods": ("models",), "divergence": ("divergence", "fit_reverse")}

OPPOSITE = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
CONSTANTS = {0.5: 1, 1: 2, 2: 1}
UNARY = ("sqrt", "log", "exp", "square", "abs")
# with two arguments that may change places
SYMMETRIC = ("max", "min", "maximum", "minimum", "logaddexp", "equal", "allclose", "isclose")


def spoiled(node: ast.AST) -> Iterator[ast.AST]:
    """Give what may stand in the place of a node."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPPOSITE:
        yield ast.BinOp(node.left, OPPOSITE[type(node.op)](), node.right)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITE:
        ops = [OPPOSITE[type(node.ops[0])](), *node.ops[1:]]
        yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(CONSTANTS.get(node.value, 2 * node.value + (node.value == 0)))
    elif isinstance(node, ast.If | ast.IfExp):
        negated = ast.UnaryOp(ast.Not(), node.test)
        yield type(node)(negated, node.body, node.orelse)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            value, name = node.func.value, node.func.attr
            if name in ("sum", "mean"):
                other = ast.Attribute(value, "mean" if name == "sum" else "sum", ast.Load())
                yield ast.Call(other, node.args, node.keywords)
            elif name in UNARY:  # x.log() and torch.log(x)
                yield node.args[0] if node.args else value
        name = ast.unparse(node.func).split(".")[-1]
        starred = any(isinstance(a, ast.Starred) for a in node.args)
        if len(node.args) == 2 and not starred and name not in SYMMETRIC:
            yield ast.Call(node.func, node.args[::-1], node.keywords)


def places(tree: ast.AST, names: tuple[str, ...] = ()) -> Iterator[ast.AST]:
    """Give the nodes that compute: in the functions and classes named, or in all."""
    skipped = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.arg)
    inside = not names

    def walk(node: ast.AST, inside: bool) -> Iterator[ast.AST]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if node.name in ("__str__", "__repr__", "validate", "from_config"):
                return
            inside = inside or node.name in names
        seeds = _seeds(node) if isinstance(node, ast.arguments) else ()
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "dims"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if child in seeds or isinstance(child, skipped):
                    continue
                if isinstance(child, ast.AST):
                    if inside:
                        yield child
                    yield from walk(child, inside)

    yield from walk(tree, inside)


def _seeds(arguments: ast.arguments) -> list[ast.expr | None]:
    """Return the defaults of arguments called seed: another one is as good."""
    plain = [*arguments.posonlyargs, *arguments.args]
    plain = plain[len(plain) - len(arguments.defaults) :]
    pairs = [
        *zip(plain, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return [default for argument, default in pairs if argument.arg == "seed"]


def mutants(source: str, names: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """Give line and source of every mutant."""
    tree = ast.parse(source)
    for number, place in enumerate(places(tree, names)):
        for which, _ in enumerate(spoiled(place)):
            changed = copy.deepcopy(tree)
            node = list(places(changed, names))[number]
            new = list(spoiled(node))[which]
            put(changed, node, new)
            text = ast.unparse(ast.fix_missing_locations(changed))
            if text != ast.unparse(tree):
                yield getattr(place, "lineno", 0), text


def put(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Put a node in the place of another."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list):
                value[:] = [new if item is old else item for item in value]


def outcome(folder: Path, module: str, source: str | None, select: str = SLOW) -> int:
    """Copy vaekit with the module's source changed; return pytest's exit status of its tests."""
    shutil.copytree(ROOT / "vaekit", folder / "vaekit", ignore=shutil.ignore_patterns("*.pyc"))
    if source is not None:
        (folder / "vaekit" / f"{module}.py").write_text(source, encoding="utf-8")
    names = TESTS.get(module, (module,))
    tests = [shutil.copy(ROOT / "tests" / f"test_{name}.py", folder) for name in names]
    sys.path.insert(0, str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "vaekit"]:
        del sys.modules[name]
    sys.dont_write_bytecode = True
    torch.set_num_threads(1)  # two of these run side by side
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-q", "-x", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider"]
    options += ["--tb=no", "--assert=plain"]  # neither is read, and both take time
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = pytest.main([*options, "-k", select, *tests])
    signal.alarm(0)
    loaded = sys.modules.get("vaekit")
    if loaded is not None:  # else the mutant cannot even be imported
        assert Path(loaded.__file__).is_relative_to(folder)
    return int(status)


def _too_long(*_: object) -> None:
    raise TimeoutError


def pool(jobs: int = 2) -> ProcessPoolExecutor:
    """Return processes that have torch already, each used once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "book.seeds", "scipy.integrate", "scipy.stats"])
    return ProcessPoolExecutor(jobs, context, max_tasks_per_child=1)


def survives(module: str, source: str | None) -> bool:
    """Whether the tests of a module pass with this source."""
    with tempfile.TemporaryDirectory() as folder:
        return outcome(Path(folder), module, source) == pytest.ExitCode.OK


def formulas(source: str) -> Iterator[tuple[int, str]]:
    """Give every mutant of what a claim cell calls its formula, its first route, or a line.

    What the cell assigns to a name that such an expression reads belongs to it.
    """
    tree = ast.parse(source)

    def wanted(tree: ast.Module) -> list[ast.expr]:
        found, names = [], set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "agree" and node.keywords:
                    found.append(node.keywords[0].value)
                elif node.func.attr == "line" and len(node.args) > 1:
                    found.append(node.args[1])
        for node in found:
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        made = [s.value for s in tree.body if isinstance(s, ast.Assign) and _stores(s) & names]
        return found + made

    for number, expression in enumerate(wanted(tree)):
        for index, place in enumerate(ast.walk(expression)):
            for which, _ in enumerate(spoiled(place)):
                changed = copy.deepcopy(tree)
                node = list(ast.walk(wanted(changed)[number]))[index]
                put(changed, node, list(spoiled(node))[which])
                text = ast.unparse(ast.fix_missing_locations(changed))
                if text != ast.unparse(tree):
                    yield place.lineno, text


def _stores(statement: ast.Assign) -> set[str]:
    parts = [part for target in statement.targets for part in ast.walk(target)]
    return {part.id for part in parts if isinstance(part, ast.Name)}


def chapter_survivors(path: Path) -> tuple[int, list[tuple[str, int, str, str]]]:
    """Return how many mutants the claim cells of a chapter have, and those that pass."""
    torch.set_num_threads(1)
    os.environ.setdefault("MPLBACKEND", "agg")
    cells = read_cells(path.read_text(encoding="utf-8"))
    targets = [i for i, cell in enumerate(cells) if cell.labels]
    namespace: dict[str, object] = {"__name__": "__main__"}
    count, survivors = 0, []
    with contextlib.chdir(path.parent), contextlib.redirect_stdout(io.StringIO()):
        for i in needed(cells, targets):
            source, before = cells[i].source, dict(namespace)
            exec(compile(source, f"cell {i + 1}", "exec"), namespace)
            if i in targets and not cells[i].trains:
                for line, text in formulas(source):
                    count += 1
                    with contextlib.suppress(Exception):
                        exec(compile(text, f"cell {i + 1}", "exec"), dict(before))
                        where = f"{path.stem}, {', '.join(cells[i].labels)}"
                        survivors.append((where, line, source, text))
    return count, survivors


def show(where: str, line: int, source: str, text: str) -> None:
    """Print a survivor: where it is, and the lines that differ."""
    print(f"survived: {where}, line {line}")
    before = ast.unparse(ast.parse(source)).splitlines()
    for changed in difflib.unified_diff(before, text.splitlines(), lineterm="", n=0):
        if changed[0] in "+-" and changed[:3] not in ("+++", "---"):
            print("   ", changed)
    sys.stdout.flush()


def main() -> int:
    """Run every mutant, print those that survive, and return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="modules of vaekit or chapters; default all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--every", type=int, default=1, help="3: a third of a module's")
    options = parser.parse_args()
    chapters = sorted(ROOT.glob("chapters/[0-9]*.md"))
    modules = [m for m in MODULES if not options.names or m in options.names]
    chapters = [c for c in chapters if not options.names or c.stem in options.names]
    count = survived = 0
    with pool(options.jobs) as processes:
        for module in modules:
            source = (ROOT / "vaekit" / f"{module}.py").read_text(encoding="utf-8")
            plain = processes.submit(survives, module, None)
            found = list(mutants(source, MODULES[module]))[:: options.every]
            runs = [processes.submit(survives, module, text) for _, text in found]
            if not plain.result():
                print(f"the tests of {module} fail as they are")
            for (line, text), run in zip(found, runs, strict=True):
                count += 1
                if run.result():
                    survived += 1
                    show(f"vaekit/{module}.py", line, source, text)
        for chapter, run in [(c, processes.submit(chapter_survivors, c)) for c in chapters]:
            tried, survivors = run.result()
            count, survived = count + tried, survived + len(survivors)
            for survivor in survivors:
                show(*survivor)
            print(f"{chapter.stem}: {tried} formulas spoiled, {len(survivors)} unnoticed")
    print(f"{count} mutants, {survived} survived")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
