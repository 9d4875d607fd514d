"""Comparison of estimators of a bound's gradient on one pair: bias, variance, time, and which to use."""

from ppgen.comparison.core import compare
from ppgen.comparison.options import ComparisonOptions, Point
from ppgen.comparison.records import BlockResult, ObjectiveResult, PointResult, Verdict
from ppgen.comparison.result import Comparison
from ppgen.comparison.truth import Evidence
from ppgen.measuring.statistics import Bias, Interval

__all__ = [
    "Bias",
    "BlockResult",
    "Comparison",
    "ComparisonOptions",
    "Evidence",
    "Interval",
    "ObjectiveResult",
    "Point",
    "PointResult",
    "Verdict",
    "compare",
]
