"""Evaluation: the log-likelihood of a split, how it was found, and whatever else is measured of a pair."""

from ppgen.evaluation.capacity import Capacity, capacity_curve
from ppgen.evaluation.case import Annealing, Case
from ppgen.evaluation.classified import ClassifierTest, classifier_two_sample_test
from ppgen.evaluation.core import evaluate
from ppgen.evaluation.frechet import frechet_distance, frechet_of_normals
from ppgen.evaluation.judge import Judge, judge
from ppgen.evaluation.manifolds import Manifolds, density_and_coverage, manifolds, precision_and_recall
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
    "Annealing",
    "Capacity",
    "Case",
    "ClassifierTest",
    "Coverage",
    "Evaluation",
    "Judge",
    "Manifolds",
    "Measure",
    "Point",
    "Probe",
    "Retrieval",
    "Subject",
    "TwoSampleTest",
    "capacity_curve",
    "classifier_two_sample_test",
    "cover",
    "density_and_coverage",
    "evaluate",
    "frechet_distance",
    "frechet_of_normals",
    "judge",
    "kernel_two_sample_test",
    "linear_probe",
    "manifolds",
    "parzen_log_likelihood",
    "parzen_sigma",
    "precision_and_recall",
    "retrieve",
]
