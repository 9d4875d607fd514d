"""Sections of the report on samples: what the model makes by itself, at the end and over training, and of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from ppgen.draws.completions import completes, upper_half
from ppgen.draws.samples import conditions, prior_samples, reconstructions
from ppgen.pages.elements import Figure
from ppgen.pages.look import look_of
from ppgen.pages.numbers import counted
from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.looking import looking
from ppgen.pairs.rows import take_rows
from ppgen.report.parts import pictured, shown_data

if TYPE_CHECKING:
    from ppgen.runs.run import Run

__all__ = ["completed_pictures", "reconstructed_data", "samples", "samples_over_training", "translations"]

_ROWS = 6
"""Of pictures."""


@pictured("Samples")
def samples(run: Run) -> Iterator[Figure]:
    """What the model makes by itself."""
    look = look_of(run.data)
    across = min(run.data.spec.num_classes or look.columns, look.columns)
    num = _ROWS * across if look.columns > 1 else look.few
    draws = prior_samples(run.pair, conditions(run.data, num), num, start=run.chains)
    x, how = (draws.mean, draws.of_mean) if look.means else (draws.x, draws.of_x)
    told = _labels(run)
    labels = f" {told}, row by row." if told else ""
    yield look.samples(x, shown_data(run), f"{counted(num, 'sample')}.", f"{how}.{labels}")


def _labels(run: Run) -> str:
    """Which labels samples are told; empty: none."""
    classes = run.data.spec.num_classes
    is_told = classes is not None and (not isinstance(run.pair, EnergyPair) or run.pair.holds_labels)
    return f"Labels 0 to {classes - 1} in turn" if classes is not None and is_told else ""


@pictured("Completions of lower halves", applies=lambda run: _completes(run))
def completed_pictures(run: Run) -> Iterator[Figure]:
    """What the model makes of the upper halves of pictures, more than once."""
    look = look_of(run.data)
    x = run.data.shown[0][: look.columns]
    drawn = {f"drawn{word}": run.complete(x, seed=seed) for seed, word in enumerate(("", " again", " a third time"))}
    yield look.rows(
        {shown_data(run): x, **drawn},
        f"{counted(len(x), 'picture')}, upper halves given and lower halves drawn:",
        f"{shown_data(run).capitalize()}, and below them, thrice, their lower halves drawn given the upper ones.",
    )


def _completes(run: Run) -> bool:
    spec = run.data.spec
    return spec.image_shape is not None and completes(run.pair, upper_half(spec))


@pictured("Samples over training", applies=lambda run: run.snapshots is not None)
def samples_over_training(run: Run) -> Iterator[Figure]:
    """What the model made of the same random numbers while it was trained."""
    found = run.snapshots
    assert found is not None
    told = _labels(run)
    moments = f"{', '.join(f'{step:,}' for step in found.steps[:-1])} and {found.steps[-1]:,}"
    yield look_of(run.data).rows(
        {counted(step, "step"): x for step, x in zip(found.steps, found.x, strict=True)},
        f"{counted(found.x.shape[1], 'sample')} after {moments} steps.",
        "The same random numbers each time, while the pair was trained." + (f" {told}." if told else ""),
    )


@pictured("Translations", applies=lambda run: run.pair.translates and run.data.sources is not None)
def translations(run: Run) -> Iterator[Figure]:
    """Sources, what is made of them, and of that again; beside them the targets, where rows are pairs."""
    data, pair = run.data, cast(Any, run.pair)
    sources = data.sources
    assert sources is not None  # that there are some was asked
    look, few = look_of(data), min(look_of(data).few, len(data.shown[0]))
    x, s = (part[:few] for part in data.shown[:2])
    with looking(pair):
        there = pair.translate(s)
        again = {"sources, there and back": pair.translate_back(there)} if hasattr(pair, "translate_back") else {}
    targets = {"their targets": x} if data.spec.pairs_in(data.last_split) else {}
    said = f"{counted(few, 'source')} and their translations"
    caption = f"Sources of {shown_data(run)}, column by column." if look.columns > 1 else f"Of {shown_data(run)}."
    if data.spec.image_shape == sources.spec.image_shape and data.spec.num_features == sources.spec.num_features:
        yield look.rows({"sources": s, "translations": there, **targets, **again}, said, caption)
        return
    yield look_of(sources).rows({"sources": s, **again}, f"{counted(few, 'source')}", caption)
    yield look.rows({"translations": there, **targets}, said, caption)


@pictured("Reconstructions", applies=lambda run: run.pair.reconstructs or not (run.pair.implicit or run.pair.states_x))
def reconstructed_data(run: Run) -> Iterator[Figure]:
    """Data that were held out, or what there is, and what the pair makes of them."""
    look = look_of(run.data)
    num = min(look.compared, len(run.data.shown[0])) // look.columns * look.columns
    batch = take_rows(run.data.shown, slice(num))
    again = reconstructions(run.pair, batch)
    yield look.pairs(
        batch[0],
        again.mean,
        f"{num} {shown_data(run)} and their reconstructions.",
        f"{shown_data(run).capitalize()}, and with each {again.of_mean}.",
    )
