"""MyST Markdown as plain Markdown, for notebooks: Jupyter, Colab and GitHub know no directives.

Blocks are found by the parser that the pages use; the text between them stays as it is written.
What has no plain form here is refused by file, line and name, so that nothing raw slips through.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pybtex.backends.markdown import Backend
from pybtex.database import BibliographyData, parse_file
from pybtex.plugin import find_plugin
from sphinx_proof.proof_type import PROOF_TYPES

from book.myst import Directive, directive, directives, parse
from book.numbering import Entry, chapter_number, docnames, number

# what readers' interfaces know
PLAIN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, double_inline=True)

ADMONITIONS = "attention caution danger error hint important note seealso tip warning".split()
DROPPED = "bibliography contents exercise-end ledger tableofcontents toctree".split()
REFUSED = ("amsmath", "footnote_reference_open")
LITERAL = "literal"
MARK = "\0"  # where a solution with code cells begins or ends

# In the order in which they win: code or role, math, link.
INLINE = re.compile(
    r"(?:\{(?P<role>[\w:.+-]+)\})?(?P<ticks>`+)(?!`)(?P<content>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|(?P<escape>\\.)"
    r"|(?P<math>\$\$.+?\$\$|\$[^$]+\$)(?P<unlabelled>[ ]?\([\w:-]+\)$)?"
    r"|(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)",
    re.DOTALL | re.MULTILINE,
)


@dataclass
class Book:
    """What a chapter may refer to, read from the sources in `root`."""

    root: Path

    def text(self, docname: str) -> str:
        """Return the source of a page."""
        return (self.root / f"{docname}.md").read_text("utf-8")

    @cached_property
    def config(self) -> dict:
        """Content of ``_config.yml``."""
        return yaml.safe_load((self.root / "_config.yml").read_text("utf-8"))

    @cached_property
    def chapters(self) -> list[str]:
        """The pages that have notebooks, in reading order: those with a number in their name."""
        return [docname for docname in docnames(self.root) if chapter_number(docname)]

    @cached_property
    def plain(self) -> set[str]:
        """The pages without notebooks that read well as they are written, having no directives."""
        others = set(docnames(self.root)) - set(self.chapters)
        return {n for n in others if not any(directives(self.text(n)))}

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """By label, everything that has one."""
        return number(self.root)

    @cached_property
    def titles(self) -> dict[str, str]:
        """By page, the text of its first heading."""
        return {
            name: re.search(r"^# +(.+?)\s*$", self.text(name), re.MULTILINE)[1]
            for name in docnames(self.root)
        }

    @cached_property
    def bibliography(self) -> BibliographyData:
        """The works of ``bibtex_bibfiles``."""
        data = BibliographyData()
        for name in self.config.get("bibtex_bibfiles", []):
            data.add_entries(parse_file(self.root / name, "bibtex").entries.items())
        return data


class Unescaped(Backend):
    """pybtex's Markdown without backslashes before brackets, which some readers take for math."""

    def format_str(self, text: str) -> str:
        """Leave `text` as it is but for what Markdown would read as emphasis."""
        text = text.replace("\\url ", "")  # pybtex does not know this command
        return text if text.startswith("http") else re.sub(r"([\\`*_])", r"\\\1", text)


@dataclass
class Translator:
    """Translates one page.

    Attributes
    ----------
    book : Book
        Where numbers, titles and citations come from.
    docname : str
        The page, such as "chapters/03_kl_divergence".
    cited : dict
        Keys of the works cited so far, in order (the values mean nothing).
    solving : str
        Between {solution-start} and {solution-end}, the heading of what is folded away next.
    """

    book: Book
    docname: str
    cited: dict[str, None] = field(default_factory=dict)
    solving: str = ""

    def translate(self, source: str, line: int = 1) -> str:
        """Return `source`, which begins at `line` of the page's file, as plain Markdown.

        Raises
        ------
        ValueError
            Naming file, line and construct, if something has no plain form.
        """
        text = self.fold(self.blocks(source, line), line)
        for problem in raw(text):
            self.refuse(line, f"{problem} would be left raw in the notebook")
        return text

    def fold(self, text: str, line: int) -> str:
        """Fold away what belongs to a solution with code cells, which cannot be inside.

        `MARK` and a heading begin such a solution in `text`, `MARK` alone ends it. Jupyter folds
        all that stands below the heading, up to the next one, and keeps it so when cells are run.
        """
        first, *marked = re.split(f"{MARK}(.*)\n*", text)
        pieces = [first.strip("\n")]
        if self.solving and first.strip():
            pieces = [details(self.solving, *pieces)]
        for heading, piece in zip(marked[::2], marked[1::2], strict=True):
            within, self.solving, piece = self.solving, heading, piece.strip("\n")
            if heading and heading != marked[-2]:  # it ends here, without a cell
                pieces.append(details(heading, piece))
            elif heading:
                pieces += [f"##### {heading}", piece and details(heading, piece)]
                self.solving = f"{heading}, continued"
            elif within.endswith("continued") and not piece.startswith("#"):
                self.refuse(line, "after a solution with code comes a heading or an exercise")
            else:
                pieces.append(piece)
        return "\n\n".join(filter(None, pieces))

    def refuse(self, line: int, what: str) -> None:
        """Stop with the place of what cannot be translated."""
        raise ValueError(f"{self.docname}.md:{line}: {what}")

    # Blocks

    def blocks(self, source: str, line: int) -> str:
        """Translate the block structure of `source`."""
        lines = source.splitlines()
        chunks, done = [], 0
        for token in parse(source):
            if token.type in REFUSED:
                self.refuse(line + token.map[0], f"{token.type} has no plain form here")
            text = self.block(token, line + (token.map or [0])[0])
            if text is None:
                continue
            start, end = token.map
            indent, first = re.match(r"( *)(.*)", lines[start]).groups()
            if token.type in ("fence", "colon_fence"):
                if not re.match(r":::|```|~~~", first):
                    self.refuse(line + start, f"“{first}”: begin it on a line of its own")
                if not re.fullmatch(r" *(:+|`+|~+) *", lines[end - 1]):
                    self.refuse(line + start, f"“{first}” is never closed")
            chunks.append(self.inline("\n".join(lines[done:start]), line + done))
            if text is LITERAL:
                chunks.append("\n".join(lines[start:end]))
            else:
                chunks.append("\n".join((indent + row).rstrip() for row in text.splitlines()))
            done = end
        chunks.append(self.inline("\n".join(lines[done:]), line + done))
        return "\n\n".join(filter(None, (chunk.strip("\n") for chunk in chunks)))

    def block(self, token: Token, line: int) -> str | None:
        """Translate one block; None stands for text with roles and links, LITERAL for code."""
        match token.type:
            case "myst_target" | "myst_line_comment":
                return ""
            case "math_block" | "math_block_label":
                return self.display(token.content, token.info, line)
            case "dl_open":
                self.refuse(line, "a definition list has no plain form here: write a list")
            case "code_block":
                return LITERAL
            case "fence" | "colon_fence":
                if found := directive(token):
                    return self.directive(found, line)
                if token.type == "colon_fence":
                    self.refuse(line, f"“:::{token.info.strip()}” is no directive")
                return LITERAL
        return None

    def directive(self, found: Directive, line: int) -> str:
        """Translate a directive."""
        name, argument, options, body = found.name, found.argument, found.options, found.body
        start = line + found.start
        title = self.inline(argument, line)
        hidden = "dropdown" in str(options.get("class", ""))
        kind = name.removeprefix("prf:")
        if name in DROPPED:
            return ""
        if name == "math":
            return self.display(body, str(options.get("label", "")), line)
        if name == "prf:proof":
            return ended(lead(f"*{title or 'Proof'}.*", self.blocks(body, start)))
        if name.startswith("prf:") and kind in PROOF_TYPES:
            number = self.entry(options.get("label"), line).number
            return quote(lead(head(kind, number, title), self.blocks(body, start)))
        if name in ("exercise", "exercise-start"):
            number = self.entry(options.get("label"), line).number
            name = head("exercise", number, title).strip("*").removesuffix(".")
            return f"#### {name}\n\n{self.blocks(body, start)}"
        if name in ("solution", "solution-start"):
            heading, text = f"Solution to {self.named(argument, line)}", self.blocks(body, start)
            return details(heading, text) if name == "solution" else f"{MARK}{heading}\n\n{text}"
        if name == "solution-end":
            return MARK
        if name == "dropdown" or (name == "admonition" and hidden):
            return details(title, self.blocks(body, start))
        if name == "admonition":
            return quote(f"**{title}**\n\n{self.blocks(body, start)}")
        if name in ADMONITIONS:
            label = "See also" if name == "seealso" else name.capitalize()
            text = self.blocks("\n\n".join(filter(None, [argument, body])), start)
            return details(label, text) if hidden else quote(lead(f"**{label}.**", text))
        if name in ("code", "code-block", "sourcecode"):
            if options.get("caption"):
                self.refuse(line, "a caption of {code-block} has no plain form here")
            return fenced(argument, body)
        if name == "image":
            return f"![{options.get('alt', '')}]({argument})"
        if name == "figure":
            caption = self.caption(str(options.get("name", "")), body.strip(), line)
            return f"![{options.get('alt', '')}]({argument})\n\n{caption}"
        if name in ("table", "list-table"):
            rows = self.rows(options, body, start) if name == "list-table" else None
            text = rows or self.blocks(body, start)
            return f"**{title}**\n\n{text}" if title else text
        self.refuse(line, f"the directive {{{name}}} has no plain form here")

    def display(self, math: str, label: str, line: int) -> str:
        """Return display math with its number."""
        math = math.strip()
        if r"\\" in math and r"\begin{" not in math:  # as Sphinx does on pages
            math = f"\\begin{{aligned}}\n{math}\n\\end{{aligned}}"
        if re.search(r"(?<!\\)%", math):
            self.refuse(line, "a LaTeX comment in a formula is lost when its lines are joined")
        if label:
            math += f"\n\\tag{{{self.entry(label, line).number}}}"
        return f"$$\n{math}\n$$"

    def caption(self, label: str, text: str, line: int) -> str:
        """Return a figure's caption with its number."""
        return lead(f"**{self.named(label, line)}.**", self.inline(text, line))

    def rows(self, options: dict, body: str, line: int) -> str:
        """Return the nested list of a {list-table} as a table."""
        rows: list[list[str]] = []
        for token in parse(body):
            if token.type == "list_item_open" and token.level == 1:
                rows.append([])
            elif token.type == "list_item_open" and token.level == 3:
                rows[-1].append("")
            elif token.type == "inline" and token.level == 5 and rows and rows[-1]:
                text = self.inline(token.content, line + token.map[0]).replace("\n", " ")
                rows[-1][-1] = " ".join(filter(None, [rows[-1][-1], columns(text)]))
            elif token.type not in (
                *("bullet_list_open", "bullet_list_close", "list_item_close"),
                *("paragraph_open", "paragraph_close"),
            ):
                self.refuse(line + (token.map or [0])[0], f"{token.type} in a {{list-table}}")
        if not int(options.get("header-rows", 0)):
            rows.insert(0, [""] * len(rows[0]))
        rows.insert(1, ["---"] * len(rows[0]))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    # Text

    def inline(self, text: str, line: int) -> str:
        """Translate the roles and links of `text`; all else stays."""

        def plain(match: re.Match) -> str:
            here = line + text.count("\n", 0, match.start())
            if match["role"]:
                return self.role(match["role"], match["content"].strip(), here)
            if match["unlabelled"]:
                self.refuse(here, "a labelled formula needs a blank line before it")
            if match["target"] and not match["image"]:
                return self.link(match["text"], match["target"], here)
            return match[0]

        return INLINE.sub(plain, text)

    def role(self, name: str, content: str, line: int) -> str:
        """Translate a role."""
        if name == "math":
            return f"${content}$"
        if name == "abbr":
            return content
        if name in ("cite", "cite:p", "cite:t"):
            return self.cite(name, [key.strip() for key in content.split(",")], line)
        match = re.fullmatch(r"(.*?)\s*<(.+)>", content, re.DOTALL)
        text, target = match.groups() if match else ("", content)
        if name == "term":
            return text or target
        if name == "download":
            return f"[{text or PurePosixPath(target).name}]({target})"
        if name == "doc":
            return self.link(text, target + ".md", line)
        if name == "eq":
            return self.beside(f"({self.entry(target, line).number})", target, line)
        if name in ("ref", "numref", "prf:ref"):
            entry = self.entry(target, line)
            text = re.sub("%s|{number}", entry.number, text).replace("{name}", entry.title)
            return self.beside(text or self.named(target, line), target, line)
        self.refuse(line, f"the role {{{name}}} has no plain form here")

    def link(self, text: str, target: str, line: int) -> str:
        """Translate a Markdown link: to a chapter it becomes one to its notebook."""
        if re.match(r"[a-z]+:", target):
            return f"[{text}]({target})"
        path, _, fragment = target.partition("#")
        if not path:
            if fragment in self.book.entries:
                return self.beside(text or self.named(fragment, line), fragment, line)
            return text
        if not path.endswith(".md"):
            if path in self.book.entries:
                return self.beside(text or self.named(path, line), path, line)
            return f"[{text}]({target})"
        docname = resolve(self.docname, path.removesuffix(".md"))
        if docname not in self.book.titles:
            self.refuse(line, f"there is no page {docname}")
        return self.to(text or self.book.titles[docname], docname)

    def to(self, text: str, docname: str) -> str:
        """Return `text` as a link to another page: to its notebook, or to its text beside it.

        A page that its directives fill, such as the bibliography, has no text to show.
        """
        path = PurePosixPath(docname)
        if docname in self.book.chapters and docname != self.docname:
            return f"[{text}]({path.name}.ipynb)"
        if docname in self.book.plain and path.parent == PurePosixPath(self.docname).parent:
            return f"[{text}]({path.name}.md)"
        return text

    def beside(self, text: str, label: str, line: int) -> str:
        """Return `text` as a reference to what `label` names."""
        return self.to(text, self.entry(label, line).docname)

    def entry(self, label: str | None, line: int) -> Entry:
        """Look up a label."""
        if label not in self.book.entries:
            self.refuse(line, f"nothing has the label “{label or ''}”")
        return self.book.entries[label]

    def named(self, label: str, line: int) -> str:
        """Return the name under which the text refers to a label: "Theorem 3.1"."""
        entry = self.entry(label, line)
        match entry.kind:
            case "section":
                return entry.title
            case "equation":
                return f"({entry.number})"
            case "figure":
                return f"Fig. {entry.number}"
            case "solution":
                return f"Solution to Exercise {entry.number}"
        return f"{entry.kind.capitalize()} {entry.number}".strip()

    def cite(self, role: str, keys: list[str], line: int) -> str:
        """Return a citation by author and year."""
        parts = []
        for key in keys:
            if key not in self.book.bibliography.entries:
                self.refuse(line, f"the bibliography has no “{key}”")
            self.cited[key] = None
            work = self.book.bibliography.entries[key]
            year = work.fields["year"]
            names = authors(work)
            parts.append(f"{names} [{year}]" if role == "cite:t" else f"{names}, {year}")
        text = ", ".join(parts)
        return text if role == "cite:t" else f"[{text}]"

    def references(self) -> str:
        """Return the list of the works cited so far, "" if there are none."""
        if not self.cited:
            return ""
        style = find_plugin("pybtex.style.formatting", "plain")()
        works = style.format_bibliography(self.book.bibliography, list(self.cited))
        return "## References\n\n" + "\n".join(
            "- " + " ".join(work.text.render(Unescaped()).split()) for work in works
        )


def authors(work) -> str:
    """Last names of a work's authors, as its page shows them."""
    names = [
        " ".join(map(str, [*person.rich_prelast_names, *person.rich_last_names]))
        for person in work.persons.get("author") or work.persons["editor"]
    ]
    return " and ".join(names) if len(names) < 3 else f"{names[0]} *et al.*"


def resolve(docname: str, target: str) -> str:
    """Resolve the name of a page as it is written on the page `docname`."""
    if target.startswith("/"):
        return target[1:]
    parts: list[str] = []
    for part in [*PurePosixPath(docname).parent.parts, *PurePosixPath(target).parts]:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


# Layout


def head(kind: str, number: str, title: str) -> str:
    """Return "**Theorem 3.1 (title).**"."""
    name = f"{kind.capitalize()} {number}".strip()
    return f"**{name} ({title}).**" if title else f"**{name}.**"


def lead(start: str, text: str) -> str:
    """Put `start` before the first paragraph, or on a line of its own if there is none."""
    tokens = PLAIN.parse(text)
    gap = " " if tokens and tokens[0].type == "paragraph_open" else "\n\n"
    return f"{start}{gap}{text}"


def ended(text: str) -> str:
    """Put ∎ after the last words or formula, on a line of its own where neither ends the text."""
    if text.endswith("\n$$") and not re.search(r"\\end\{(align|gather)", text[-20:]):
        return text.removesuffix("\n$$") + " \\qquad \\blacksquare\n$$"
    tokens = PLAIN.parse(text)
    words = max((i for i, token in enumerate(tokens) if token.type == "inline"), default=0)
    to_the_end = tokens[words].map == [tokens[words].map[0], len(text.splitlines())]
    inside = tokens[words - 1].type == "paragraph_open" and tokens[-1].type != "blockquote_close"
    return f"{text} ∎" if to_the_end and inside else f"{text}\n\n∎"


def quote(text: str) -> str:
    """Set `text` off as a quotation.

    Each formula goes on one line, since Jupyter takes a formula's lines with the ">" in them
    (jupyterlab/jupyterlab#16755).
    """
    text = INLINE.sub(lambda match: " ".join(match[0].split()) if match["math"] else match[0], text)
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def details(summary: str, text: str) -> str:
    """Fold `text` away; the blank lines let Markdown go on inside."""
    return f"<details>\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def fenced(language: str, code: str) -> str:
    """Return a code block."""
    ticks = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", code) or [""]))
    return f"{ticks}{language}\n{code.rstrip()}\n{ticks}"


def columns(text: str) -> str:
    """Keep bars in a table's cell from ending it."""

    def named(match: re.Match) -> str:
        bars = match[0].replace(r"\|", r"\Vert ").replace("|", r"\vert ")
        return bars if match["math"] else match[0]

    return re.sub(r"(?<!\\)\|", r"\|", INLINE.sub(named, text))


def raw(text: str) -> Iterator[str]:
    """Yield what of MyST, or of an unclosed formula, is left in plain Markdown."""
    for token in PLAIN.parse(text.replace(r"\$", "")):
        if token.type == "fence" and token.info.strip().startswith("{"):
            yield f"the fence {token.info}"
        for child, following in pairwise([*(token.children or []), None]):
            chapter = r"^#|\.md#|(^|/)\d+_[^/]*\.md$"
            if child.type == "link_open" and re.search(chapter, child.attrs["href"]):
                yield f"the link {child.attrs['href']}"
            if child.type != "text":
                continue
            if following and following.type == "code_inline":
                if role := re.search(r"\{[\w:.+-]+\}$", child.content):
                    yield f"the role {role[0]}"
            if mark := re.search(r"^:::|\{\{|\$|^\(\S+\)=$|<project:", child.content):
                yield f"“{mark[0]}” in “{child.content}”"
