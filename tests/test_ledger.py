"""The ledger: claims and checks that do not match are named, and the build fails."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
import torch
from small_book import build

from book.ledger import SEEDS, checks, ledger, tables
from book.numbering import CLAIMS, number
from vaekit.claims import claim, derivation

ROOT = Path(__file__).parent.parent


FACTS = (
    claim("of a claim")
    .agree(closed_form=torch.ones(24).double(), left_side=torch.ones(24).double())
    .refute({"a sum_of *parts*": 0.0})
    .facts()
)
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
    assert rows[2]["groups"] == FACTS["groups"]


def table_of(tmp_path, **facts) -> list[str]:
    """Return the cells of the ledger's row for one claim."""
    book(tmp_path, {"02_one": theorem("a")})
    executed(tmp_path, "02_one", FACTS | {"label": "a"} | facts)
    text = tables(ledger(tmp_path, tmp_path / "executed"), {"chapters/02_one": "2. One"})
    row = text.split("* - ")[-1].removesuffix("\n:::")
    return [cell.strip().replace("\\", "") for cell in row.split("\n  - ")]


def test_what_was_compared_is_named_once_whatever_its_name(tmp_path):
    one, many = torch.ones(1).double(), torch.ones(24).double()
    check = (
        claim("a")
        .agree(closed_form=many, left_side=many, line_1=many)
        .agree("part 2", closed_form=many, equality_case=many)
        .at_least("part 3", 2 * many, many, equal=(one, one))
        .at_least("part 4", 3 * many, many, equal=(one, one))
        .refute({"a sum_of *parts*": 2 * many}, above=many * 3)
    )
    assert table_of(tmp_path, **check.facts()) == [
        "{prf:ref}`a` Title of a",
        "closed form, left side, line 1, equality case, "
        "an inequality, where it is strict and where it is an equality; 24 settings",
        "an error of 4·10⁻¹²",
        "a sum_of *parts*",
    ]
    lines = derivation("a").line("x", 1.0, "").line("y", 1.0, "").refute({"z": 2.0})
    assert table_of(tmp_path, **lines.facts())[1] == "2 lines of the derivation"


@pytest.mark.parametrize(
    "resolution, sampling, words",
    [
        (2e-10, None, "an error of 2·10⁻¹⁰"),
        (2e-10, 0.052, "an error of 2·10⁻¹⁰; by sampling 0.05"),
        (None, 0.052, "by sampling an error of 0.05"),
        (None, None, "the wrong order"),
    ],
)
def test_what_a_check_notices_in_words(tmp_path, resolution, sampling, words):
    assert table_of(tmp_path, resolution=resolution, sampling=sampling)[2] == words


def test_other_seeds_are_counted_where_they_are_stored(tmp_path):
    assert table_of(tmp_path)[1] == "closed form, left side; 24 settings"
    (tmp_path / "chapters" / "results").mkdir()
    for alarms, words in ((0, "no alarm"), (1, "1 alarm"), (2, "2 alarms")):
        claims = {"a": {"runs": 100, "alarms": alarms}, "gone": {"runs": 100, "alarms": 0}}
        (tmp_path / SEEDS).write_text(json.dumps(claims))
        assert table_of(tmp_path)[1].endswith(f"24 settings; 100 other seeds: {words}")
    assert table_of(tmp_path, settings=1)[1].endswith("left side; 100 other seeds: 2 alarms")


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


@pytest.mark.parametrize("which", [0, 1])
def test_no_check_of_the_book_can_be_removed(built_book, tmp_path, which):
    """Every second check is taken away: those are missed, and no other."""
    claims = [(e.docname, e.kind, label) for label, e in number(ROOT).items() if e.kind in CLAIMS]
    gone = claims[which::2]
    labels = {label for *_, label in gone}
    for docname in dict.fromkeys(docname for docname, *_ in claims):
        facts = checks(built_book.parent / "jupyter_execute" / f"{docname}.ipynb")
        left = (f for f in facts if f["label"] not in labels)
        executed(tmp_path, Path(docname).name, *left)
    with pytest.raises(ValueError) as error:
        ledger(ROOT, tmp_path / "executed")
    missed = [f"  {docname}: the {kind} {label} has no check" for docname, kind, label in gone]
    assert str(error.value).splitlines()[1:] == missed


def test_the_book_s_ledger_as_data(built_book):
    rows = json.loads((built_book / "ledger.json").read_text("utf-8"), parse_constant=pytest.fail)
    claims = [label for label, entry in number(ROOT).items() if entry.kind in CLAIMS]
    assert [row["label"] for row in rows] == claims
    for row in rows:
        assert row["verdict"] == "passed"
        assert row["refuted"]
        assert all(len(group["routes"]) >= 2 for group in row["groups"])
        assert row["resolution"] is None or row["resolution"] > 0
        assert f'id="{row["url"].partition("#")[2]}"' in (
            built_book / row["url"].partition("#")[0]
        ).read_text("utf-8")
    page = (built_book / "chapters" / "ledger.html").read_text("utf-8")
    assert all(f"#{row['label']}" in page for row in rows)


def test_a_build_fails_without_a_check_until_it_is_back(tmp_path):
    for name in ("_config.yml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    cell = "```{code-cell} ipython3\ndisplay({'text/plain': 'ok'}, raw=True, metadata=%r)\n```\n"
    check = cell % {"vaekit": {"claim": FACTS | {"label": "a"}}}
    whole = HEADER + "# 2. One\n\n" + theorem("a") + check
    chapters = {"02_one": whole, "ledger": (ROOT / "chapters" / "ledger.md").read_text("utf-8")}
    book(tmp_path, chapters)
    (tmp_path / "chapters" / "references.bib").touch()
    assert build(tmp_path).exit_code == 0
    page = (tmp_path / "_build" / "html" / "chapters" / "ledger.html").read_text("utf-8")
    assert "Theorem 2.1" in page
    assert "a sum_of *parts*" in page, "the words of a check are no Markdown"

    book(tmp_path, chapters | {"02_one": whole.replace(check, "")})
    for _ in range(2):  # the second time nothing is left to read again
        run = build(tmp_path)
        assert run.exit_code != 0
        assert "the theorem a has no check" in run.output

    book(tmp_path, chapters)
    assert build(tmp_path).exit_code == 0
