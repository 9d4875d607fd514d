"""A comparison in words: what is biased, what costs least for its variance, what to avoid here and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from ppgen.comparison.options import ComparisonOptions
from ppgen.comparison.records import EXACT, ObjectiveResult, PointResult
from ppgen.pages.numbers import short, signed

__all__ = ["in_words"]

_FAR = 3.0
"""An objective whose variance x time is so many times the best one's is one to avoid."""


def in_words(point: PointResult, num_data: int, options: ComparisonOptions) -> str:
    """One paragraph about one point of training."""
    sentences = [
        _setting(point, num_data),
        *_biases(point, options),
        *_ranking(point),
        *_to_avoid(point),
    ]
    return " ".join(sentences)


def _setting(point: PointResult, num_data: int) -> str:
    where = f"At {point.at}" if isinstance(point.at, str) else f"After {point.at} steps"
    start = f"{where}, on {num_data} data,"
    evidence = point.evidence
    if evidence is None:
        return f"{start} log p(x) is not known for each datum."
    if evidence.is_exact:
        return f"{start} log p(x) is {evidence.value:.2f} nats per datum exactly ({evidence.method})."
    return (
        f"{start} log p(x) is about {evidence.value:.2f} nats per datum (a reference and not exact: the bound of "
        f"{evidence.num_particles} particles, standard error {short(evidence.standard_error, 2)})."
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


def _to_avoid(point: PointResult) -> Iterator[str]:
    reasons: list[str] = []
    for best, *others in point.ranked.values():
        for one in others:
            times = one.whole.work.value / best.whole.work.value if best.whole.work.value > 0 else math.inf
            if _FAR < times < math.inf:
                reasons.append(f"{one.label}, which takes {short(times, 2)} times the work of {best.label}")
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
