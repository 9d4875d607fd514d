"""The objectives, one file a bound, a gradient estimator or a training principle."""

if __name__ != "ppgen.inference":
    raise ImportError(f"expected the import name 'ppgen.inference', got {__name__!r}: use 'import ppgen.inference'.")

from ppgen.inference.adversarial.ali import ALI
from ppgen.inference.adversarial.avb import AVB
from ppgen.inference.adversarial.began import BEGAN
from ppgen.inference.adversarial.cycle import Cycle
from ppgen.inference.adversarial.dragan import DRAGAN
from ppgen.inference.adversarial.f_gan import FGAN
from ppgen.inference.adversarial.hinge import Hinge
from ppgen.inference.adversarial.infogan import InfoGAN
from ppgen.inference.adversarial.least_squares import LeastSquares
from ppgen.inference.adversarial.level_by_level import LevelByLevel
from ppgen.inference.adversarial.minimax import Minimax
from ppgen.inference.adversarial.nonsaturating import NonSaturating
from ppgen.inference.adversarial.paired import Paired
from ppgen.inference.adversarial.vae_gan import VAEGAN
from ppgen.inference.adversarial.wasserstein import Wasserstein
from ppgen.inference.adversarial.wasserstein_gp import WassersteinGP
from ppgen.inference.bounds.analytic_kl import AnalyticKL
from ppgen.inference.bounds.auto import Auto
from ppgen.inference.bounds.beta import Beta
from ppgen.inference.bounds.ciwae import CIWAE
from ppgen.inference.bounds.cubo import CUBO
from ppgen.inference.bounds.elbo import ELBO
from ppgen.inference.bounds.f_divergence import FDivergence
from ppgen.inference.bounds.iwelbo import IWELBO
from ppgen.inference.bounds.jvi import JVI
from ppgen.inference.bounds.miwae import MIWAE
from ppgen.inference.bounds.piwae import PIWAE
from ppgen.inference.bounds.renyi import Renyi
from ppgen.inference.bounds.sivi import SIVI
from ppgen.inference.bounds.sumo import SUMO
from ppgen.inference.bounds.tvo import TVO
from ppgen.inference.bounds.vr_max import VRMax
from ppgen.inference.chains.dais import DAIS
from ppgen.inference.chains.hamiltonian_elbo import HamiltonianELBO
from ppgen.inference.chains.langevin_vae import LangevinVAE
from ppgen.inference.discrepancies.energy_distance import EnergyDistance
from ppgen.inference.discrepancies.mmd import MMD
from ppgen.inference.discrepancies.reconstruction import Reconstruction
from ppgen.inference.discrete.arm import ARM
from ppgen.inference.discrete.disarm import DisARM
from ppgen.inference.discrete.disarm_tree import DisARMTree
from ppgen.inference.discrete.double_cv import DoubleCV
from ppgen.inference.discrete.enumerate import Enumerate
from ppgen.inference.discrete.gapped_straight_through import GappedStraightThrough
from ppgen.inference.discrete.gumbel_rao import GumbelRao
from ppgen.inference.discrete.gumbel_softmax import GumbelSoftmax
from ppgen.inference.discrete.local_expectation import LocalExpectation
from ppgen.inference.discrete.muprop import MuProp
from ppgen.inference.discrete.nvil import NVIL
from ppgen.inference.discrete.ovis import OVIS
from ppgen.inference.discrete.rebar import REBAR
from ppgen.inference.discrete.reinforce import REINFORCE
from ppgen.inference.discrete.reinmax import ReinMax
from ppgen.inference.discrete.reinmax_cv import ReinMaxCV
from ppgen.inference.discrete.reinmax_rao import ReinMaxRao
from ppgen.inference.discrete.relax import RELAX
from ppgen.inference.discrete.rodeo import RODEO
from ppgen.inference.discrete.straight_through import StraightThrough
from ppgen.inference.discrete.unordered_set import UnorderedSet
from ppgen.inference.discrete.vimco import VIMCO
from ppgen.inference.em.cavi import CAVI
from ppgen.inference.em.em import EM
from ppgen.inference.em.gem import GEM
from ppgen.inference.em.map import MAP
from ppgen.inference.em.mcem import MCEM
from ppgen.inference.energy.cd import CD
from ppgen.inference.energy.denoising_score_matching import DenoisingScoreMatching
from ppgen.inference.energy.greedy import Greedy
from ppgen.inference.energy.hebb import Hebb
from ppgen.inference.energy.hybrid import Hybrid
from ppgen.inference.energy.mean_field_pcd import MeanFieldPCD
from ppgen.inference.energy.nce import NCE
from ppgen.inference.energy.parallel_tempering import ParallelTempering
from ppgen.inference.energy.pcd import PCD
from ppgen.inference.energy.pseudo_inverse import PseudoInverse
from ppgen.inference.energy.pseudolikelihood import Pseudolikelihood
from ppgen.inference.energy.ratio_matching import RatioMatching
from ppgen.inference.energy.score_matching import ScoreMatching
from ppgen.inference.energy.tempered_transitions import TemperedTransitions
from ppgen.inference.pathwise.dreg import DReG
from ppgen.inference.pathwise.gdreg import GDReG
from ppgen.inference.pathwise.stl import STL
from ppgen.inference.sampling.gibbs import Gibbs
from ppgen.inference.wake_sleep.markovian_score_climbing import MarkovianScoreClimbing
from ppgen.inference.wake_sleep.rws import RWS
from ppgen.inference.wake_sleep.up_down import UpDown
from ppgen.inference.wake_sleep.wake_sleep import WakeSleep

__all__ = [
    "ALI",
    "ARM",
    "AVB",
    "BEGAN",
    "CAVI",
    "CD",
    "CIWAE",
    "CUBO",
    "DAIS",
    "DRAGAN",
    "ELBO",
    "EM",
    "FGAN",
    "GEM",
    "IWELBO",
    "JVI",
    "MAP",
    "MCEM",
    "MIWAE",
    "MMD",
    "NCE",
    "NVIL",
    "OVIS",
    "PCD",
    "PIWAE",
    "REBAR",
    "REINFORCE",
    "RELAX",
    "RODEO",
    "RWS",
    "SIVI",
    "STL",
    "SUMO",
    "TVO",
    "VAEGAN",
    "VIMCO",
    "AnalyticKL",
    "Auto",
    "Beta",
    "Cycle",
    "DReG",
    "DenoisingScoreMatching",
    "DisARM",
    "DisARMTree",
    "DoubleCV",
    "EnergyDistance",
    "Enumerate",
    "FDivergence",
    "GDReG",
    "GappedStraightThrough",
    "Gibbs",
    "Greedy",
    "GumbelRao",
    "GumbelSoftmax",
    "HamiltonianELBO",
    "Hebb",
    "Hinge",
    "Hybrid",
    "InfoGAN",
    "LangevinVAE",
    "LeastSquares",
    "LevelByLevel",
    "LocalExpectation",
    "MarkovianScoreClimbing",
    "MeanFieldPCD",
    "Minimax",
    "MuProp",
    "NonSaturating",
    "Paired",
    "ParallelTempering",
    "PseudoInverse",
    "Pseudolikelihood",
    "RatioMatching",
    "Reconstruction",
    "ReinMax",
    "ReinMaxCV",
    "ReinMaxRao",
    "Renyi",
    "ScoreMatching",
    "StraightThrough",
    "TemperedTransitions",
    "UnorderedSet",
    "UpDown",
    "VRMax",
    "WakeSleep",
    "Wasserstein",
    "WassersteinGP",
]
