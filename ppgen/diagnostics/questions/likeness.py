"""Are the samples of an implicit pair like the data? It states no density: its samples are all there is to judge.

The measures of an evaluation that read samples (:data:`ppgen.evaluation.MEASURES`), as a question: a kernel two-sample
test, nearness to the training data, and the data's modes where they are known.

A p-value says whether a difference is seen and not how large it is: a large enough set of data tells any generator from
them. A red light is for what has a size of its own: a mode that no sample reaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ppgen.diagnostics.advice import advised
from ppgen.diagnostics.finding import Finding, Status
from ppgen.diagnostics.question import asks
from ppgen.evaluation.case import Case
from ppgen.evaluation.measures import MEASURES
from ppgen.evaluation.result import Measure

__all__ = ["likeness"]

_SAMPLES = 2500
_LEVEL = 0.05
_COPIES = 0.6
"""Nearness to the training data above which samples are copies, or narrower than the data."""

_QUALITY = 0.95
"""Share of the samples that should lie at a mode, where modes are known."""

_MISSING = (
    "No sample reaches some of the data's modes: take [an objective that drops fewer ({wasserstein_gp, mmd}), ]larger "
    "minibatches, or a smaller learning rate."
)
_COPIED = (
    "Samples lie nearer to the training data than fresh data do. Look at them beside their nearest training data: "
    "where they are copies, a smaller generator and critic, more data, or fewer steps; where they are only less spread "
    "out than the data, train longer."
)
_UNLIKE = (
    "Look at the samples beside data. Train longer, with a learning rate that falls[, or with an objective that is "
    "steadier near the end ({wasserstein_gp, mmd})]; a larger critic sees finer differences."
)


@asks("Are samples like the data?")
def likeness(case: Case) -> Finding[dict[str, Measure]] | None:
    """The p-value of samples and data being alike, the data's modes, and how near samples lie to the training data.

    Red: a known mode is without samples. Yellow: the p-value is below 0.05, fewer than 95 % of the samples lie at a
    known mode, or samples are nearer to the training data than fresh data are. The number is that of the gravest of
    these, or the p-value. None for a pair that states a density.
    """
    if case.pair.has_weights:
        return None
    sampled = replace(case, data=case.dataset, num_samples=_SAMPLES)
    found = {one.name: one for measure in MEASURES for one in measure(sampled)}
    wrong = [*_wrong(case, {name: one.value for name, one in found.items()})]
    return replace(
        wrong[0][0] if wrong else _p_value("good", found["two_sample_p_value"].value),
        source="Gretton et al. 2012, a kernel two-sample test; Lin et al. 2018 for modes; Meehan et al. 2020 for "
        "copies; the shares asked for are ours",
        meaning="; ".join(_said(case, found)),
        advice=advised(case, " ".join(dict.fromkeys(advice for _, advice in wrong))),
        details=found,
    )


def _wrong(case: Case, value: Mapping[str, float]) -> Iterator[tuple[Finding, str]]:
    """What is wrong, the gravest first: its number, what it was held against, and what to do about it."""
    modes = 0 if case.data.modes is None else len(case.data.modes.centres)
    covered, share, nearness = (value.get(n) for n in ("modes_covered", "high_quality_share", "nearness_to_train"))
    if covered is not None and covered < modes:
        yield (
            Finding(status="bad", quantity="modes with samples", number=covered, threshold=modes, direction="at least"),
            _MISSING,
        )
    if value["two_sample_p_value"] < _LEVEL:
        yield _p_value("warn", value["two_sample_p_value"]), _UNLIKE
    if share is not None and share < _QUALITY:
        yield (
            Finding(status="warn", quantity="share at a mode", number=share, threshold=_QUALITY, direction="at least"),
            _UNLIKE,
        )
    if nearness is not None and nearness > _COPIES:
        yield (
            Finding(
                status="warn",
                quantity="nearness to training data",
                number=nearness,
                threshold=_COPIES,
                direction="at most",
            ),
            _COPIED,
        )


def _p_value(status: Status, value: float) -> Finding:
    return Finding(status=status, quantity="p-value", number=value, threshold=_LEVEL, direction="at least")


def _said(case: Case, found: Mapping[str, Measure]) -> Iterator[str]:
    """The measures that are judged, in words."""
    value = {name: one.value for name, one in found.items()}
    yield (
        f"p-value {value['two_sample_p_value']:.3g} of a two-sample test that samples and {case.num_data:,} "
        f"{case.split} data are alike (at least {_LEVEL:g} for a yes)"
    )
    if case.data.modes is not None:
        yield (
            f"{value['modes_covered']:.0f} of {len(case.data.modes.centres)} modes have samples, and "
            f"{value['high_quality_share']:.1%} of {_SAMPLES:,} samples lie at a mode (at least {_QUALITY:.0%} for a "
            "yes)"
        )
    if "nearness_to_train" in value:
        yield (
            "a sample lies nearer to the training data than a test datum does with probability "
            f"{value['nearness_to_train']:.2f} (0.5 for fresh draws, near 1 for copies, near 0 off the data)"
        )
