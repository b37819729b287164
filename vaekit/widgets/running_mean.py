"""The widget of chapter 1: the mean of n draws, its error bar, and those of a hundred players."""

import traitlets

from vaekit.widgets.base import Widget, script

SOURCES = ("waiting", "lottery", "pareto", "cauchy")


class RunningMean(Widget):
    """A running mean with its band of 1.96 standard errors, and the intervals of 100 players.

    The draws, their means and standard errors are computed in `running_mean.js`, so the widget
    answers without a kernel. How often such an interval covers is the subject of chapter 1, claim
    `mc-standard-error`.

    Parameters
    ----------
    source : {"waiting", "lottery", "pareto", "cauchy"}
        What is drawn: exponential waiting times (mean 1), tickets of chapter 1's lottery (mean
        110), Pareto with exponent 1.5 (mean 3, infinite variance), or Cauchy (no mean; covering
        is counted for 0, its centre). Default "waiting".
    n : int
        Number of draws, within `n_limits`. Default 100.
    seed : int
        Which of the players the upper picture shows, from 1 to `players`. Default 1.

    Raises
    ------
    traitlets.TraitError
        If n or seed is no integer within its limits, or source names none. The widget keeps its
        last good value.

    Examples
    --------
    >>> RunningMean(source="lottery", n=1000)
    Running means: open the book's page, or run this cell in Jupyter or Colab, to change n.
    """

    _esm = script("running_mean.js")
    plain_text = (
        "Running means: open the book's page, or run this cell in Jupyter or Colab, to change n."
    )

    source = traitlets.Enum(SOURCES, "waiting").tag(sync=True)
    n = traitlets.Int(100).tag(sync=True)
    seed = traitlets.Int(1).tag(sync=True)

    # What fits the picture. The .js reads these too, so there is one place to change them.
    n_limits = traitlets.Tuple((10, 10_000), read_only=True).tag(sync=True)
    players = traitlets.Int(100, read_only=True).tag(sync=True)

    @traitlets.validate("n", "seed")
    def _within_limits(self, proposal: traitlets.Bunch) -> int:
        name, value = proposal.trait.name, proposal.value
        low, high = self.n_limits if name == "n" else (1, self.players)
        if isinstance(value, bool) or not low <= value <= high:
            raise traitlets.TraitError(f"{name} must lie between {low} and {high}, not {value}")
        return value
