"""Deep generative models as Pyro model/guide pairs, the objectives that train them, and honest evaluation."""

from ppgen import inference, logging, models, report
from ppgen.chains.log_z import LogZ, log_z
from ppgen.comparison import Comparison, compare
from ppgen.data import Dataset, DataSpec, dataset_from, load_data
from ppgen.diagnostics import Diagnosis, diagnose
from ppgen.errors import UsageError
from ppgen.evaluation import Evaluation
from ppgen.factory import make_objective, make_pair
from ppgen.objectives.bounds import Bound, Estimator, Reduction
from ppgen.objectives.objective import Objective
from ppgen.objectives.turns import Outcome, Player
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.log_weights import log_weights
from ppgen.pairs.pair import Pair
from ppgen.posterior.inference_data import to_inference_data
from ppgen.registry import register_data, register_model, register_objective
from ppgen.runs.fit import fit
from ppgen.runs.hub import pull, push
from ppgen.runs.load import load
from ppgen.runs.run import Run
from ppgen.sweeps import Sweep, sweep
from ppgen.testing import check_pair
from ppgen.training.callbacks import Callback
from ppgen.versions import VERSION

__version__ = VERSION

__all__ = [
    "Bound",
    "Callback",
    "Comparison",
    "DataSpec",
    "Dataset",
    "Diagnosis",
    "Estimator",
    "Evaluation",
    "LogZ",
    "Objective",
    "Outcome",
    "Pair",
    "Player",
    "Reduction",
    "Run",
    "Sweep",
    "UsageError",
    "check_pair",
    "compare",
    "dataset_from",
    "diagnose",
    "fit",
    "inference",
    "load",
    "load_data",
    "log_weights",
    "log_z",
    "logging",
    "make_objective",
    "make_pair",
    "models",
    "pair_from",
    "pull",
    "push",
    "register_data",
    "register_model",
    "register_objective",
    "report",
    "sweep",
    "to_inference_data",
]
