"""Evaluation: the log-likelihood of a split, how it was found, and whatever else is measured of a pair."""

from ppgen.evaluation.capacity import Capacity, capacity_curve
from ppgen.evaluation.case import Case
from ppgen.evaluation.core import evaluate
from ppgen.evaluation.measures import MEASURES
from ppgen.evaluation.modes import Coverage, cover
from ppgen.evaluation.parzen import parzen_log_likelihood, parzen_sigma
from ppgen.evaluation.probe import Probe, linear_probe
from ppgen.evaluation.result import Along, Evaluation, Measure, Point
from ppgen.evaluation.retrieval import Retrieval, retrieve
from ppgen.evaluation.two_sample import TwoSampleTest, kernel_two_sample_test

Subject = Case
"""The name by which measures know a :class:`Case`."""

__all__ = [
    "MEASURES",
    "Along",
    "Capacity",
    "Case",
    "Coverage",
    "Evaluation",
    "Measure",
    "Point",
    "Probe",
    "Retrieval",
    "Subject",
    "TwoSampleTest",
    "capacity_curve",
    "cover",
    "evaluate",
    "kernel_two_sample_test",
    "linear_probe",
    "parzen_log_likelihood",
    "parzen_sigma",
    "retrieve",
]
