"""The notebooks: every construct of the chapters as plain Markdown, and never out of date."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_output

from book.execution import code_of
from book.markdown import Book, Translator, raw
from book.notebooks import ROOT, check, clean, compose, filled, install_cell, main, write

HEADER = """\
---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

"""
PLACEHOLDER = "https://github.com/your--account/vaekit"
BIBLIOGRAPHY = r"""
@article{one, author = {M{\"u}ller, Ada}, title = {First}, journal = {J}, year = {1901}}
@misc{two, author = {A, B and van C, D}, title = {Second}, year = {1902},
  howpublished = {\url{http://example.org/a_b}}}
@article{many, author = {A, B and C, D and E, F}, title = {Third}, journal = {J}, year = {1903}}
"""
CELLS = """\
# 1. One

See {cite:t}`two` and {doc}`02_two`.

```{code-cell} ipython3
:tags: [hide-input]
claim("a")
```

```{code-cell} ipython3
---
mystnb:
  image: {alt: a rising line}
  figure: {caption: "A curve $y$, after {eq}`eq`", name: fig}
---
plot()
```

$$
a = b
$$ (eq)

## Second section

```{code-cell} ipython3
:tags: [remove-output]
print("done")
```
"""


def make_book(root: Path, first: str, url: str = PLACEHOLDER) -> Book:
    """Write a book of a landing page, a notation page and two chapters."""
    chapters = root / "chapters"
    chapters.mkdir(exist_ok=True)
    (root / "_config.yml").write_text(
        f"repository: {{url: '{url}'}}\nbibtex_bibfiles: [chapters/references.bib]\n"
    )
    files = "".join(f"  - file: chapters/{name}\n" for name in ("notation", "01_one", "02_two"))
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{files}")
    (root / "index.md").write_text("# Home\n")
    (chapters / "notation.md").write_text("# Notation\n")
    (chapters / "references.bib").write_text(BIBLIOGRAPHY)
    (chapters / "01_one.md").write_text(HEADER + first)
    (chapters / "02_two.md").write_text(
        HEADER + "# 2. Two\n\n:::{prf:lemma} Other\n:label: other\nIt holds.\n:::\n"
    )
    return Book(root)


def run_cells(root: Path, *outputs: list) -> None:
    """Leave what a build would: the code cells of chapter 1 with `outputs`, chapter 2 as it is."""
    executed = root / "_build/jupyter_execute/chapters"
    executed.mkdir(parents=True, exist_ok=True)
    for name, stored in (("01_one", outputs), ("02_two", ())):
        notebook = jupytext.read(root / f"chapters/{name}.md", fmt="md:myst")
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for cell, these in zip(cells, stored, strict=True):
            cell.outputs = these
        nbformat.write(notebook, executed / f"{name}.ipynb")


def text_output(text: str) -> list:
    return [new_output("execute_result", {"text/plain": text})]


PNG = "iVBORw0KGgo="
FIGURE = [
    new_output("stream", name="stderr", text="\r 10%\r100%"),
    new_output("stream", name="stdout", text="epoch 1\repoch 2\n"),
    new_output("display_data", {"image/png": PNG, "text/plain": "<Figure size 640x480>"}),
]


@pytest.fixture
def book(tmp_path):
    """A book whose notebooks are up to date."""
    made = make_book(tmp_path, CELLS)
    run_cells(tmp_path, text_output("a: passed"), FIGURE, text_output("done"))
    assert write(tmp_path) == []
    return made


# Text: source, then what the notebook says.

PLAIN = {
    "theorem": (
        """
        ::::{prf:theorem} Gaussian $\\sigma$
        :label: t
        If $0
        = 0$ so, then

        $$
        a
          = b
        $$ (e)

        :::{note}
        By {eq}`e`.
        :::
        ::::
        """,
        """
        > **Theorem 1.1 (Gaussian $\\sigma$).** If $0 = 0$ so, then
        >
        > $$ a = b \\tag{1.1} $$
        >
        > > **Note.** By (1.1).
        """,
    ),
    "definition": (
        ":::{prf:definition}\n:label: d\n- item\n:::",
        "> **Definition 1.1.**\n>\n> - item",
    ),
    "unnumbered": (":::{prf:remark}\n:label: r\n:nonumber:\nSo.\n:::", "> **Remark.** So."),
    "proof": (":::{prf:proof}\nClear.\n\nSo done.\n:::", "*Proof.* Clear.\n\nSo done. ∎"),
    "proof with a title": (":::{prf:proof} First proof\nSo.\n:::", "*First proof.* So. ∎"),
    "proof ending in a formula": (
        ":::{prf:proof}\nClear:\n\n$$ a = b $$\n:::",
        "*Proof.* Clear:\n\n$$\na = b \\qquad \\blacksquare\n$$",
    ),
    "proof ending in a table": (
        ":::{prf:proof}\nClear:\n\n| a |\n|---|\n:::",
        "*Proof.* Clear:\n\n| a |\n|---|\n\n∎",
    ),
    "proof ending in a list": (":::{prf:proof}\n1. So.\n:::", "*Proof.*\n\n1. So. ∎"),
    "exercise": (
        """
        :::{exercise} Try
        :label: x
        Do it.
        :::

        :::{solution} x
        :class: dropdown

        So:

        ```python
        f("$")
        ```
        :::
        """,
        """
        #### Exercise 1.1 (Try)

        Do it.

        <details>
        <summary>Solution to Exercise 1.1</summary>

        So:

        ```python
        f("$")
        ```

        </details>
        """,
    ),
    "exercise with cells": (
        "```{exercise-start}\n:label: x\n```\n\nDo.\n\n```{exercise-end}\n```\n\n"
        "```{solution-start} x\n```\n\nSo.\n\n```{solution-end}\n```",
        "#### Exercise 1.1\n\nDo.\n\n"
        "<details>\n<summary>Solution to Exercise 1.1</summary>\n\nSo.\n\n</details>",
    ),
    "admonition": (
        ":::{admonition} Slip: always $> 0$\n:class: slip\nNo.\n:::",
        "> **Slip: always $> 0$**\n>\n> No.",
    ),
    "dropdown admonition": (
        ":::{admonition} More\n:class: dropdown\nText.\n:::",
        "<details>\n<summary>More</summary>\n\nText.\n\n</details>",
    ),
    "dropdown": (
        ":::{dropdown} More\nText.\n:::",
        "<details>\n<summary>More</summary>\n\nText.\n\n</details>",
    ),
    "tip": (":::{tip}\nTry.\n:::", "> **Tip.** Try."),
    "warning": ("```{warning} Careful.\n```", "> **Warning.** Careful."),
    "hidden hint": (
        ":::{hint}\n:class: dropdown\nTry.\n:::",
        "<details>\n<summary>Hint</summary>\n\nTry.\n\n</details>",
    ),
    "see also": (
        ":::{seealso}\n{prf:ref}`other`\n:::",
        "> **See also.** [Lemma 2.1](02_two.ipynb)",
    ),
    "formula": (
        "Text\n\n$$\na &= b \\\\\nc &= d\n$$ (e)\n\n{eq}`e`",
        "Text\n\n$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}\n\\tag{1.1}\n$$"
        "\n\n(1.1)",
    ),
    "math": ("```{math}\n:label: e\na\n```", "$$\na\n\\tag{1.1}\n$$"),
    "figure": (
        "```{figure} a.png\n:name: f\n:alt: a line\n\nA line.\n```\n\n{numref}`f`, "
        "{numref}`plot %s <f>`",
        "![a line](a.png)\n\n**Fig. 1.1.** A line.\n\nFig. 1.1, plot 1.1",
    ),
    "image": ("```{image} a.png\n:alt: a line\n```", "![a line](a.png)"),
    "list-table": (
        "```{list-table} Terms\n:header-rows: 1\n\n"
        "* - a | b\n  - $b | c$\n* - {math}`d`\n  - e\n```",
        "**Terms**\n\n| a \\| b | $b \\vert  c$ |\n| --- | --- |\n| $d$ | e |",
    ),
    "headless list-table": (
        "```{list-table}\n* - a\n  - b\n```",
        "|  |  |\n| --- | --- |\n| a | b |",
    ),
    "table": (
        "```{table} Terms\n| a |\n|---|\n| {math}`b` |\n```",
        "**Terms**\n\n| a |\n|---|\n| $b$ |",
    ),
    "code-block": ("```{code-block} bash\nmake book\n```", "```bash\nmake book\n```"),
    "code": ("```python\n{eq}`e`\n```\n\n`{eq}`, \\$5", "```python\n{eq}`e`\n```\n\n`{eq}`, \\$5"),
    "code in a list": (
        "- item\n\n      {eq}`e`\n\n  ```\n  {eq}`e`\n  ```",
        "- item\n\n      {eq}`e`\n\n  ```\n  {eq}`e`\n  ```",
    ),
    "in a list": (
        "- item\n\n  :::{note}\n  So.\n  :::\n\n- next",
        "- item\n\n  > **Note.** So.\n\n- next",
    ),
    "dropped": (
        "% comment\n\nText\n\n```{bibliography}\n:filter: docname in docnames\n```\n\n"
        "```{tableofcontents}\n```\n\n```{ledger}\n```",
        "Text",
    ),
    "target": ("(s)=\n## Part\n\n{ref}`s`, {ref}`here <s>`", "## Part\n\nPart, here"),
    "pages": (
        "{doc}`notation`, {doc}`/chapters/02_two`, {doc}`next <02_two>`, [notes](notation.md), "
        "[two](02_two.md), [home](../index.md), [web](https://example.org), {ref}`other`",
        "[Notation](notation.md), [2. Two](02_two.ipynb), [next](02_two.ipynb), "
        "[notes](notation.md), [two](02_two.ipynb), home, [web](https://example.org), "
        "[Lemma 2.1](02_two.ipynb)",
    ),
    "citations": (
        "{cite:t}`one`, {cite:t}`two`, {cite:p}`many,one`, {cite}`two`",
        "Müller [1901], A and van C [1902], [A *et al.*, 1903, Müller, 1901], [A and van C, 1902]",
    ),
    "small roles": (
        "{term}`ELBO`, {abbr}`KL (Kullback–Leibler)`, {math}`a_1`, {download}`data <d.csv>`",
        "ELBO, KL (Kullback–Leibler), $a_1$, [data](d.csv)",
    ),
}


@pytest.mark.parametrize("case", PLAIN)
def test_plain(tmp_path, case):
    source, expected = (dedent(text).strip() for text in PLAIN[case])
    book = make_book(tmp_path, f"# 1. One\n\n{source}\n")
    assert Translator(book, "chapters/01_one").translate(source) == expected


REFUSED = {
    "Text\n\n:::{epigraph}\nNo.\n:::": "01_one.md:3: the directive {epigraph}",
    "Text {kbd}`a`": "01_one.md:1: the role {kbd}",
    "Text\nand {eq}`nowhere`": "01_one.md:2: nothing has the label “nowhere”",
    "{cite:t}`nobody`": "the bibliography has no “nobody”",
    "{doc}`nowhere`": "there is no page chapters/nowhere",
    ":::{note}\n\n:::{tip}\nunclosed": "is never closed",
    ":::\nText\n:::": "is no directive",
    "Text[^1]\n\n[^1]: note": "footnote",
    "\\begin{align}\na\n\\end{align}": "amsmath",
    "Term\n: meaning": "definition list",
    "It costs $5.": "“$” in “It costs $5.”",
    "> :::{note}\n> So.\n> :::": "line of its own",
    "Text\n$$\na\n$$ (e)": "blank line",
    "$$\na % why\n$$": "LaTeX comment",
    "{{ key }}": "“{{”",
    "[$[x]$ there](02_two.md)": "the link 02_two.md",
}


@pytest.mark.parametrize("source", REFUSED)
def test_refused(tmp_path, source):
    book = make_book(tmp_path, "# 1. One\n")
    with pytest.raises(ValueError, match=re.escape(REFUSED[source])):
        Translator(book, "chapters/01_one").translate(source)


def test_line_of_what_is_refused(tmp_path):
    book = make_book(tmp_path, CELLS + "\nText.\n\n:::{note}\n:class: x\n\n{kbd}`a`\n:::\n")
    text = (tmp_path / "chapters/01_one.md").read_text()
    line = text[: text.index("{kbd}")].count("\n") + 1
    with pytest.raises(ValueError, match=f"01_one.md:{line}: the role"):
        compose(book, "chapters/01_one")


# Notebooks


def test_written(book):
    text = (book.root / "chapters/01_one.ipynb").read_text()
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    install, title, claim, figure, caption, formula, section, last, references = notebook.cells
    assert install.source == install_cell(PLACEHOLDER, book.root)
    assert title.source == "# 1. One\n\nSee A and van C [1902] and [2. Two](02_two.ipynb)."
    assert claim.metadata == {
        "tags": ["hide-input", "nbval-check-output"],
        "jupyter": {"source_hidden": True},
        "cellView": "form",
    }
    assert claim.outputs[0].data == {"text/plain": "a: passed"}
    assert [output.output_type for output in figure.outputs] == ["stream"], "no picture"
    assert figure.outputs[0].text == "epoch 2\n"
    assert caption.source == "**Fig. 1.1.** A curve $y$, after (1.1)"
    assert formula.source == "$$\na = b\n\\tag{1.1}\n$$"
    assert section.source == "## Second section"
    assert (last.execution_count, last.outputs) == (4, [])
    assert references.source == (
        "## References\n\n- B A and D van C. Second. http://example.org/a_b, 1902."
    )
    assert text.endswith("}\n")
    before = (book.root / "chapters/01_one.ipynb").stat().st_mtime_ns
    assert write(book.root) == []
    assert (book.root / "chapters/01_one.ipynb").stat().st_mtime_ns == before


def test_the_notebook_to_download_has_the_same_text_and_the_pictures(book):
    stored, offered = (
        nbformat.reads(filled(book, "chapters/01_one", pictures), as_version=4)
        for pictures in (False, True)
    )
    shown = offered.cells[3].outputs[1]
    assert shown.data["image/png"].strip() == PNG
    assert shown.metadata == {"image/png": {"alt": "a rising line"}}
    for cell in [*stored.cells, *offered.cells]:
        cell.outputs = []
    assert stored == offered


SOLUTIONS = """\
# 1. One

```{exercise-start}
:label: x
```

Do.

```{exercise-end}
```

```{solution-start} x
```

So.

```{code-cell} ipython3
1 + 1
```

And so.

```{solution-end}
```

```{exercise} Another
:label: y

Do.
```

```{solution-start} y
```

```{code-cell} ipython3
2 + 2
```

```{solution-end}
```

## After

```{code-cell} ipython3
3 + 3
```
"""


def test_all_that_belongs_to_a_solution_is_folded(tmp_path):
    cells = compose(make_book(tmp_path, SOLUTIONS), "chapters/01_one").cells[1:]
    title, first, heading, text, code, rest, second, other, more, section, after = cells
    folded = "<details>\n<summary>Solution to Exercise 1.1{}</summary>\n\n{}\n\n</details>"
    assert title.source == "# 1. One"
    assert first.source == "#### Exercise 1.1\n\nDo."
    assert text.source == folded.format("", "So.")
    assert rest.source == folded.format(", continued", "And so.")
    assert second.source == "#### Exercise 1.2 (Another)\n\nDo."
    # Jupyter folds all from here to the next heading, and running a cell does not unfold it
    assert [heading.source, other.source] == [f"##### Solution to Exercise 1.{n}" for n in (1, 2)]
    for cell in cells:
        assert bool(cell.metadata.get("jp-MarkdownHeadingCollapsed")) == (cell in (heading, other))
    for cell in (code, more):
        assert cell.metadata == {
            "jupyter": {"source_hidden": True, "outputs_hidden": True},
            "collapsed": True,
            "cellView": "form",
        }
    assert section.source == "## After"
    assert after.metadata == {}


def test_what_follows_a_solution_with_code_is_not_folded_with_it(tmp_path):
    book = make_book(tmp_path, SOLUTIONS.replace("## After", "After."))
    with pytest.raises(ValueError, match="a heading or an exercise"):
        compose(book, "chapters/01_one")


def test_no_widget_is_stored():
    widget = new_output(
        "display_data",
        {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "run me"},
        metadata={"vaekit": {}},
    )
    assert clean(widget, 1, "").data == {"text/plain": "run me"}
    assert clean(widget, 1, "").metadata == {}


def test_pictures_show_in_a_notebook_that_its_reader_did_not_run():
    """Jupyter takes SVG out of it, as a picture and in HTML."""
    both = {"image/svg+xml": "<svg/>", "image/png": PNG, "text/plain": "<Figure>"}
    figure = new_output("display_data", both, metadata={"image/png": {"width": 600}})
    assert set(clean(figure, 1, "").data) == {"image/png", "text/plain"}
    assert clean(figure, 1, "").metadata == {"image/png": {"width": 600}}
    drawing = {"text/html": "<svg>\n</svg>", "text/plain": "A drawing."}
    assert clean(new_output("display_data", drawing), 1, "").data == {"text/plain": "A drawing."}
    claim = {"text/html": "<p><svg><text>too small</text></svg>passed</p>", "text/plain": "passed"}
    assert clean(new_output("display_data", claim), 1, "").data == {
        "text/html": "<p>passed</p>",
        "text/plain": "passed",
    }


def test_naked_address_is_refused():
    with pytest.raises(ValueError, match=r"only <matplotlib\.lines"):
        clean(text_output("[<matplotlib.lines.Line2D at 0x7f00>]")[0], 1, "")


def test_stale_build_is_refused(book):
    source = book.root / "chapters/01_one.md"
    source.write_text(source.read_text().replace('print("done")', 'print("changed")'))
    assert write(book.root) == [
        "chapters/01_one.md: the build is older than its source: run `make book` first"
    ]
    shutil.rmtree(book.root / "_build")
    assert len(write(book.root)) == 2


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


CHANGES = {
    "the text": ("01_one.md", "Second section", "Another section"),
    "the code": ("01_one.md", 'print("done")', 'print("changed")'),
    "a tag": ("01_one.md", "hide-input", "hide-output"),
    "a title elsewhere": ("02_two.md", "# 2. Two", "# 2. Zwei"),
    "a number": ("01_one.md", "See {cite", "$$\nz\n$$ (other-eq)\n\nSee {cite"),
    "the bibliography": ("references.bib", "Second", "2nd"),
    "the address": ("../_config.yml", "your--account", "someone"),
    "the notebook": ("01_one.ipynb", "## Second section", "## Edited by hand"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_check_sees_a_change_of(book, what):
    shutil.rmtree(book.root / "_build")
    assert check(book.root) == []
    name, old, new = CHANGES[what]
    change(book.root / "chapters" / name, old, new)
    assert "chapters/01_one.ipynb is out of date with chapters/01_one.md" in check(book.root)


def test_check_sees_missing_and_left_over(book):
    chapters = book.root / "chapters"
    (chapters / "02_two.ipynb").rename(chapters / "09_gone.ipynb")
    assert check(book.root) == [
        "chapters/02_two.ipynb is missing",
        "chapters/09_gone.ipynb belongs to no chapter of _toc.yml",
    ]


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        ([], "the check has no stored output"),
        (text_output("a") + 2 * [new_output("stream", text="b\n")], "what it prints is in pieces"),
        ([new_output("display_data", {"image/png": PNG})], "a stored picture"),
        ([new_output("error", ename="ClaimError", evalue="", traceback=[])], "a stored error"),
    ],
)
def test_check_sees_a_claim(book, outputs, fault):
    path = book.root / "chapters/01_one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell = notebook.cells[2]
    cell.outputs = outputs
    nbformat.write(notebook, path)
    assert check(book.root) == [f"chapters/01_one.ipynb: cell {cell.id}: {fault}"]


def test_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["notebooks", "--check"])
    monkeypatch.setattr("book.notebooks.check", lambda: ["chapters/03.ipynb is missing"])
    assert main() == 1
    assert capsys.readouterr().err == "chapters/03.ipynb is missing\n"


# The notebooks of this book


def test_committed_notebooks_are_up_to_date():
    assert check(ROOT) == []


NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook_is_plain(path):
    assert path.stat().st_size < 250_000
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            assert list(raw(cell.source)) == []
            assert re.sub(r"\\\$|`[^`]*`", "", cell.source).count("$") % 2 == 0
        for output in cell.get("outputs", []):
            assert not {"image/png", "image/jpeg", "image/svg+xml"} & set(output.get("data", {}))
            assert "data:image" not in str(output)


# The first cell


def run_first_cell(url: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", install_cell(url, folder)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("url", [PLACEHOLDER, "https://example.org/none.git"])
def test_first_cell_is_silent_where_vaekit_is(tmp_path, url):
    done = run_first_cell(url, tmp_path, PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def run_here(script: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a script as a notebook in `folder` would, where vaekit is not installed."""
    shell = f"""
import sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
sys.path[:] = [path for path in sys.path if not (Path(path) / "vaekit").exists()]
result = InteractiveShell.instance().run_cell({script!r})
sys.exit(not result.success)
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", shell], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_first_cell_finds_the_package_in_the_clone(tmp_path):
    (tmp_path / "clone" / "vaekit").mkdir(parents=True)
    (tmp_path / "clone" / "vaekit" / "__init__.py").write_text("where = 'in the clone'")
    (tmp_path / "clone" / "chapters").mkdir()
    for url in (PLACEHOLDER, "https://example.org/none.git"):
        script = install_cell(url, tmp_path) + "\nimport vaekit; print(vaekit.where)"
        done = run_here(script, tmp_path / "clone" / "chapters")
        assert (done.returncode, done.stdout, done.stderr) == (0, "in the clone\n", "")


def test_first_cell_alone_says_in_one_sentence_what_a_reader_can_do(tmp_path):
    script = install_cell(PLACEHOLDER, tmp_path)
    assert len(script.splitlines()) <= 20
    assert "subprocess" not in script, "installs nothing from a stranger"
    done = run_here(script, tmp_path)
    assert done.returncode == 1
    assert done.stdout + done.stderr == (
        "vaekit is missing: download the whole course and open this notebook there, "
        "or pip install the folder of that download.\n"
    )


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://github.com/some-one/vaekit", "git+https://github.com/some-one/vaekit"),
        ("git+https://example.org/vaekit.git", "git+https://example.org/vaekit.git"),
        ("file:///srv/vaekit", "git+file:///srv/vaekit"),
        ("/srv/vaekit", "git+file:///srv/vaekit"),
        ("../vaekit", "git+file:///home/vaekit"),
    ],
)
def test_first_cell_takes_the_address(url, address):
    assert f'"{address}"' in install_cell(url, Path("/home/book"))


@pytest.fixture
def other_environment(tmp_path):
    """An environment of its own that sees everything installed here, pip too, but not vaekit."""
    folder = tmp_path / "environment"
    venv.create(folder)
    python = folder / "bin/python"
    (site,) = folder.glob("lib/*/site-packages")
    (site / "here.pth").write_text(sysconfig.get_path("purelib"))
    if run_python(python, folder, "import vaekit").returncode == 0:
        pytest.skip("vaekit is installed in this environment")
    if run_python(python, folder, "import setuptools").returncode:
        pytest.skip("no setuptools here to build vaekit with")
    return python


def run_python(python: Path, folder: Path, code: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PIP_NO_BUILD_ISOLATION"] = "1"  # nothing is fetched
    return subprocess.run(
        [python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_a_notebook_alone_installs_all_of_vaekit_that_chapters_use(tmp_path, other_environment):
    """That the chapters run is nbval's to show; here each finds what it imports."""
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "vaekit", repository / "vaekit")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, repository)
    git = ["git", "-C", repository, "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *command], check=True)

    book = Book(ROOT)
    code = [node for name in book.chapters for node in ast.walk(code_of(book.text(name)))]
    imports = (ast.unparse(node) for node in code if isinstance(node, ast.Import | ast.ImportFrom))
    statements = [statement for statement in imports if "vaekit" in statement]
    assert len(statements) > 10
    alone = tmp_path / "alone"
    alone.mkdir()
    versions = "import torch, numpy; print(torch.__version__, numpy.__version__)"
    code = "\n".join([install_cell(str(repository), ROOT), *statements, versions])
    done = run_python(other_environment, alone, code)
    assert done.stdout.split() == [version("torch"), version("numpy")], done.stderr
    own = {path.name for path in other_environment.parent.parent.glob("lib/*/site-packages/*")}
    assert "vaekit" in own and not {"torch", "numpy"} & own


# nbval


def test_nbval_compares_claims_and_nothing_else(tmp_path):
    """A changed claim fails, a changed figure does not."""
    source = dedent(
        """\
        # 1. One

        ```{code-cell} ipython3
        def claim(label):
            return label
        ```

        ```{code-cell} ipython3
        import time
        print(time.time())
        ```

        ```{code-cell} ipython3
        claim("a")
        ```
        """
    )
    make_book(tmp_path, source)
    run_cells(tmp_path, [], [new_output("stream", text="1.0\n")], text_output("'a'"))
    assert write(tmp_path) == []
    path = tmp_path / "chapters/01_one.ipynb"
    changed = tmp_path / "chapters/changed.ipynb"
    shutil.copy(path, changed)
    change(changed, "\"'a'\"", "\"'b'\"")
    nbval = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax"]
    command = [*nbval, "--nbval-current-env", path, changed]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "1 failed, 7 passed" in done.stdout, done.stdout
    assert "changed.ipynb::Cell 3" in done.stdout
