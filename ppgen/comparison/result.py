"""What a comparison gives: plain frozen records of numbers, rows of a table, and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ppgen.comparison.options import ComparisonOptions
from ppgen.comparison.records import BlockResult, ObjectiveResult, PointResult
from ppgen.comparison.words import in_words, lead, when
from ppgen.files.jsonable import plain
from ppgen.measuring.statistics import Interval
from ppgen.pages.brief import Brief
from ppgen.pages.numbers import counted, short

__all__ = ["Comparison"]


@dataclass(frozen=True, repr=False)
class Comparison(Brief):
    """The result of :func:`ppgen.compare`.

    Args:
        points: in the order of training.
        options: what was asked for.
        num_data: B of the batch.
        repeats: R, the groups of draws behind all error bars.
        num_tests: how many tests for bias share the false-alarm rate ``options.false_alarm``.

    >>> import ppgen, torch
    >>> _ = torch.manual_seed(0)
    >>> pair, x = ppgen.models.SBN(ppgen.DataSpec("bits", 3, "binary"), layers=(2,)), torch.ones(1, 3)
    >>> options = ComparisonOptions(draws=32, repeats=16, blocks=["guide"], warmup=0, eager=True)
    >>> found = ppgen.compare(pair, (x,), ["reinforce"], comparison=options)
    >>> found.best
    {'elbo': 'reinforce'}
    >>> found.points[0]
    PointResult(at='init', step=0, evidence=Evidence(value=..., standard_error=0.0, method='enumerated', ...), ...)
    >>> found.points[0].objectives[0]
    ObjectiveResult(label='reinforce', ..., bound=Interval(value=..., low=..., high=...), ..., draws=32, ...)
    >>> found.points[0].objectives[0].whole
    BlockResult(name='all', num_parameters=19, ..., bias=Bias(along=...), verdict='no bias seen')
    """

    points: tuple[PointResult, ...]
    options: ComparisonOptions
    num_data: int
    repeats: int
    num_tests: int

    @property
    def best(self) -> dict[str, str]:
        """For each bound, the best objective at the last point of training; see :attr:`PointResult.best`."""
        return self.points[-1].best

    def brief(self) -> tuple[str, list[tuple[str, ...]]]:
        """The best of each bound, and the verdict, variance and seconds of each objective, at the last point."""
        last = self.points[-1]
        best = "; ".join(f"best for {bound}: {label}" for bound, label in self.best.items())
        rows: list[tuple[str, ...]] = [
            (one.label, one.verdict, f"variance {short(one.whole.variance.value)}", f"{short(one.seconds.value)} s")
            for one in last.objectives
        ]
        found = f"{counted(len(rows), 'objective')} {when(last)}, {self.num_data:,} data"
        return f"{found}; {best or 'none is best'}", rows

    @property
    def lead(self) -> str:
        """What to do, in a line, by the last point of training."""
        place = f"{when(self.points[-1]).capitalize()}: " if len(self.points) > 1 else ""
        return f"{place}{lead(self.points[-1])}"

    def rows(self) -> list[dict[str, Any]]:
        """One flat row for each point, objective and block, for a table, a CSV file or a data frame.

        Every interval ``i`` is three columns ``i``, ``i_low`` and ``i_high``; what was not tested is None.
        """
        return [
            {"at": point.at, "step": point.step, **_of_estimator(one), **_of_block(block)}
            for point in self.points
            for one in point.objectives
            for block in one.blocks
        ]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of everything, with ``best`` and ``words``; numbers that are not finite are None."""
        return {**plain(asdict(self)), "best": self.best, "words": self.words()}

    def words(self) -> str:
        """A paragraph for each point of training: what is biased, what is cheapest, what to avoid and why."""
        return "\n\n".join(in_words(point, self.num_data, self.options) for point in self.points)


def _of_estimator(one: ObjectiveResult) -> dict[str, Any]:
    return {
        "objective": one.label,
        "bound_name": one.bound_name,
        "num_particles": one.num_particles,
        "unbiased": one.unbiased,
        **_columns("bound", one.bound),
        "standard_error": one.standard_error,
        **_columns("seconds", one.seconds),
        "draws": one.draws,
        "compiled": one.compiled,
        "reference": one.reference,
    }


def _of_block(block: BlockResult) -> dict[str, Any]:
    bias = block.bias
    return {
        "block": block.name,
        "num_parameters": block.num_parameters,
        **_columns("variance", block.variance),
        **_columns("snr", block.snr),
        **_columns("work", block.work),
        **_columns("bias", None if bias is None else bias.along),
        **_columns("bias_size", None if bias is None else bias.size),
        "z": None if bias is None else bias.z_along,
        "z_across": None if bias is None else bias.z_across,
        "p_value": None if bias is None else bias.p_value,
        "resolution": None if bias is None else bias.resolution,
        "verdict": block.verdict,
    }


def _columns(name: str, interval: Interval | None) -> dict[str, float | None]:
    ends = (None,) * 3 if interval is None else (interval.value, interval.low, interval.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
