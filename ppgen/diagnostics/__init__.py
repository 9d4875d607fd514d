"""Posterior diagnostics: is the guide to be believed? One file a question, which reads log-weights or the pair."""

from ppgen.chains.evidence import Bounds, Budget, evidence_bounds
from ppgen.diagnostics.core import diagnose
from ppgen.diagnostics.finding import Finding
from ppgen.diagnostics.local import LocalWeights, Search, local_log_weights
from ppgen.diagnostics.question import Question, asks
from ppgen.diagnostics.questions.elpd import compare_runs, held_out, loo
from ppgen.diagnostics.questions.every import QUESTIONS
from ppgen.diagnostics.questions.global_calibration import global_shares
from ppgen.diagnostics.questions.global_importance import GlobalWeights, global_log_weights
from ppgen.diagnostics.questions.predictive import Check, predictive_checks
from ppgen.diagnostics.result import Diagnosis
from ppgen.diagnostics.weights import effective_sample_size, k_threshold, pareto_k, weight_perplexity
from ppgen.evaluation.case import Case

__all__ = [
    "QUESTIONS",
    "Bounds",
    "Budget",
    "Case",
    "Check",
    "Diagnosis",
    "Finding",
    "GlobalWeights",
    "LocalWeights",
    "Question",
    "Search",
    "asks",
    "compare_runs",
    "diagnose",
    "effective_sample_size",
    "evidence_bounds",
    "global_log_weights",
    "global_shares",
    "held_out",
    "k_threshold",
    "local_log_weights",
    "loo",
    "pareto_k",
    "predictive_checks",
    "weight_perplexity",
]
