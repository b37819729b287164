"""Figures that belong to the page: pictures in SVG become part of it.

A picture behind `<img>` knows nothing of the page: not its font, not whether it is dark. So its
SVG goes into the page itself. Its paper is taken away, its black becomes the colour of the text,
the palette of `vaekit.plotting` becomes variables of the style sheet, and its text is set in the
page's font. Images inside it, such as digits, stay as they are.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from sphinx.application import Sphinx

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "var(--vk-paper, #ffffff)",
    "#0072b2": "var(--vk-blue, #0072b2)",
    "#d55e00": "var(--vk-orange, #d55e00)",
    "#009e73": "var(--vk-green, #009e73)",
    "#cc79a7": "var(--vk-purple, #cc79a7)",
    "#56b4e9": "var(--vk-sky, #56b4e9)",
    "#e69f00": "var(--vk-yellow, #e69f00)",
    "#808080": "var(--vk-grey, #808080)",
}


def inline_figures(app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Put every picture in SVG of a page into the page."""
    if app.builder.format != "html":
        return
    for number, image in enumerate(list(doctree.findall(nodes.image))):
        path = Path(app.srcdir) / image["uri"].lstrip("/")
        if path.suffix == ".svg" and path.exists():
            text = path.read_text("utf-8")
            html = belonging(text, f"vk-figure-{number}-", image.get("alt", ""))
            image.replace_self(nodes.raw("", html, format="html"))


def belonging(svg: str, prefix: str, alt: str) -> str:
    """Return the picture `svg` as part of a page: ids begin with `prefix`, `alt` is its name."""
    root = ElementTree.fromstring(svg)
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in list(root.iter()):
        if element.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style") or paper(element, parents):
            parents[element].remove(element)
    text = ElementTree.tostring(root, "unicode")
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    for element in root.iter():
        if (name := element.attrib.pop("id", None)) in used:
            element.set("id", prefix + name)
        for key, value in element.attrib.items():
            value = re.sub(r"url\(#", f"url(#{prefix}", value)
            if key == f"{{{XLINK}}}href" and value.startswith("#"):
                value = f"#{prefix}{value[1:]}"
            if key in ("style", "fill", "stroke"):
                for colour, meant in COLOURS.items():
                    value = value.replace(colour, meant)
            element.set(key, written(value) if key == "style" else value)
    width = float(root.attrib["viewBox"].split()[2])
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    # 96 pixels of the page to the inch, where the picture counts 72 points
    style = f"width: {width * 4 / 3:.0f}px; --vk-figure-width: {width * 4 / 3:.0f}"
    root.attrib |= {"class": "vk-figure", "role": "img", "aria-label": alt, "style": style}
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, "unicode")


def paper(element: ElementTree.Element, parents: dict) -> bool:
    """Whether `element` is the white ground that matplotlib lays under a figure or its axes."""
    parent = parents.get(element)
    of = "" if parent is None else parent.get("id", "")
    return (
        bool(re.match(r"(figure|axes)_\d+$", of))
        and element.get("id", "").startswith("patch_")
        and parent.find(f"{{{SVG}}}g[@id]") is element
        and "#ffffff" in ElementTree.tostring(element, "unicode")
    )


def written(style: str) -> str:
    """Return a style whose text has the page's family, and a size that the page can enlarge.

    Matplotlib writes a `font`, or its parts one by one.
    """
    style = re.sub(r"\bfont: *([^;]*)", font, style)
    style = re.sub(r"font-family:[^;]*;? *", "", style)
    size = r"font-size: calc(\1px * var(--vk-figure-text, 1))"
    return re.sub(r"font-size: *([\d.]+)px", size, style)


def font(match: re.Match) -> str:
    """Return the size and the style of a `font`."""
    manner, size = re.match(r"(.*?)([\d.]+)px", match[1]).groups()
    rules = [f"font-size: {size}px"]
    for word in manner.split():
        rules.append(f"font-{'style' if word in ('italic', 'oblique') else 'weight'}: {word}")
    return "; ".join(rules)
