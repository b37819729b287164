"""The ledger: claims and checks that do not match are named, and the build fails."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from book.ledger import ledger, power_of_ten
from book.numbering import CLAIMS, number
from conftest import build

ROOT = Path(__file__).parent.parent
FACTS = {
    "kind": "value",
    "settings": 24,
    "routes": [{"name": "closed form"}, {"name": "integral"}],
    "resolution": 2e-12,
    "refuted": [{"statement": "a sum_of *parts*"}],
    "verdict": "passed",
}
HEADER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""


def book(root: Path, chapters: dict[str, str]) -> None:
    """Write the sources of a small book."""
    (root / "chapters").mkdir(parents=True, exist_ok=True)
    files = "".join(f"  - file: chapters/{name}\n" for name in chapters)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{files}")
    for path, text in {
        "index": "# A book",
        **{f"chapters/{k}": v for k, v in chapters.items()},
    }.items():
        (root / f"{path}.md").write_text(text, encoding="utf-8")


def theorem(label: str) -> str:
    return f":::{{prf:theorem}} Title of {label}\n:label: {label}\nIt holds.\n:::\n\n"


def executed(root: Path, name: str, *facts: dict) -> None:
    """Write the executed notebook of a chapter whose cells left these facts."""
    outputs = [
        nbformat.v4.new_output("display_data", metadata={"vaekit": {"claim": f}}) for f in facts
    ]
    cells = [nbformat.v4.new_code_cell(outputs=[output]) for output in outputs]
    path = root / "executed" / "chapters" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_claims_and_checks_side_by_side(tmp_path):
    book(tmp_path, {"02_one": theorem("a") + theorem("b"), "03_two": theorem("c")})
    executed(tmp_path, "02_one", FACTS | {"label": "b"}, FACTS | {"label": "a"})
    executed(tmp_path, "03_two", FACTS | {"label": "c"})
    rows = ledger(tmp_path, tmp_path / "executed")
    assert [(r["label"], r["number"], r["chapter"]) for r in rows] == [
        ("a", "2.1", "2"),
        ("b", "2.2", "2"),
        ("c", "3.1", "3"),
    ]
    assert rows[2]["url"] == "chapters/03_two.html#c"
    assert rows[2]["title"] == "Title of c"
    assert rows[2]["routes"] == FACTS["routes"]


@pytest.mark.parametrize(
    "facts, problem",
    [
        ([], "02_one: the theorem a has no check"),
        ([{"label": "a"}, {"label": "z"}], "02_one: the check z belongs to no claim here"),
        ([{"label": "a"}, {"label": "c"}], "02_one: the check c belongs to no claim here"),
        ([{"label": "a"}, {"label": "d"}], "02_one: the check d belongs to no claim here"),
        ([{"label": "a"}, {"label": "a"}], "02_one: the claim a has 2 checks"),
        ([{"label": "a", "verdict": "incomplete: x"}], "the check a is not passed: incomplete: x"),
        ([{"label": "a", "refuted": []}], "the check a refutes no wrong version"),
    ],
)
def test_what_does_not_match_is_named(tmp_path, facts, problem):
    definition = ":::{prf:definition}\n:label: d\nIt is.\n:::\n"
    book(tmp_path, {"02_one": theorem("a") + definition, "03_two": theorem("c")})
    executed(tmp_path, "02_one", *(FACTS | f for f in facts))
    executed(tmp_path, "03_two", FACTS | {"label": "c"})
    with pytest.raises(ValueError) as error:
        ledger(tmp_path, tmp_path / "executed")
    assert problem in str(error.value)
    assert str(error.value).count("\n") == 1, "one problem, one line"


def test_no_check_of_the_book_can_be_removed(built_book, tmp_path):
    folder = built_book.parent / "jupyter_execute"
    claims = {label: e for label, e in number(ROOT).items() if e.kind in CLAIMS}
    assert claims
    shutil.copytree(folder / "chapters", tmp_path / "chapters")
    for label, entry in claims.items():
        path = tmp_path / f"{entry.docname}.ipynb"
        whole = nbformat.read(path, as_version=4)
        less = nbformat.from_dict(whole)
        for cell in less.cells:
            cell["outputs"] = [
                output
                for output in cell.get("outputs", [])
                if output.get("metadata", {}).get("vaekit", {}).get("claim", {}).get("label")
                != label
            ]
        path.write_text(json.dumps(less), "utf-8")
        with pytest.raises(ValueError, match=f"the {entry.kind} {label} has no check$"):
            ledger(ROOT, tmp_path)
        nbformat.write(whole, path)


def test_the_book_s_ledger_as_data(built_book):
    rows = json.loads((built_book / "ledger.json").read_text("utf-8"), parse_constant=pytest.fail)
    claims = [label for label, entry in number(ROOT).items() if entry.kind in CLAIMS]
    assert [row["label"] for row in rows] == claims
    for row in rows:
        assert row["verdict"] == "passed"
        assert row["refuted"]
        assert len(row["routes"]) >= 2
        assert row["resolution"] > 0
        assert f'id="{row["url"].partition("#")[2]}"' in (
            built_book / row["url"].partition("#")[0]
        ).read_text("utf-8")
    page = (built_book / "chapters" / "ledger.html").read_text("utf-8")
    assert all(f"#{row['label']}" in page for row in rows)


def test_a_build_fails_without_a_check_until_it_is_back(tmp_path):
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    cell = "```{code-cell} ipython3\ndisplay({'text/plain': 'ok'}, raw=True, metadata=%r)\n```\n"
    check = cell % {"vaekit": {"claim": FACTS | {"label": "a"}}}
    whole = HEADER + "# 2. One\n\n" + theorem("a") + check
    chapters = {"02_one": whole, "ledger": (ROOT / "chapters" / "ledger.md").read_text("utf-8")}
    book(tmp_path, chapters)
    (tmp_path / "chapters" / "references.bib").touch()
    assert build(tmp_path).returncode == 0
    page = (tmp_path / "_build" / "html" / "chapters" / "ledger.html").read_text("utf-8")
    assert "Theorem 2.1" in page
    assert "a sum_of *parts*" in page, "the words of a check are no Markdown"

    book(tmp_path, chapters | {"02_one": whole.replace(check, "")})
    for _ in range(2):  # the second time nothing is left to read again
        run = build(tmp_path)
        assert run.returncode != 0
        assert "the theorem a has no check" in run.stdout

    book(tmp_path, chapters)
    assert build(tmp_path).returncode == 0


def test_resolutions_are_written_as_powers_of_ten():
    assert power_of_ten(2.04e-12) == "2·10⁻¹²"
    assert power_of_ten(0.03) == "3·10⁻²"
    assert power_of_ten(9.6e-10) == "1·10⁻⁹"
