"""How the figures of the course look."""

from __future__ import annotations

import matplotlib as mpl
from cycler import cycler

# Okabe & Ito's palette: told apart by colour-blind eyes, and read on white and on black.
BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
)


def use_style() -> None:
    """Set matplotlib's defaults for every figure that follows.

    Called once at the top of a chapter. It changes ``matplotlib.rcParams`` and nothing else.
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
            "font.size": 10,
            "image.cmap": "gray",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )
