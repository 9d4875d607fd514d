"""``compare``: which estimator of a bound's gradient to use on a pair, judged by bias, variance and time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyro
import torch
from rich.progress import Progress

from ppgen.arguments import check_names
from ppgen.comparison.blocks import chosen_blocks, parameter_blocks
from ppgen.comparison.constants import of_tensors
from ppgen.comparison.labels import bound_name, comparable, label_of, named
from ppgen.comparison.options import INIT, ComparisonOptions, Point
from ppgen.comparison.points import Schooling, left_as_it_was, points_of_training
from ppgen.comparison.records import EXACT, BlockResult, ObjectiveResult, PointResult, Verdict
from ppgen.comparison.result import Comparison
from ppgen.comparison.sources import Source, at_hand, in_a_sentence, source_of
from ppgen.comparison.truth import Truth, check_standard, in_precision, truth_of
from ppgen.data import as_dataset
from ppgen.errors import UsageError, option, within_memory
from ppgen.factory import as_objective
from ppgen.machine.entry import entry_point
from ppgen.machine.progress import bar
from ppgen.machine.seeds import derived, manual_seed
from ppgen.measuring.repeats import Products, Repeats, affordable_repeats, gather, reference_of
from ppgen.measuring.statistics import bias_of, mean_interval
from ppgen.objectives.bounds import target_of
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import as_pair, check_takes
from ppgen.pairs.pair import Pair, check_explicit
from ppgen.pairs.places import as_batch, brought_to
from ppgen.pairs.rows import num_rows
from ppgen.pairs.tracing import Batch
from ppgen.training.options import TrainingOptions

__all__ = ["compare"]

_PILOT = (16, 2)
"""Repeats and draws of each, by which time, precision and the best reference are judged."""

_FEWEST = 32

_LONG = 10
"""How many times as many draws a reference takes that is to be a long run."""

_ROUNDING, _CANCELLATION = 1000.0, 1e-6
"""The relative error of a gradient's arithmetic, in roundings of its dtype, and of differences by inner products."""


@entry_point
def compare(
    pair: Any,
    batch: Batch,
    objectives: Iterable[Any] | Mapping[str, Any],
    *,
    data: Any = None,
    trained_by: Any = None,
    training: TrainingOptions | None = None,
    comparison: ComparisonOptions | None = None,
    progress: bool = True,
    **options: Any,
) -> Comparison:
    """Compare estimators of a bound's gradient at one pair and batch.

    Of each objective: its value; and of its gradient, for each block of parameters: bias with a test at a family-wise
    false-alarm rate, variance, signal-to-noise ratio, time, and variance x time, all with confidence intervals from
    independent repeats (:mod:`ppgen.measuring.statistics`). Gradients are those of the loss per datum, by the step
    function that trains, compiled. Bias is measured from the exact gradient of the objective's own bound where the
    latents have at most 2^16 joint states a datum (of a mixed pair: and nodes of a quadrature of few Gaussian ones);
    otherwise from the draws of that objective of the same bound that
    has the least variance of those that declare their gradient unbiased.

    Args:
        pair: a pair, or any module with ``model`` and ``guide``; left as it is.
        batch: what the data set yields, ``(x,)`` or ``(x, y)``; it is brought to the pair's device.
        objectives: to compare: objectives, registered names, any ``pyro.infer.ELBO``; in a mapping, by labels of your
            own.
        data: for points of training after the first, as :func:`ppgen.fit` takes them.
        trained_by: the objective that trains to those points; None: the first of ``objectives`` that is not Pyro's.
        training: how it trains; None: the defaults, for as many steps as the last point, or 1,000.
        comparison: the options as one object; None: those that are given one by one.
        progress: show progress, where there is a terminal or a notebook.
        options: see :class:`ppgen.comparison.ComparisonOptions`: ``draws``, ``precision``, ``seconds``, ``blocks``,
            ``at``, ``double``, ``false_alarm``, ``seed``, ...

    Raises:
        UsageError: an objective cannot do this pair or is listed twice, a block or a point of training is unknown, an
            option is out of range; found by two draws of each, before any long work.
    """
    asked = _chosen(comparison, options)
    pair, chosen = as_pair(pair), named(objectives)
    batch = as_batch(batch)
    check_takes(pair, batch)
    batch = brought_to(pair, batch)
    pair, batch = of_tensors(pair, batch)
    check_explicit(pair, "a comparison of estimators")
    seen = None if data is None else brought_to(pair, as_dataset(data))
    schooling = Schooling.of(asked.at, seen, trained_by, training, chosen)
    most = max((one.at(0).total_particles for one in chosen.values() if isinstance(one, Objective)), default=1)
    what = f"a comparison of {len(chosen)} objectives on B = {num_rows(batch)} data with K = {most} particles at most"
    mend = "lower num_particles, or give a smaller batch or pair"
    with (
        within_memory(what, mend),
        torch.random.fork_rng(),
        pyro.validation_enabled(False),
        bar(progress) as shown,
    ):
        session = _Session(pair, batch, chosen, asked, shown)
        with left_as_it_was(pair):
            session.foresee()
            points = tuple(session.look(at, step) for at, step in points_of_training(pair, schooling))
    return Comparison(points, asked, num_rows(batch), session.repeats, session.num_tests)


class _Session:
    """One comparison: what stays the same from point to point."""

    def __init__(
        self, pair: Pair, batch: Batch, objectives: Mapping[str, Any], options: ComparisonOptions, shown: Progress
    ) -> None:
        self.pair, self.objectives, self.options, self.shown = pair, objectives, options, shown
        with in_a_sentence("a comparison"):
            blocks = parameter_blocks(pair, batch)
        trained = {name: p for name, p in pair.named_parameters() if p.requires_grad}
        if not trained:
            raise UsageError("expected a pair with trainable parameters to compare gradients by, this one has none.")
        self.blocks = {"all": tuple(trained), **chosen_blocks(blocks, options.blocks)}
        self.sizes = {name: p.numel() for name, p in trained.items()}
        self.dtype = torch.float64 if options.double else next(iter(trained.values())).dtype
        self.batch = in_precision(batch, self.dtype)
        self.sources: dict[tuple[str, str], Source] = {}
        self.repeats = self.num_tests = 0

    def foresee(self) -> None:
        """Whether what bias is to be measured from can be had, before the pair is trained to a first point.

        Raises:
            UsageError: it cannot, or not in time.
        """
        if self.options.at[0] not in (INIT, 0):
            with at_hand(self.pair, self.dtype):
                found = [target_of(as_objective(one).at(0)) for one in self.objectives.values()]
                targets = {label_of(bound): bound for bound in map(comparable, filter(None, found))}
                check_standard(self.pair, self.batch, targets, self.options.exact, self.options.seconds)

    def look(self, at: Point, step: int) -> PointResult:
        """All objectives at the pair as it is."""
        with at_hand(self.pair, self.dtype):
            sources = {label: self._source(label, at, step) for label in self.objectives}
            bounds = [comparable(one.target) for one in sources.values() if one.target is not None]
            targets = {label_of(bound): bound for bound in bounds}
            options = self.options
            truth = truth_of(self.pair, self.batch, targets, options.particles, options.exact, options.seconds)
            pilots = self._first_draws(sources, at)
            references = _references(sources, pilots, truth)
            results = self._all_draws(sources, at, self._plan(pilots, references), references, truth)
        return PointResult(at, step, truth.evidence, truth.why_not_exact, results)

    def _source(self, label: str, at: Point, step: int) -> Source:
        """The objective's gradients; what was compiled for another point serves while schedules stand still."""
        objective = self.objectives[label]
        key = label, str(objective.schedules(step)) if isinstance(objective, Objective) else ""
        if key not in self.sources:
            manual_seed(self._seed(label, at))
            self.sources[key] = source_of(objective, self.pair, self.batch, step=step)
        return self.sources[key]

    def _first_draws(self, sources: Mapping[str, Source], at: Point) -> dict[str, Repeats]:
        task = self.shown.add_task("first draws", total=len(sources), note="")
        found = {}
        for label, source in sources.items():
            self.shown.update(task, note=label)
            manual_seed(self._seed(label, at))
            if not (self.options.eager or source.is_compiled):
                source.compile()
            source.settle(self.options.warmup)
            source.draw()  # makes what is made once
            found[label] = gather(source, *_PILOT)
            self.shown.advance(task)
        return found

    def _plan(self, pilots: Mapping[str, Repeats], references: Mapping[str, str]) -> dict[str, int]:
        """Draws of each objective, and with them the number of repeats, which all share, and of tests.

        A long run has as many shares of the time as it has of the draws.

        Raises:
            UsageError: it takes longer than there is.
        """
        long = self._long(references)
        shares = len(pilots) + (_LONG - 1) * len(long)
        for label in long:
            _check_long(self.options, label, pilots[label])
        draws = {label: _num_draws(self.options, pilot, shares) for label, pilot in pilots.items()}
        self.repeats = affordable_repeats(self.options.repeats, min(draws.values()), sum(self.sizes.values()))
        return {label: math.ceil(num / self.repeats) for label, num in draws.items()}

    def _long(self, references: Mapping[str, str]) -> list[str]:
        """The objectives that take a long run: references, where that is asked for."""
        own = [label for label, reference in references.items() if reference == label]
        return own if self.options.exact == "run" else []

    def _all_draws(
        self,
        sources: Mapping[str, Source],
        at: Point,
        sizes: Mapping[str, int],
        references: Mapping[str, str],
        truth: Truth,
    ) -> tuple[ObjectiveResult, ...]:
        tested = [label for label, reference in references.items() if reference != label]
        sizes = {label: num * (_LONG if label in self._long(references) else 1) for label, num in sizes.items()}
        self.num_tests = len(tested) * len(self.blocks) * len(self.options.at)
        task = self.shown.add_task("draws", total=self.repeats * sum(sizes.values()), note="")
        known = {f"{EXACT} {name}": gradient for name, gradient in truth.gradients.items()}
        results = {}
        for label in sorted(sources, key=lambda label: references.get(label) != label):  # references first
            self.shown.update(task, note=label)
            source, reference = sources[label], references.get(label)
            manual_seed(self._seed(label, at, "draws"))  # the first ones chose references, and have no part here
            drawn = gather(source, self.repeats, sizes[label], lambda num: self.shown.advance(task, num))
            if reference == label:
                known[label] = drawn
            against = known.get(f"{EXACT} {bound_name(source.target)}" if reference == EXACT else str(reference))
            results[label] = self._result(label, source, drawn, reference, against)
        return tuple(results[label] for label in sources)

    def _result(
        self, label: str, source: Source, drawn: Repeats, reference: str | None, against: Repeats | None
    ) -> ObjectiveResult:
        level = self.options.level
        bound = mean_interval(drawn.bounds, level)
        products = None if against is None or reference == label else drawn.against(against)
        verdict: Verdict = "reference" if reference == label else "not tested"
        covered = {block: [n for n in names if n in drawn.means] for block, names in self.blocks.items()}
        return ObjectiveResult(
            label,
            bound_name(source.target),
            getattr(self.objectives[label], "num_particles", None),
            source.unbiased,
            bound,
            float(drawn.bounds.std()) / math.sqrt(self.repeats),
            mean_interval(drawn.seconds, level),
            self.repeats * drawn.size,
            source.is_compiled,
            None if reference == label else reference,
            tuple(self._block(block, names, drawn, products, verdict) for block, names in covered.items() if names),
        )

    def _block(
        self, block: str, names: list[str], drawn: Repeats, products: Products | None, verdict: Verdict
    ) -> BlockResult:
        moments, level = drawn.moments(names), self.options.level
        bias = None
        if products is not None:
            alpha = self.options.false_alarm / self.num_tests
            rounding = max(_ROUNDING * torch.finfo(self.dtype).eps, _CANCELLATION)
            bias = bias_of(moments, reference_of(products, names, rounding), level, alpha)
            verdict = "biased" if bias.p_value < alpha else "no bias seen"
        return BlockResult(
            block,
            sum(self.sizes[name] for name in names),
            moments.variance(level),
            moments.snr(level),
            moments.work(drawn.seconds, level),
            bias,
            verdict,
        )

    def _seed(self, label: str, at: Point, *parts: str) -> int:
        return derived(self.options.seed, label, at, *parts)


def _references(sources: Mapping[str, Source], pilots: Mapping[str, Repeats], truth: Truth) -> dict[str, str]:
    """What the bias of each objective is measured from: the exact gradient, or the label of another, or its own label.

    Its own: others are measured from it. Those of a bound that nothing is known of are left out.
    """
    found: dict[str, str] = {}
    bounds = {label: bound_name(source.target) for label, source in sources.items()}
    for bound in dict.fromkeys(bound for bound in bounds.values() if bound is not None):
        group = [label for label, name in bounds.items() if name == bound]
        fit = [label for label in group if sources[label].can_be_reference]
        if bound in truth.gradients:
            found |= dict.fromkeys(group, EXACT)
        elif fit and len(group) > 1:
            best = min(
                fit, key=lambda label: float(pilots[label].moments(list(pilots[label].means)).variance(0.5).value)
            )
            found |= dict.fromkeys(group, best)
    return found


def _check_long(options: ComparisonOptions, label: str, pilot: Repeats) -> None:
    """Refuse a long run that takes longer than there is, whatever the others do."""
    needed = _LONG * _FEWEST * len(options.at) * float(pilot.seconds.mean())
    if options.seconds is not None and needed > options.seconds:
        raise UsageError(
            f"exact='run' would take about {needed:.2g} seconds, {_LONG * _FEWEST} draws of {label} at each point, by "
            f"a first {_PILOT[0] * _PILOT[1]}, and {option('seconds', options.seconds)} is all it may take: "
            "give more, fewer data, or another standard."
        )


def _num_draws(options: ComparisonOptions, pilot: Repeats, shares: int) -> int:
    """Draws for the precision and within the time that were asked for, judged by the first draws."""
    wanted = float(options.draws)
    if options.precision is not None:
        variance = pilot.moments(list(pilot.means)).variance(options.level)
        width = (variance.high - variance.value) / variance.value if variance.value > 0 else 0.0
        wanted = len(pilot.bounds) * pilot.size * (width / options.precision) ** 2
    if options.seconds is not None:
        affordable = options.seconds / (len(options.at) * shares) / float(pilot.seconds.mean())
        wanted = min(wanted, affordable) if options.precision is not None else affordable
    return max(_FEWEST, math.ceil(wanted))


def _chosen(comparison: ComparisonOptions | None, options: Mapping[str, Any]) -> ComparisonOptions:
    if comparison is not None and options:
        given = ", ".join(options)
        raise UsageError(f"compare takes comparison or its options one by one, got both, {given}: give one.")
    check_names("a comparison", ComparisonOptions, options)
    return comparison or ComparisonOptions(**options)
