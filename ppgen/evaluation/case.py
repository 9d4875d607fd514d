"""What a measure or a question may look at: a pair, the data it is held against, and how much is to be spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Number
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ppgen.arguments import Count, Positive
from ppgen.chains.enough import BUDGET
from ppgen.chains.evidence import Budget
from ppgen.chains.log_z import LogZ
from ppgen.chains.log_z import log_z as estimate_log_z
from ppgen.data import Dataset, as_dataset
from ppgen.draws.samples import prior_samples
from ppgen.errors import UsageError, shown
from ppgen.evaluation.bounds import bounds
from ppgen.evaluation.judge import Judge
from ppgen.machine.progress import track
from ppgen.machine.seeds import derived
from ppgen.pairs.log_weights import read_particles
from ppgen.pairs.looking import goes_apart, looked_at, seeded
from ppgen.pairs.mixing import settled_log_w
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import num_rows, rows_or_all, take_rows
from ppgen.pairs.tracing import Batch, Particles

__all__ = ["AT_ONCE", "Annealing", "Arguments", "Case", "data_or_arguments", "num_data_within"]

_CHUNK = 500
"""Draws made at a time."""

AT_ONCE = 10_000
"""Data of a split on disk that are a batch in memory, at most."""


@dataclass(frozen=True, eq=False)
class Arguments:
    """The arguments of a model where they are no columns of a data set (numbers, None, lists, packed sequences, none at
    all): one batch, which is both what the guide was trained on and what is looked at."""

    batch: Batch

    modes: ClassVar[None] = None
    last_split: ClassVar[str] = "train"

    def rows(self, split: str, rows: slice = slice(None)) -> Batch:
        """The arguments; of their data the ``rows``, where a part of them can be given alone.

        Raises:
            UsageError: another split than ``train`` is asked for.
        """
        if split != self.last_split:
            raise UsageError(
                f"the arguments of a model that are no columns of a data set are one split, 'train', and "
                f"{shown(split)} was asked for: leave split out."
            )
        return rows_or_all(self.batch, rows)

    def size(self, split: str) -> int:
        """How many data they hold; 1 where no tensor has rows."""
        return num_rows(self.rows(split))

    def draw(self, batch: Batch) -> Batch:
        """The batch: nothing in it is drawn anew."""
        return batch


def num_data_within(most: int, split: str, asked: int) -> int:
    """How many of a split's data are to be looked at, where a number was asked for.

    Raises:
        UsageError: an error bar needs 2, or the split has fewer.
    """
    if not 2 <= asked <= most:
        raise UsageError(f"num_data must lie between 2 and {most} (the data in {shown(split)}), got {shown(asked)}.")
    return asked


def data_or_arguments(given: Any) -> Dataset | Arguments:
    """A tuple that holds anything but columns is the model's arguments, in which tensors of the data's leading size
    alone are data; everything else is data as :func:`ppgen.fit` takes them."""
    return Arguments(given) if isinstance(given, tuple) and not _are_columns(given) else as_dataset(given)


def _are_columns(given: tuple[Any, ...]) -> bool:
    tensors = [part for part in given if torch.is_tensor(part) and not isinstance(part, PackedSequence)]
    if any(not part.dim() for part in tensors) or len({len(part) for part in tensors}) > 1:
        return False
    return bool(given) and not any(_is_no_column(part) for part in given)


def _is_no_column(part: Any) -> bool:
    if isinstance(part, list):
        return any(torch.is_tensor(entry) or entry is None for entry in part)
    return part is None or isinstance(part, Number | str | dict | tuple)


@dataclass(frozen=True, kw_only=True)
class Annealing(Budget):
    """What log p(x) by annealing of the latents may cost, and of a pair without a density what noise it is given.

    The time goes with (num_data + 2 num_simulated) x num_chains x num_powers x num_leapfrogs, gradients of p(x, z) all.

    Args:
        num_powers, num_chains, num_leapfrogs: as of :class:`ppgen.chains.evidence.Budget`.
        num_data: the first so many data of the split.
        num_simulated: of that many, which the model makes in their place, the gap to a bound from above is the mean; at
            most ``num_data``.
        noise: sigma of p(x | z) = N(G(z), sigma^2 I), in the units of x, for a pair that states none; it is a part of
            the number.

    Raises:
        UsageError: a number is not positive.

    >>> Annealing(noise=0.1).noise
    0.1
    """

    num_powers: Count = 1000
    num_chains: Count = 8
    num_leapfrogs: Count = 10
    num_data: Annotated[int, Ge(2)] = 30
    num_simulated: Annotated[int, Ge(2)] = 10
    noise: Positive | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """A pair under evaluation or diagnosis.

    A question arises by what a pair is capable of: ``pair.has_weights``, ``pair.has_density``,
    ``pair.has_approximate_guide``, and :attr:`local_latents`, :attr:`global_latents`, :attr:`discrete` here. A question
    may spend less than ``num_data`` and ``num_particles`` where it is expensive; it says how much in its meaning.

    Args:
        pair: trained or not, on the data's device.
        data: whose ``split`` is looked at, or the arguments of the model, which are one batch.
        split: its name.
        batch: that split, or as many of its first data as were asked for, as one batch; drawn once where it is dynamic.
            Of a split on disk no more than :data:`AT_ONCE`; :meth:`parts` has them all.
        num_particles: K of whatever is a function of log-weights.
        seed: seeds all draws.
        progress: show progress bars.
        num_samples: draws of the model to be made for the measures that read them; 0: such measures do not apply.
        chains: where the persistent chains of an energy-based pair stand, (M, D); None: there are none.
        asked: how many data were asked for, where the batch is the first of them; None: it has them all.
        labelled: the same data with labels, for the measures that read labels; None: such measures do not apply.
        judge: a classifier of samples, for the measures that ask one; None: such measures do not apply.
        annealing: what annealing of the latents may cost, for log p(x) by it; None: it is not asked for.
        asked_log_z: log Z of an unnormalised pair, or options of :func:`ppgen.log_z`.

    >>> import ppgen
    >>> pair, data = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), as_dataset(torch.zeros(7, 3))
    >>> case = Case(pair, data, "train", data.rows("train"), num_particles=5, seed=0, progress=False)
    >>> case.log_w.shape, case.local_latents
    (torch.Size([5, 7]), ['z'])
    """

    pair: Pair
    data: Dataset | Arguments
    split: str
    batch: Batch
    num_particles: int
    seed: int
    progress: bool
    num_samples: int = 0
    chains: Tensor | None = None
    asked: int | None = None
    labelled: Dataset | None = None
    judge: Judge | None = None
    annealing: Annealing | None = None
    asked_log_z: LogZ | Mapping[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> Dataset:
        """The data.

        Raises:
            UsageError: they are the arguments of a model.
        """
        if isinstance(self.data, Arguments):
            raise UsageError(
                "samples are held against training data and fresh data, and only arguments of the model were given: "
                "give tensors with a row for each datum."
            )
        return self.data

    @cached_property
    def bounds(self) -> dict[int, Tensor]:
        """The bound of every datum by the number of particles (:func:`ppgen.evaluation.bounds.bounds`), made once."""
        each = [bounds(self.pair, part, self.num_particles, progress=self.progress) for part in self.parts()]
        return {size: torch.cat([found[size] for found in each]) for size in each[0]}

    @cached_property
    def log_z(self) -> LogZ | None:
        """Of an unnormalised pair, at the sizes of all data that were asked for, estimated once; None: normalised."""
        if not self.pair.needs_log_z:
            return None
        if isinstance(self.asked_log_z, LogZ):
            return self.asked_log_z
        options = {"seed": self.seed, "progress": self.progress, **self.asked_log_z}
        if not {"num_temperatures", "num_chains"} & options.keys():
            options.setdefault("budget", BUDGET)
        return estimate_log_z(self.pair, sizes=self._sizes, **options)

    @cached_property
    def log_likelihoods(self) -> dict[int, Tensor]:
        """As :attr:`bounds`, less each datum's log Z."""
        if self.log_z is None:
            return self.bounds
        log_z = self.log_z.of(self._sizes)
        return {num: values - log_z for num, values in self.bounds.items()}

    @cached_property
    def _sizes(self) -> Tensor | None:
        """Of all data, where they do not all have the log Z of what the pair draws."""
        each = [self.pair.log_z_sizes(part[0]) for part in self.parts()]
        known = [sizes for sizes in each if sizes is not None]
        return None if not known or self.pair.are_usual(torch.cat(known)) else torch.cat(known)

    def parts(self) -> Iterator[Batch]:
        """All data that were asked for: the batch, then as many at a time of what is left on disk.

        Raises:
            UsageError: there is more than the batch, and the data can be given together only.
        """
        yield self.batch
        rest = range(self.num_data, self.asked or 0, self.num_data)
        if rest:
            self.check_divisible("an evaluation of data on disk, some at a time,")
        for start in rest:
            rows = slice(start, min(start + self.num_data, rest.stop))
            yield self.dataset.draw(self.dataset.rows(self.split, rows))

    @cached_property
    def samples(self) -> Tensor:
        """Draws of the model, (num_samples, D), made once; where there are labels, at those of the batch in turn."""
        draws = []
        for start in track(range(0, self.num_samples, _CHUNK), "samples", self.progress):
            rows = torch.arange(start, min(start + _CHUNK, self.num_samples), device=self.batch[0].device)
            batch = take_rows(self.batch, rows % num_rows(self.batch))
            draws.append(prior_samples(self.pair, batch, len(rows), seed=derived(self.seed, start)).x)
        return torch.cat(draws)

    def first(self, num: int) -> Batch:
        """The first ``num`` data, or all where a part of them cannot be given alone."""
        return take_rows(self.batch, slice(num)) if self.divisible else self.batch

    @cached_property
    def divisible(self) -> bool:
        """Whether some of the data can be given alone."""
        return goes_apart(self.pair, self.batch)

    def check_divisible(self, needed_by: str) -> None:
        """Refuse what takes a few data at a time.

        Raises:
            UsageError: the data can be given together only.
        """
        if not self.divisible:
            why = (
                "the pair has no data plate around its latents"
                if self.one.plate is None
                else "its guide has parameters for each datum, or its arguments are no columns"
            )
            raise UsageError(f"{needed_by} is for each datum, and the data go together here: {why}.")

    @property
    def num_data(self) -> int:
        """How many data are in the batch."""
        return num_rows(self.batch)

    @cached_property
    def log_w(self) -> Tensor:
        """The log-weights of each datum, (K, B), float64, nats; made once. They may be NaN or infinite.

        A latent outside the data plate is drawn anew for every particle, and a datum's weights are given it
        (:func:`ppgen.pairs.log_weights.log_weight_chunks`). Not to be asked of an implicit pair.
        """
        with seeded(self.seed):
            blocks = [*read_particles(self.pair, self.batch, self.num_particles, settled_log_w, progress=self.progress)]
        return torch.cat([torch.cat(block) for block in blocks], dim=1).double()

    @cached_property
    def one(self) -> Particles:
        """One particle of the first two data, to see which sites the pair has. Not to be asked of an implicit pair."""
        return self._of_two_data(1)

    @property
    def local_latents(self) -> list[str]:
        """Names of the latents that belong to a datum, in the guide's order."""
        return self.one.latents

    @property
    def global_latents(self) -> list[str]:
        """Names of the latents that belong to the whole data set."""
        return self.one.global_latents

    @property
    def discrete(self) -> list[str]:
        """Those of the latents of a datum whose values are discrete."""
        return [name for name in self.local_latents if self.one.guide_sites[name]["fn"].support.is_discrete]

    def check_spread(self, latents: list[str]) -> None:
        """Refuse a guide that holds a continuous latent at one point (AutoDelta): its equal weights tell nothing.

        Raises:
            UsageError: it does hold one of ``latents`` so; the latent is named.
        """
        sites = self._of_two_data(2).guide_sites
        for name in latents:
            value = sites[name]["value"]  # (2, ...)
            if not sites[name]["fn"].support.is_discrete and torch.equal(value[0], value[-1]):
                raise UsageError(
                    f"the guide holds {shown(name)} at one point, which has no density and is no posterior: give it a "
                    "distribution with a scale (AutoNormal, where it is AutoDelta)."
                )

    def check_all_data(self) -> None:
        """Refuse to weigh latents of the whole data set by a part of the data that they were inferred from.

        Raises:
            UsageError: the data are the first of several parts.
        """
        if isinstance(self.data, Dataset) and self.data.beside:
            raise UsageError(
                f"latents of the whole data set are weighed by all training data, and {shown(self.data.spec.name)} is "
                f"one of {len(self.data.parts)} parts, whose batches took turns: weigh them by hand, by "
                "ppgen.log_weights of each part."
            )

    def _of_two_data(self, num_particles: int) -> Particles:
        return looked_at(self.pair, self.first(2), num_particles, self.seed)
