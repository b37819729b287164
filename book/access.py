"""Mends roles that the writer of the pages gives and that readers' software no longer knows."""

from sphinx.application import Sphinx


def current_roles(_app: Sphinx, _name: str, _template: str, context: dict, _doctree) -> None:
    """Make the entries of a bibliography items of their list: docutils' role is deprecated."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')
