"""A comparison in words: what is biased, what costs least for its variance, what to avoid here and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from ppgen.comparison.options import ComparisonOptions
from ppgen.comparison.records import EXACT, ObjectiveResult, PointResult
from ppgen.comparison.slopes import families, power_law
from ppgen.pages.numbers import counted, short, signed

__all__ = ["in_words", "lead", "when"]

_FAR = 3.0
"""An objective whose variance x time is so many times the best one's is one to avoid."""

_NAMED = 3
"""Objectives, at most, that are as good as each other in a line."""


def in_words(point: PointResult, num_data: int, options: ComparisonOptions) -> str:
    """One paragraph about one point of training."""
    sentences = [
        _setting(point, num_data),
        *_biases(point, options),
        *_ranking(point),
        *_further(point, options.level),
        *_to_avoid(point),
    ]
    return " ".join(sentences)


def lead(point: PointResult) -> str:
    """What to do, in a line: which objectives to use, which are biased, and which to avoid for their work."""
    return " ".join([*_to_use(point), *_biased(point), *_too_costly(point)])


def when(point: PointResult) -> str:
    """The point of training in words, to follow a noun."""
    named = {"init": "as given", "trained": "after training"}
    return named.get(str(point.at), f"after {counted(point.step, 'step')}")


def _to_use(point: PointResult) -> Iterator[str]:
    """Of each bound the best, and those that are not told from it."""
    told = []
    for bound, rivals in point.ranked.items():
        as_good = [one.label for one in rivals if one.whole.work.low <= rivals[0].whole.work.high][:_NAMED]
        told.append(_listed(as_good, before_last=" or ") + (f" for {bound}" if len(point.ranked) > 1 else ""))
    yield f"Use {'; '.join(told)}." if told else "None is known to be unbiased."


def _biased(point: PointResult) -> Iterator[str]:
    biased = [one.label for one in point.objectives if not one.fits]
    if biased:
        yield f"Biased: {', '.join(biased)}."


def _too_costly(point: PointResult) -> Iterator[str]:
    costly = [f"{one.label} ({short(times, 2)} times the work)" for one, _, times in _far_behind(point)]
    if costly:
        yield f"Avoid: {', '.join(costly)}."


def _far_behind(point: PointResult) -> Iterator[tuple[ObjectiveResult, ObjectiveResult, float]]:
    """An objective, the best of its bound, and how many times its work the former takes, where they are many."""
    for best, *others in point.ranked.values():
        for one in others:
            times = one.whole.work.value / best.whole.work.value if best.whole.work.value > 0 else math.inf
            if _FAR < times < math.inf:
                yield one, best, times


def _setting(point: PointResult, num_data: int) -> str:
    start = f"{when(point).capitalize()}, on {counted(num_data, 'datum', 'data')},"
    evidence = point.evidence
    if evidence is None:
        return f"{start} log p(x) is not known for each datum."
    if evidence.is_exact:
        return f"{start} log p(x) is {evidence.value:.2f} nats per datum exactly ({evidence.how})."
    return (
        f"{start} log p(x) is about {evidence.value:.2f} nats per datum (a reference and not exact: the bound of "
        f"{counted(evidence.num_particles or 0, 'particle')}, standard error {short(evidence.standard_error, 2)})."
    )


def _biases(point: PointResult, options: ComparisonOptions) -> Iterator[str]:
    rate = f"{options.false_alarm:g}"
    for reference in dict.fromkeys(one.reference for one in point.objectives if one.reference is not None):
        tested = [one for one in point.objectives if one.reference == reference]
        against = "the exact gradient" if reference == EXACT else f"the draws of {reference} (a reference, not exact)"
        biased = [one for one in tested if one.verdict == "biased"]
        clear = [one for one in tested if one.verdict == "no bias seen"]
        if biased:
            found = _listed(f"{one.label} ({_where(one)})" for one in biased)
            yield f"Against {against}, biased at a family-wise false-alarm rate of {rate}: {found}."
        if clear:
            found = _listed(f"{one.label} ({_would_have_shown(one)})" for one in clear)
            yield (
                f"Against {against}, no bias was seen in {found}; in parentheses, the smallest error that would have "
                "shown along the whole gradient, and along the block where least is known."
            )
    untested = [one.label for one in point.objectives if one.verdict == "not tested"]
    if untested:
        names = _listed(untested)
        yield f"Not tested, for want of an exact gradient or an unbiased objective of the same bound: {names}."


def _ranking(point: PointResult) -> Iterator[str]:
    for bound, rivals in point.ranked.items():
        if len(rivals) < 2:
            continue
        best, second = rivals[:2]
        if best.whole.work.value == 0:
            yield f"For {bound}, {best.label} has no variance."
            continue
        times = short(second.whole.work.value / best.whole.work.value, 2)
        clear = "" if best.whole.work.high < second.whole.work.low else ", and their intervals overlap"
        lead = f"{second.label} needs {times} times its work{clear}"
        yield f"For {bound}, {best.label} is cheapest for its variance (variance x time): {lead}."


def _further(point: PointResult, level: float) -> Iterator[str]:
    """The power of the number of particles that the variance of each family goes with, and where it leads to."""
    for name, members in families(point.objectives).items():
        particles = [one.num_particles or 1 for one in members]
        law, most = power_law(particles, [one.whole.variance for one in members], level), particles[-1]
        slope, there = law.slope, law.at(4 * most)
        yield (
            f"From K = {particles[0]} to {most} the variance of {name} goes as K to the power {slope.value:.2f} "
            f"({slope.low:.2f} to {slope.high:.2f}): at K = {4 * most} it would be {short(there.value, 2)} "
            f"({short(there.low, 2)} to {short(there.high, 2)}), if that goes on."
        )


def _to_avoid(point: PointResult) -> Iterator[str]:
    reasons = [
        f"{one.label}, which takes {short(times, 2)} times the work of {best.label}"
        for one, best, times in _far_behind(point)
    ]
    reasons += [
        f"{one.label}, which declares itself unbiased and is not"
        for one in point.objectives
        if one.unbiased and one.verdict == "biased"
    ]
    if reasons:
        yield f"Avoid here: {_listed(reasons, '; ', '; and ')}."


def _where(one: ObjectiveResult) -> str:
    """The block where the bias stands out most, and how much it is."""
    block, bias = min(one.biases.items(), key=lambda item: item[1].p_value)
    return f"block {block}: {signed(100 * bias.along.value)}% along the gradient, z = {bias.z:.1f}"


def _would_have_shown(one: ObjectiveResult) -> str:
    least = {block: short(100 * bias.resolution, 2) for block, bias in one.biases.items()}
    worst = max(one.biases, key=lambda block: one.biases[block].resolution)
    return f"{least[one.whole.name]}%; {worst} {least[worst]}%"


def _listed(items: Iterable[str], separator: str = ", ", before_last: str = " and ") -> str:
    *most, last = list(items)
    return separator.join(most) + before_last + last if most else last
