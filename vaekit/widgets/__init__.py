"""Widgets that live in Jupyter, in Colab and, with neither kernel nor network, in the built page.

One widget is one `.py` beside one `.js`. Python hands over data; whatever answers a drag is
written in the `.js`, and the tests of each widget hold its formulas to the Python ones.
"""

from vaekit.widgets.bayes import BayesWidget
from vaekit.widgets.elbo import ElboWidget
from vaekit.widgets.em import EMWidget
from vaekit.widgets.formula import TypeFormula
from vaekit.widgets.gaussian_area import GaussianArea
from vaekit.widgets.gradient import GradientWidget
from vaekit.widgets.kl import KLWidget
from vaekit.widgets.latent_plane import LatentPlane
from vaekit.widgets.running_mean import RunningMean
from vaekit.widgets.two_fits import TwoFits

__all__ = [
    "BayesWidget",
    "EMWidget",
    "ElboWidget",
    "GaussianArea",
    "GradientWidget",
    "KLWidget",
    "LatentPlane",
    "RunningMean",
    "TwoFits",
    "TypeFormula",
]
