"""Proofs on the pages."""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class Proof(SphinxDirective):
    """A proof as text instead of a box, since sphinx-proof's has no title and its ids repeat."""

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Parse the text and put the title, if one is given in place of "Proof", before it."""
        proof = nodes.container(classes=["vk-proof"])
        self.state.nested_parse(self.content, self.content_offset, proof)
        title, _ = self.state.inline_text((self.arguments or ["Proof"])[0] + ".", self.lineno)
        if not isinstance(proof[0], nodes.paragraph):
            proof.insert(0, nodes.paragraph())
        proof[0].insert(0, [nodes.emphasis("", "", *title), nodes.Text(" ")])
        return [proof]
