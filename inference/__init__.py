"""The objectives, one file a bound, a gradient estimator or a training principle."""

if __name__ != "ppgen.inference":
    raise ImportError(f"expected the import name 'ppgen.inference', got {__name__!r}: use 'import ppgen.inference'.")

from ppgen.inference.analytic_kl import AnalyticKL
from ppgen.inference.arm import ARM
from ppgen.inference.beta import Beta
from ppgen.inference.cd import CD
from ppgen.inference.ciwae import CIWAE
from ppgen.inference.disarm import DisARM
from ppgen.inference.dragan import DRAGAN
from ppgen.inference.dreg import DReG
from ppgen.inference.elbo import ELBO
from ppgen.inference.enumerate import Enumerate
from ppgen.inference.gumbel_softmax import GumbelSoftmax
from ppgen.inference.iwelbo import IWELBO
from ppgen.inference.least_squares import LeastSquares
from ppgen.inference.mcem import MCEM
from ppgen.inference.minimax import Minimax
from ppgen.inference.miwae import MIWAE
from ppgen.inference.mmd import MMD
from ppgen.inference.muprop import MuProp
from ppgen.inference.nonsaturating import NonSaturating
from ppgen.inference.nvil import NVIL
from ppgen.inference.parallel_tempering import ParallelTempering
from ppgen.inference.pcd import PCD
from ppgen.inference.piwae import PIWAE
from ppgen.inference.rebar import REBAR
from ppgen.inference.reinforce import REINFORCE
from ppgen.inference.relax import RELAX
from ppgen.inference.renyi import Renyi
from ppgen.inference.rws import RWS
from ppgen.inference.stl import STL
from ppgen.inference.straight_through import StraightThrough
from ppgen.inference.tvo import TVO
from ppgen.inference.vimco import VIMCO
from ppgen.inference.wake_sleep import WakeSleep
from ppgen.inference.wasserstein import Wasserstein
from ppgen.inference.wasserstein_gp import WassersteinGP

__all__ = [
    "ARM",
    "CD",
    "CIWAE",
    "DRAGAN",
    "ELBO",
    "IWELBO",
    "MCEM",
    "MIWAE",
    "MMD",
    "NVIL",
    "PCD",
    "PIWAE",
    "REBAR",
    "REINFORCE",
    "RELAX",
    "RWS",
    "STL",
    "TVO",
    "VIMCO",
    "AnalyticKL",
    "Beta",
    "DReG",
    "DisARM",
    "Enumerate",
    "GumbelSoftmax",
    "LeastSquares",
    "Minimax",
    "MuProp",
    "NonSaturating",
    "ParallelTempering",
    "Renyi",
    "StraightThrough",
    "WakeSleep",
    "Wasserstein",
    "WassersteinGP",
]
