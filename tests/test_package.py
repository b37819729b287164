"""The package as a whole: what it installs, what it asks for, who imports whom."""

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted((ROOT / "vaekit").rglob("*.py"))

# What the mathematics must not drag in: pictures, widgets, data.
HEAVY = {"matplotlib", "anywidget", "ipywidgets", "IPython", "sklearn", "pooch"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: relative import"
            modules = {f"vaekit.{alias.name}" for alias in node.names}
            found |= modules if node.module == "vaekit" else {node.module}
    return found


def test_every_package_and_every_other_file_of_vaekit_is_installed():
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    for path in (ROOT / "vaekit").rglob("*"):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            package = ".".join(path.parent.relative_to(ROOT).parts)
            assert any(fnmatch.fnmatch(path.name, p) for p in patterns.get(package, [])), name(path)


def test_the_files_that_the_metadata_names_are_there():
    project = PROJECT["project"]
    for file in (project["readme"], *project["license-files"]):
        assert (ROOT / file).is_file(), file


def test_the_package_asks_for_lower_bounds_alone():
    for line in PROJECT["project"]["dependencies"]:
        assert {s.operator for s in Requirement(line).specifier} == {">="}, line


def test_the_pins_are_exact_and_satisfy_the_package():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for pin in required:
        assert [s.operator for s in pin.specifier] == ["=="], pin
    versions = {pin.name: next(iter(pin.specifier)).version for pin in required}
    for line in PROJECT["project"]["dependencies"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(versions[wanted.name]), line


def test_every_import_of_another_package_is_a_dependency():
    dependencies = {Requirement(line).name for line in PROJECT["project"]["dependencies"]}
    known = {"vaekit", *sys.stdlib_module_names, *dependencies}
    # named otherwise than its package, or brought by ipywidgets and matplotlib
    known |= {"sklearn", "traitlets", "IPython", "matplotlib_inline", "cycler"}
    for path in SOURCES:
        tops = {module.split(".")[0] for module in imports(path)}
        assert tops <= known, f"{name(path)} imports {tops - known}"


def run(*command: str) -> str:
    """Run a tool of this environment on the clone; what it says is the message of a failure."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, text=True, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_imports_run_downwards():
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    run("-c", lint)  # the layers stand in pyproject.toml


def test_ruff_has_nothing_to_say():
    run("-m", "ruff", "check", ".")
    run("-m", "ruff", "format", "--check", ".")


def test_docstrings_cite_claims_that_are_made_or_planned():
    made = {
        label
        for path in (ROOT / "chapters").glob("*.md")
        for label in re.findall(r"^:label: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    planned = set((ROOT / "tests/planned_claims.txt").read_text(encoding="utf-8").split("\n")[1:])
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                cited = set(
                    re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", ast.get_docstring(node) or "")
                )
                assert cited <= made | planned, f"{name(path)} cites {cited - made - planned}"


def test_the_mathematics_loads_no_pictures_widgets_or_data():
    below = "claims gaussian divergence likelihoods storage models".split()
    code = f"import sys, {', '.join(f'vaekit.{m}' for m in below)}; print(*sys.modules)"
    loaded = run("-c", code).split()
    assert "vaekit.models" in loaded
    assert not HEAVY & set(loaded)


def public(path: Path) -> list[tuple[str, ast.AST]]:
    """Return the public classes and functions of a module and the public methods of the former."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            members = node.body if isinstance(node, ast.ClassDef) else []
            functions = [m for m in members if isinstance(m, ast.FunctionDef)]
            found += [(node.name, node)] + [
                (f"{node.name}.{m.name}", m) for m in functions if not m.name.startswith("_")
            ]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_what_is_public_says_what_it_returns_and_raises(path):
    for label, node in public(path):
        doc = ast.get_docstring(node) or ""
        assert doc, f"{label} has no docstring"
        if isinstance(node, ast.FunctionDef):
            if any(isinstance(inner, ast.Raise) for inner in ast.walk(node)):
                assert "raise" in doc.lower(), f"{label} raises what its docstring does not name"
            numbers = {"Tensor", "Estimate", "Approximation", "float"}
            is_property = any(ast.unparse(d) == "property" for d in node.decorator_list)
            if (
                node.returns
                and not is_property
                and numbers & set(ast.unparse(node.returns).split(" | "))
            ):
                assert "Return" in doc, f"{label} does not say what it returns"
