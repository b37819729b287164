"""What the press does while it builds, on a small book."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from small_book import build

from book.execution import AT_ONCE, digest, joined, uses
from book.notebooks import published
from book.numbering import number

ROOT = Path(__file__).parent.parent
HEADER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""
CELL = """
```{code-cell} ipython3
import time
from vaekit.%s import ANSWER
print("the answer is", ANSWER, "at", time.time_ns())
```
"""
CHAPTER = HEADER + "# 2. One\n" + CELL % "one"


@pytest.fixture
def book(tmp_path):
    """Write a book of one chapter that has a vaekit of its own."""
    for name in ("_config.yml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("chapters", "vaekit"):
        (tmp_path / name).mkdir()
    contents(tmp_path, "02_one")
    (tmp_path / "index.md").write_text("# A book\n")
    (tmp_path / "chapters" / "02_one.md").write_text(CHAPTER)
    (tmp_path / "chapters" / "references.bib").touch()
    (tmp_path / "vaekit" / "__init__.py").touch()
    (tmp_path / "vaekit" / "one.py").write_text("ANSWER = 41\n")
    return tmp_path


def contents(root, *chapters):
    files = "".join(f"  - file: chapters/{name}\n" for name in chapters)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{files}")


def page(root, name="02_one"):
    return (root / "_build" / "html" / "chapters" / f"{name}.html").read_text("utf-8")


def page_of(root):
    run = build(root)
    assert run.exit_code == 0, run.output
    return page(root)


def printed(root, *names):
    """Build, and return what the pages of chapters show that their cells printed."""
    page_of(root)
    return [re.findall(r"the answer is .* at \d+", page(root, name))[0] for name in names]


def test_a_chapter_runs_again_when_what_it_uses_has_changed_and_only_then(book):
    """Two chapters import different modules: each edit is made, and one chapter or none runs."""
    vaekit, chapters = book / "vaekit", book / "chapters"
    contents(book, "02_one", "03_two")
    (chapters / "03_two.md").write_text(HEADER + "# 3. Two\n" + CELL % "two")
    (vaekit / "two.py").write_text("from vaekit import deep\nANSWER = deep.ANSWER\n")
    (vaekit / "deep.py").write_text("ANSWER = 43\n")
    (vaekit / "unused.py").write_text("")
    names = ("02_one", "03_two")
    first, second = printed(book, *names)
    assert "is 41" in first and "is 43" in second

    (vaekit / "unused.py").write_text("nothing = 0\n")
    (chapters / "02_one.md").write_text(CHAPTER + "\nMore text.\n")
    assert printed(book, *names) == [first, second], "neither runs"
    assert "More text." in page(book)

    (vaekit / "deep.py").write_text("ANSWER = 44\n")
    before, (one, second) = first, printed(book, *names)
    assert one == before and "is 44" in second, "a module that a module imports"

    (vaekit / "one.py").write_text("ANSWER = 1 / 0\n")
    for _ in range(2):
        assert build(book).exit_code, "what failed is run again"
    (vaekit / "one.py").write_text("ANSWER = 42\n")
    first, two = printed(book, *names)
    assert "is 42" in first and two == second

    (chapters / "03_two.md").unlink()
    contents(book, "02_one")
    page_of(book)
    (cache,) = (book / "_build" / ".jupyter_cache").iterdir()
    assert cache.name.startswith("chapters-02_one-"), "old ones are gone"


@pytest.mark.skipif(AT_ONCE < 2, reason="one core")
def test_chapters_run_beside_each_other(book):
    """Each of two waits for the other's file: one after the other, both would give up."""
    contents(book, "02_one", "03_two")
    cell = """
```{code-cell} ipython3
import time
from pathlib import Path
Path("%s").touch()
end = time.time() + 60
while not Path("%s").exists() and time.time() < end:
    time.sleep(0.1)
print("met:", Path("%s").exists())
```
"""
    for name, mine, other in (("02_one", "a", "b"), ("03_two", "b", "a")):
        text = f"{HEADER}# {name[1]}. One\n" + cell % (mine, other, other)
        (book / "chapters" / f"{name}.md").write_text(text)
    page_of(book)
    assert all("met: True" in page(book, name) for name in ("02_one", "03_two"))


def test_what_the_cells_of_a_chapter_use(book):
    files = {
        "vaekit/__init__.py": "from vaekit import data",
        "vaekit/data.py": "",
        "vaekit/widgets/__init__.py": "from .knob import Knob",
        "vaekit/widgets/knob.py": "from vaekit.widgets import base\nscript = base.HERE / 'knob.js'",
        "vaekit/widgets/base.py": "STYLE = 'widgets.css'",
        "vaekit/widgets/other.py": "import vaekit.unused",
        "vaekit/plotting.py": "def f():\n    import vaekit.deep.inside as x",
        "vaekit/deep/inside.py": "",
        "vaekit/unused.py": "",
    }
    data = ["vaekit/widgets/knob.js", "vaekit/widgets/other.js", "vaekit/widgets/widgets.css"]
    data += [f"chapters/results/{n}" for n in ("a.json", "b_1.png", "b_2.png", "c/d.json", "e.png")]
    for name, text in [*files.items(), *dict.fromkeys(data, "").items()]:
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).write_text(text)
    cell = """
```{code-cell} ipython3
:tags: [hide-input]
%matplotlib inline
import torch
from vaekit import plotting, PI
Path("results") / "a.json", f"b_{i}.png", "e"
```

e.png

```{code-cell} ipython3
import vaekit.widgets; "d.json"
```

```{code-cell} ipython3
this is no Python
```
"""
    source = book / "chapters" / "02_one.md"
    source.write_text(HEADER + "# 2. One\n" + cell)
    used = {path.relative_to(book).as_posix() for path in uses(source, book)}
    unused = {f"vaekit/{n}" for n in ("unused.py", "widgets/other.py", "widgets/other.js")}
    everything = {*files, *data, "requirements.txt"}
    assert used == everything - unused - {"chapters/results/e.png"}
    for name in sorted(used):
        before = digest(source, book)
        content = (book / name).read_bytes()
        (book / name).write_bytes(b'"""Words."""\n' + content + b"\n# more words\n")
        assert (digest(source, book) == before) == name.endswith(".py"), name
        (book / name).write_bytes(content + b"\nx = 1\n")
        assert digest(source, book) != before, name


def test_what_a_cell_prints_is_one_output(book):
    cell = "\n```{code-cell} ipython3\nprint('early')\ndisplay(1)\nprint('late')\n```\n"
    (book / "chapters" / "02_one.md").write_text(HEADER + "# 2. One\n" + cell)
    for text in ("", "\nMore text, and the outputs come from the cache.\n"):
        with (book / "chapters" / "02_one.md").open("a") as file:
            file.write(text)
        assert page_of(book).count(">early\nlate\n<") == 1
        path = book / "_build" / "html" / "_sources" / "chapters" / "02_one.ipynb"
        outputs = nbformat.read(path, as_version=4).cells[-1 - bool(text)].outputs
        assert [output.get("text") for output in outputs] == ["early\nlate\n", None]


def test_a_stream_is_the_same_in_whatever_pieces_it_arrives():
    text = "early\n\n  late\n"
    for cut in range(len(text)):
        pieces = [text[:cut], text[cut:]]
        outputs = [nbformat.v4.new_output("stream", name="stdout", text=t) for t in pieces]
        outputs.insert(1, nbformat.v4.new_output("display_data"))
        first, second = joined(outputs)
        assert (first.text, second.output_type) == (text, "display_data")
        assert outputs[0].text == text[:cut], "the pieces are left as they were"


def test_a_reference_follows_a_number_that_changes_on_another_page(book):
    axiom = ":::{prf:axiom} One\n:label: one\nText.\n:::\n"
    remark = ":::{prf:remark}\n:label: two\nText.\n:::\n"
    (book / "index.md").write_text("# A book\n\nSee {prf:ref}`two`.\n")
    (book / "chapters" / "02_one.md").write_text("# 2. One\n\n" + remark)
    page_of(book)
    index = book / "_build" / "html" / "index.html"
    assert "Remark 2.1" in index.read_text("utf-8")
    (book / "chapters" / "02_one.md").write_text("# 2. A title\n\n" + axiom + remark)
    page_of(book)
    assert "Remark 2.2" in index.read_text("utf-8")
    assert "2. A title" in index.read_text("utf-8")


def test_a_cell_that_fails_stops_the_build_and_is_shown(book):
    (book / "chapters" / "02_one.md").write_text(CHAPTER.replace("time.time_ns()", "1 / 0"))
    run = build(book)
    assert run.exit_code != 0
    assert "ZeroDivisionError" in run.output


@pytest.mark.parametrize("url", ["https://github.com/someone/somewhere", "file:///srv/vaekit.git"])
def test_where_the_project_lives_decides_on_colab_s_button(book, url):
    config = book / "_config.yml"
    old = "https://github.com/your--account/vaekit"
    assert config.read_text("utf-8").count(old) == 1
    config.write_text(config.read_text("utf-8").replace(old, url))
    (book / "chapters" / "02_one.ipynb").write_text("{}")
    html = page_of(book)
    link = (
        "https://colab.research.google.com/github/someone/somewhere/blob/main/chapters/02_one.ipynb"
    )
    assert (link in html) == ("github.com" in url)
    assert "colab" in html or "someone" not in html
    assert '../_sources/chapters/02_one.ipynb"' in html


@pytest.mark.parametrize(
    "url, yes",
    [
        ("https://github.com/a-b/vaekit", True),
        ("https://github.com/a/vae.kit/", True),
        ("https://github.com/your--account/vaekit", False),
        ("https://github.com/-a/vaekit", False),
        ("https://gitlab.com/a/vaekit", False),
        ("", False),
    ],
)
def test_names_that_no_account_can_have_are_not_published(url, yes):
    assert published(url) == yes


def test_numbers_need_labels_and_labels_are_taken_once(book):
    source = book / "chapters" / "02_one.md"
    source.write_text(CHAPTER + "\n:::{prf:remark} Nameless\nText.\n:::\n")
    with pytest.raises(ValueError, match="give the remark “Nameless” a label"):
        number(book)
    twice = ":::{exercise}\n:label: same\nText.\n:::\n"
    source.write_text(CHAPTER + "\n" + twice + "\n" + twice)
    with pytest.raises(ValueError, match=r"label same in chapters/02_one\.md is already taken"):
        number(book)


def test_one_counter_for_statements_and_one_each_for_the_rest(book):
    (book / "chapters" / "02_one.md").write_text(
        CHAPTER
        + """
(sec)=
## A section with $x$

:::{prf:definition} First
:label: d
$$ a $$ (eq-a)
:::

::::{admonition} Inside
:::{prf:lemma}
:label: l
:::
::::

```{prf:remark}
---
label: r
nonumber:
---
```

```{prf:theorem} Last
:label: t
```

$$ b $$

$$ c $$ (eq-c)

:::{exercise-start} Code
:label: e
:::
:::{exercise-end}
:::
:::{solution} e
:label: e-solution
:::

```{code-cell} ipython3
---
mystnb: {figure: {caption: A picture, name: fig-p}}
---
```
"""
    )
    entries = {label: (e.kind, e.number, e.title) for label, e in number(book).items()}
    assert entries == {
        "sec": ("section", "", "A section with $x$"),
        "d": ("definition", "2.1", "First"),
        "eq-a": ("equation", "2.1", ""),
        "l": ("lemma", "2.2", ""),
        "r": ("remark", "", ""),
        "t": ("theorem", "2.3", "Last"),
        "eq-c": ("equation", "2.2", ""),
        "e": ("exercise", "2.1", "Code"),
        "e-solution": ("solution", "2.1", "e"),
        "fig-p": ("figure", "2.1", "A picture"),
    }
