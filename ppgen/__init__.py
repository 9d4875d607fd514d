"""Deep generative models as Pyro model/guide pairs, the objectives that train them, and honest evaluation."""

__version__ = "0.1.0"

from ppgen import inference, models
from ppgen.comparison import Comparison, compare
from ppgen.data import Dataset, DataSpec, dataset_from, load_data
from ppgen.diagnostics import Diagnosis, diagnose
from ppgen.errors import UsageError
from ppgen.evaluation import Evaluation
from ppgen.factory import make_objective, make_pair
from ppgen.inference_data import to_inference_data
from ppgen.objective import Bound, Estimator, Objective, Outcome, Player, Reduction
from ppgen.pair import Pair, pair_from
from ppgen.partition import LogZ, log_z
from ppgen.registry import register_data, register_model, register_objective
from ppgen.runs import Run, load
from ppgen.testing import check_pair
from ppgen.training import fit
from ppgen.weights import log_weights

__all__ = [
    "Bound",
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
    "make_objective",
    "make_pair",
    "models",
    "pair_from",
    "register_data",
    "register_model",
    "register_objective",
    "to_inference_data",
]
