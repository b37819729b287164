"""How the figures of the course look."""

from __future__ import annotations

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
    font; images, and `cloud`s of many points, are stored in 192 pixels per inch.
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

        set_matplotlib_formats("svg", dpi=192)


def cloud(axes: Axes, points: Tensor, *, size: float = 2, **style) -> None:
    """Draw points of a plane as dots, with equal scales and the axes named x₁ and x₂.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    points : Tensor
        Shape (n, 2), on any device.
    size : float
        Diameter of a dot, in points.
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
