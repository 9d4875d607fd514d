"""Rules of what may not touch: a datum and its batch, a particle and the others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ppgen.errors import blame, first_sentence
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import num_rows
from ppgen.pairs.sites import Site, data_frame, unscaled
from ppgen.pairs.stacking import log_prob_of
from ppgen.pairs.summation import is_absorbed
from ppgen.pairs.tracing import Batch, Particles, divides
from ppgen.pairs.transformed import NO_INVERSE
from ppgen.testing.agreement import apart, close
from ppgen.testing.checks import CheckFailed, NotApplicable, pair_check
from ppgen.testing.sandbox import latents_of, particles, rows, unlike

__all__ = ["check_batch_independence", "check_batch_sizes", "check_particle_independence", "part_of", "without_inverse"]


@pair_check("the pair runs on batches of any size")
def check_batch_sizes(pair: Pair, batch: Batch) -> None:
    """One datum alone, and all but one, run as the whole batch does (in ``eval()``)."""
    size = _divisible(pair, batch)
    pair.eval()
    for part in sorted({1, size - 1}):
        try:
            particles(pair, rows(batch, torch.arange(part)), unlike(part))
        except Exception as error:
            raise CheckFailed(
                f"runs on {size} data, and on {part} raises {type(error).__name__}: {first_sentence(error)}",
                where=blame(error, "the pair"),
                advice="take the number of data from the batch (len(x)), and declare the dimensions of one datum with "
                ".to_event()",
            ) from error


@pair_check("what a datum is given depends on that datum alone")
def check_batch_independence(pair: Pair, batch: Batch) -> None:
    """log p and log q of datum i, at the same latents, are the same whoever shares its batch (in ``eval()``)."""
    size = _divisible(pair, batch)
    pair.eval()
    difference = _difference(pair, batch, unlike(size))
    if difference is None:
        return
    what, where = difference
    if _difference(pair, batch, 1) is None:
        raise CheckFailed(
            f"{what}; the cause is the particles: with one alone it stays",
            where=where,
            advice="latents come as (K, B, ...): count dimensions from the right, or say vectorized = False",
        )
    raise CheckFailed(
        f"{what}; the cause is the data: one particle alone shows it",
        where=where,
        advice="compute what belongs to a datum from its own row: no mean, softmax or normalisation over the dimension "
        "of the data",
    )


def _difference(pair: Pair, batch: Batch, num_particles: int) -> tuple[str, str] | None:
    """What changes with a datum's company, and at which site; None: nothing."""
    whole = particles(pair, batch, num_particles)
    given = [*pair.parameters(), *pair.buffers(), *batch]
    for how, index in _companies(num_rows(batch)):
        part = part_of(pair, whole, index)
        for kind, name, before, after in _paired(whole, part):
            agree = close(after, before[:, index], given=given)  # (K, b)
            if not agree.all():
                place = int((~agree).any(0).nonzero()[0])
                change = apart(after[:, place], before[:, index[place]])
                what = f"its log-probability at datum {int(index[place])} changes by {change:.2g} nats when {how}"
                return what, f"site {name!r} of the {kind}"
    return None


@pair_check("a particle's log-weight depends on that particle alone")
def check_particle_independence(pair: Pair, batch: Batch) -> None:
    """log p and log q of particle k, at the same latents, are the same with one particle or many (in ``eval()``)."""
    given = [*pair.parameters(), *pair.buffers(), *batch]
    pair.eval()
    whole = particles(pair, batch, unlike(num_rows(batch)))
    if not whole.runner.together:
        raise NotApplicable(f"particles are run one after another ({whole.runner.apart})")
    for particle in range(whole.num_particles):
        index = torch.tensor([particle])
        part = particles(pair, batch, 1, latents_of(whole, particle=index))
        for kind, name, before, after in _paired(whole, part):
            if not close(after, before[index], given=given).all():
                raise CheckFailed(
                    f"its log-probability at particle {particle} changes by "
                    f"{apart(after, before[index]):.2g} nats when the other particles leave",
                    where=f"site {name!r} of the {kind}",
                    advice="latents come as (K, B, ...): reduce and index dimensions from the right",
                )


def part_of(pair: Pair, whole: Particles, index: Tensor) -> Particles:
    """The run again, on the data at ``index`` alone and with their latents."""
    try:
        return particles(pair, rows(whole.batch, index), whole.num_particles, latents_of(whole, data=index))
    except Exception as error:
        raise NotApplicable("cannot be judged until check_batch_sizes holds", where=blame(error)) from error


def without_inverse(where: str) -> NotApplicable:
    """What to raise where a value is given that such a flow did not draw."""
    return NotApplicable(
        "it is drawn by a transform without inverse, and cannot be scored at given values", where=where
    )


def _divisible(pair: Pair, batch: Batch) -> int:
    """The size of a batch of which parts may be given to the pair."""
    size = num_rows(batch)
    if size < 2:
        raise NotApplicable("the batch has one datum; give at least two")
    one = particles(pair, batch, 1)
    if one.plate is None:
        raise NotApplicable("all data together are one datum")
    if not divides(one):
        raise NotApplicable(
            "the guide has parameters for each datum, or an argument holds data: a batch is all of them"
        )
    return size


def _companies(size: int) -> list[tuple[str, Tensor]]:
    """Ways to choose data of the batch anew; each datum has other company in at least one of them."""
    return [
        ("the batch is reversed", torch.arange(size).flip(0)),
        ("the second half leaves the batch", torch.arange((size + 1) // 2)),
        ("the first half leaves the batch", torch.arange(size // 2, size)),
        ("each datum is given a copy of itself", torch.arange(size) // 2),
    ]


def _paired(whole: Particles, part: Particles) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Kind, name, and log-probabilities (K, B) of every site inside the data plate, in both runs."""
    for kind in ("guide", "model"):
        before, after = (getattr(run, f"{kind}_sites") for run in (whole, part))
        for name, site in before.items():
            if data_frame(site, whole.plate) is not None and not is_absorbed(site):
                yield kind, name, _unscaled(whole, site), _unscaled(part, after[name])


def _unscaled(run: Particles, site: Site) -> Tensor:
    """The site's log-probability (K, B) without any scale: what a scale may do is another rule's."""
    frame = data_frame(site, run.plate)
    assert frame is not None
    try:
        log_prob = log_prob_of(site)
    except NO_INVERSE as error:
        raise without_inverse(f"site {site['name']!r}") from error
    return run.reduced(unscaled(site, run.plate), log_prob).detach().expand(run.num_particles, frame.size)
