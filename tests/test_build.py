"""What the press does while it builds, on a small book."""

import shutil
from pathlib import Path

import pytest

from book import published
from book.numbering import number
from conftest import build

ROOT = Path(__file__).parent.parent
CHAPTER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
# 2. One

```{code-cell} ipython3
import vaekit, time
print("the answer is", vaekit.ANSWER)
```
"""


@pytest.fixture
def book(tmp_path):
    """Write a book of one chapter that has a vaekit of its own."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=ignore)
    for name in ("_config.yml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("chapters", "vaekit"):
        (tmp_path / name).mkdir()
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n  - file: chapters/02_one\n"
    )
    (tmp_path / "index.md").write_text("# A book\n")
    (tmp_path / "chapters" / "02_one.md").write_text(CHAPTER)
    (tmp_path / "chapters" / "references.bib").touch()
    (tmp_path / "vaekit" / "__init__.py").write_text("ANSWER = 41\n")
    return tmp_path


def page_of(root):
    run = build(root)
    assert run.returncode == 0, run.stdout
    return (root / "_build" / "html" / "chapters" / "02_one.html").read_text("utf-8")


def test_chapters_run_again_when_vaekit_changes_and_only_then(book):
    assert "the answer is 41" in page_of(book)
    executed = book / "_build" / "jupyter_execute" / "chapters" / "02_one.ipynb"
    before = executed.stat().st_mtime_ns
    page_of(book)
    assert executed.stat().st_mtime_ns == before

    (book / "chapters" / "02_one.md").write_text(CHAPTER + "\nMore text.\n")
    assert "More text." in page_of(book)
    assert "the answer is 41" in executed.read_text("utf-8"), "kept from the cache"

    (book / "vaekit" / "__init__.py").write_text("ANSWER = 42\n")
    assert "the answer is 42" in page_of(book)
    assert len(list((book / "_build" / ".jupyter_cache").iterdir())) == 1


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
    (book / "chapters" / "02_one.md").write_text(CHAPTER.replace("vaekit.ANSWER", "1 / 0"))
    run = build(book)
    assert run.returncode != 0
    assert "ZeroDivisionError" in run.stdout


@pytest.mark.parametrize("url", ["https://github.com/someone/somewhere", "file:///srv/vaekit.git"])
def test_where_the_project_lives_decides_on_colab_s_button(book, url):
    config = book / "_config.yml"
    old = "https://github.com/your--account/vaekit"
    assert config.read_text("utf-8").count(old) == 1
    config.write_text(config.read_text("utf-8").replace(old, url))
    (book / "chapters" / "02_one.ipynb").write_text("{}")
    page = page_of(book)
    link = (
        "https://colab.research.google.com/github/someone/somewhere/blob/main/chapters/02_one.ipynb"
    )
    assert (link in page) == ("github.com" in url)
    assert "colab" in page or "someone" not in page
    assert '../_sources/chapters/02_one.ipynb"' in page
    assert (book / "_build" / "html" / "_sources" / "chapters" / "02_one.ipynb").read_text() == "{}"


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
