"""The one parser of the chapters' MyST, for whatever reads the sources.

Numbers, notebooks, the press and the tests ask this module what stands in a text, so that none of
them sees a theorem, a formula or a cell that the others do not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import yaml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

PARSER = create_md_parser(
    MdParserConfig(
        # those of _config.yml, and amsmath so that notebooks can refuse it
        enable_extensions={"amsmath", "colon_fence", "deflist", "dollarmath"},
    ),
    RendererHTML,
)


@dataclass(frozen=True)
class Directive:
    """A directive as it is written.

    Attributes
    ----------
    name : str
        Such as "prf:theorem" or "code-cell".
    argument : str
        What follows the name on its line.
    options : dict
        In either spelling of MyST.
    body : str
        The rest of the content.
    start : int
        On which line after that of the name the body begins.
    """

    name: str
    argument: str
    options: dict
    body: str
    start: int


@cache
def parse(text: str) -> tuple[Token, ...]:
    """Return the tokens of a text; directives are fences whose content is not parsed."""
    return tuple(PARSER.parse(text))


def directive(token: Token) -> Directive | None:
    """Return the directive that a token stands for, None if it is none."""
    if token.type not in ("fence", "colon_fence"):
        return None
    match = re.fullmatch(r"\{([^}]*)\}\s*(.*)", token.info.strip())
    if not match:
        return None  # a plain code block
    options, body = split_options(token.content)
    start = 1 + token.content.count("\n") - body.count("\n")
    return Directive(*match.groups(), options, body, start)


def directives(text: str, *names: str) -> Iterator[Directive]:
    """Yield the directives of these names in a text, or all, inside of others too, in its order."""
    for found in filter(None, map(directive, parse(text))):
        if not names or found.name in names:
            yield found
        if found.name != "code-cell":
            yield from directives(found.body, *names)


def split_options(content: str) -> tuple[dict, str]:
    """Split a directive's content into its options, in either spelling of MyST, and its body."""
    if match := re.match(r"---\n(.*?\n)---(?:\n|$)", content, re.DOTALL):
        return yaml.safe_load(match[1]) or {}, content[match.end() :]
    match = re.match(r"(?::[\w-]+:.*\n?)*", content)
    pairs = re.findall(r"^:([\w-]+):(.*)$", match[0], re.MULTILINE)
    return {key: yaml.safe_load(value) for key, value in pairs}, content[match.end() :]
