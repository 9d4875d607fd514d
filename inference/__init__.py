"""The objectives, one file a bound, a gradient estimator or a training principle."""

if __name__ != "ppgen.inference":
    raise ImportError(f"expected the import name 'ppgen.inference', got {__name__!r}: use 'import ppgen.inference'.")

from ppgen.inference.analytic_kl import AnalyticKL
from ppgen.inference.beta import Beta
from ppgen.inference.cd import CD
from ppgen.inference.ciwae import CIWAE
from ppgen.inference.dreg import DReG
from ppgen.inference.elbo import ELBO
from ppgen.inference.iwelbo import IWELBO
from ppgen.inference.miwae import MIWAE
from ppgen.inference.parallel_tempering import ParallelTempering
from ppgen.inference.pcd import PCD
from ppgen.inference.piwae import PIWAE
from ppgen.inference.renyi import Renyi
from ppgen.inference.stl import STL
from ppgen.inference.tvo import TVO

__all__ = [
    "CD",
    "CIWAE",
    "ELBO",
    "IWELBO",
    "MIWAE",
    "PCD",
    "PIWAE",
    "STL",
    "TVO",
    "AnalyticKL",
    "Beta",
    "DReG",
    "ParallelTempering",
    "Renyi",
]
