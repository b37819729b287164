"""What every widget is made of: the shared scripts, its own script, one style sheet."""

from pathlib import Path

import anywidget

_HERE = Path(__file__).parent


def script(name: str) -> str:
    """Join the shared scripts and a widget's own `.js` into the one ES module that a page loads.

    Parameters
    ----------
    name : str
        The file beside this one. It uses what the shared scripts export as if it stood in it.
    """
    files = ("drawing.js", "gaussian.js", name)
    parts = ((_HERE / file).read_text(encoding="utf-8") for file in files)
    return "\n".join(parts)


class Widget(anywidget.AnyWidget):
    """A widget of the course: `_esm = script("….js")`, and one sentence in place of the picture.

    Attributes
    ----------
    plain_text : str
        What GitHub, a terminal and a notebook without its kernel show instead of the widget.
    """

    _css = _HERE / "widgets.css"
    plain_text: str

    def __repr__(self) -> str:
        """Say where the widget comes alive."""
        return self.plain_text
