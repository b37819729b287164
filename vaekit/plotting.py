"""How the figures of the course look."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import matplotlib as mpl
import torch
from cycler import cycler
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

# Okabe & Ito's palette: told apart by colour-blind eyes, and read on white and on black.
BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
)

# From nothing to full blue: for filled contours, which lie on the page as it is, light or dark.
SHADE = LinearSegmentedColormap.from_list("shade", [BLUE + "00", BLUE + "ff"])

MANY = 500  # points; so many are stored as one image instead of one by one


def use_style() -> None:
    """Set matplotlib's defaults for every figure that follows, and draw them as SVG in a notebook.

    Called once at the top of a chapter. It changes ``matplotlib.rcParams`` and the format of
    pictures in the notebook that calls it. Text stays text, so that a page can set it in its own
    font; images, and `cloud`s of many points, are stored in 192 pixels per inch. A PNG goes with
    each, since Jupyter shows no SVG of a notebook that its reader did not run.
    """
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW]),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "figure.figsize": (6.4, 3.2),
            "font.size": 11,
            "image.cmap": "gray",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "svg.fonttype": "none",
            "svg.hashsalt": "vaekit",  # the same names inside the file at every run
        }
    )
    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", "retina", dpi=192)


def cloud(axes: Axes, points: Tensor, *, size: float = 2, **style) -> None:
    """Draw points of a plane as dots, with equal scales and the axes named x₁ and x₂.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    points : Tensor
        Shape (n, 2), on any device.
    size : float
        Size of a dot's marker, in points: the dot is half as wide.
    **style
        Passed on to ``axes.plot``, for example ``color`` or ``label``.
    """
    x1, x2 = points.detach().cpu().T
    many = len(points) > MANY
    axes.plot(x1, x2, ".", ms=size, mew=0, **{"rasterized": many} | style)
    axes.set(aspect="equal", xlabel="x₁", ylabel="x₂")


# A colour for each of ten classes, in figures and widgets alike; told apart on white and on black.
# They never stand alone: a point of a class is drawn as its numeral.
CLASS_COLORS = [
    "#2b83c6",
    "#d55e00",
    "#009e73",
    "#c4679d",
    "#a98600",
    "#8a6fd1",
    "#2f9aaa",
    "#a0705a",
    "#7f8790",
    "#d0474f",
]


def tiles(images: Tensor, *, side: int | None = None, gap: int = 1) -> Tensor:
    """Lay square images out in rows and columns, as one picture for ``axes.imshow``.

    Parameters
    ----------
    images : Tensor
        Shape (rows, columns, side²), row by row of pixels, on any device.
    side : int
        Pixels along an edge; without it, the square root of the last dimension.
    gap : int
        Pixels between neighbours. They are NaN, which matplotlib leaves transparent.

    Returns
    -------
    Tensor
        Shape (rows · (side + gap) − gap, columns · (side + gap) − gap), detached, on the CPU.

    Raises
    ------
    ValueError
        If the last dimension is not side².
    """
    rows, columns, pixels = images.shape
    side = isqrt(pixels) if side is None else side
    if side**2 != pixels:
        raise ValueError(f"images of {pixels} pixels are not squares of side {side}")
    step = side + gap
    framed = torch.full((rows, step, columns, step), torch.nan, dtype=images.dtype)
    squares = images.detach().cpu().view(rows, columns, side, side)
    framed[:, :side, :, :side] = squares.transpose(1, 2)
    return framed.view(rows * step, columns * step)[: rows * step - gap, : columns * step - gap]


@dataclass(frozen=True)
class Drawing:
    """An inline SVG that notebooks and pages show.

    Attributes
    ----------
    svg : str
        The drawing; it says in a label of its own what it shows.
    name : str
        What stands in its place in a terminal, and in a notebook that its reader did not run.
    """

    svg: str
    name: str

    def _repr_html_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.name


def vae_diagram() -> Drawing:
    """Return the picture of a VAE, where both terms of its loss arise, as inline SVG.

    Lines and letters take the colour of the text around them, so it reads in light and in dark.
    """
    blue, orange = f"stroke: {SKY}; stroke-width: 2.5", f"stroke: {ORANGE}; stroke-width: 2.5"
    line = "stroke: currentColor; stroke-width: 1.5"

    def ball(x: int, y: int, r: int, name: str, style: str = line) -> str:
        return f'<circle cx="{x}" cy="{y}" r="{r}" fill="none" style="{style}"/>' + word(
            x, y + 6, f"<tspan font-style='italic'>{name}</tspan>", 19
        )

    def word(x: int, y: int, text: str, size: int = 16) -> str:
        return (
            f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="middle" '
            f'fill="currentColor">{text}</text>'
        )

    def path(d: str, style: str = line, dash: str = "") -> str:
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<path d="{d}" fill="none" style="{style}"{dashes}/>'

    def arrow(x1: int, y1: int, x2: int, y2: int) -> str:
        across, down = x2 - x1, y2 - y1
        length = (across**2 + down**2) ** 0.5
        a, b = 7 * across / length, 7 * down / length
        head = f"M{x2 - a - b / 2:.1f} {y2 - b + a / 2:.1f}L{x2} {y2}"
        return path(f"M{x1} {y1}L{x2} {y2}{head}L{x2 - a + b / 2:.1f} {y2 - b - a / 2:.1f}")

    parts = [
        ball(28, 130, 20, "x", blue),
        arrow(50, 130, 74, 130),
        path("M78 82L160 108V152L78 178Z"),
        word(119, 136, "encoder", 17),
        arrow(164, 122, 196, 108),
        arrow(164, 138, 196, 152),
        ball(218, 100, 20, "μ", orange),
        ball(218, 160, 20, "σ", orange),
        arrow(240, 106, 282, 124),
        arrow(240, 154, 282, 136),
        ball(306, 130, 22, "z"),
        word(306, 98, "z = μ + σε"),
        arrow(306, 186, 306, 156),
        ball(306, 206, 18, "ε", "stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 4 3"),
        word(374, 212, "ε ~ N(0, I)"),
        arrow(330, 130, 358, 130),
        path("M362 108L444 82V178L362 152Z"),
        word(403, 136, "decoder", 17),
        arrow(448, 130, 474, 130),
        ball(500, 130, 24, "f(z)", blue),
        path("M218 76V50", orange, "5 4"),
        word(218, 20, "KL term: how far is N(μ, σ²)"),
        word(218, 40, "from the prior N(0, I)?"),
        path("M28 154V250H500V158", blue, "5 4"),
        word(264, 276, "reconstruction term: how far is f(z) from x?"),
    ]
    said = (
        "Diagram. The encoder turns x into μ and σ. With noise ε they give the code z = μ + σε, "
        "which the decoder turns into f(z). The KL term arises at μ and σ, the reconstruction "
        "term between x and f(z)."
    )
    return Drawing(
        f'<svg role="img" aria-label="{said}" viewBox="0 0 540 290" width="600" '
        'style="max-width: 100%; height: auto" font-family="sans-serif">'
        + "".join(parts)
        + "</svg>",
        f"{said} Run this cell to see it.",
    )
