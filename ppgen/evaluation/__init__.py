"""Evaluation: the log-likelihood of a split, how it was come by, and whatever else is measured of a pair."""

from ppgen.evaluation.core import evaluate
from ppgen.evaluation.measures import MEASURES
from ppgen.evaluation.result import Evaluation, Measure, Point
from ppgen.evaluation.subject import Subject

__all__ = ["MEASURES", "Evaluation", "Measure", "Point", "Subject", "evaluate"]
