"""The package as a whole: what it installs, what it asks for, who imports whom."""

import ast
import fnmatch
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted((ROOT / "vaekit").rglob("*.py"))

# Imports run downwards: a module knows only those before it. `claims` knows only numbers.
ORDER = [
    *("__version__", "estimates", "display", "claims"),
    *("gaussian", "divergence", "bayes", "mixture", "bounds", "gradients"),
    *("likelihoods", "storage", "models", "training", "evaluation"),
    *("data", "plotting", "widgets", "__main__"),
]
# What the mathematics must not drag in: pictures, widgets, data.
HEAVY = {"matplotlib", "anywidget", "ipywidgets", "IPython", "sklearn", "pooch"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def place(module: str) -> int:
    """Return where a module of vaekit stands in the order; one without a place is an error."""
    return ORDER.index(module.split(".")[1])


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
    # named otherwise than their package; traitlets and cycler come with ipywidgets and matplotlib
    known |= {"sklearn", "traitlets", "cycler"}
    for path in SOURCES:
        tops = {module.split(".")[0] for module in imports(path)}
        assert tops <= known, f"{name(path)} imports {tops - known}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_run_downwards(path):
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    used = {module for module in imports(path) if module.split(".")[0] == "vaekit"}
    if own == "vaekit.__init__":
        assert not used
    elif own == "vaekit.claims":
        assert used == {"vaekit.estimates", "vaekit.display"}
    elif own.startswith("vaekit.widgets"):
        assert max(map(place, used), default=0) <= place(own)
    else:
        assert max(map(place, used), default=-1) < place(own)


def test_the_mathematics_loads_no_pictures_widgets_or_data():
    below = [m for m in ORDER[: ORDER.index("models") + 1] if (ROOT / f"vaekit/{m}.py").exists()]
    code = f"import sys, {', '.join(f'vaekit.{m}' for m in below)}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "vaekit.models" in run.stdout.split()
    assert not HEAVY & set(run.stdout.split())


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
