"""What a question may look at: a pair, the data it is asked about, and how much is to be spent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ppgen.data import Dataset
from ppgen.errors import UsageError
from ppgen.pair import Pair
from ppgen.parameters import in_evaluation, isolated
from ppgen.rows import num_rows, take_rows
from ppgen.tracing import Batch, Particles, Program, run_particles
from ppgen.weights import read_particles

__all__ = ["Case"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """A pair under diagnosis.

    A question arises by what a pair is capable of: ``pair.implicit``, ``pair.normalised``, ``pair.exact_guide``, and
    :attr:`local_latents`, :attr:`global_latents`, :attr:`discrete` here. A question may spend less than ``num_data``
    and ``num_particles`` where it is expensive; it says how much in its meaning.

    Args:
        pair: trained or not, on the data's device.
        data: whose ``split`` is looked at.
        split: its name.
        batch: the first ``num_data`` data of that split, as one batch; drawn once where it is dynamic.
        num_particles: K of whatever is a function of log-weights.
        seed: of all draws.
        progress: show progress bars.
        chains: where the persistent chains of an energy-based pair stand, (M, D); None: there are none.
    """

    pair: Pair
    data: Dataset
    split: str
    batch: Batch
    num_particles: int
    seed: int
    progress: bool
    chains: Tensor | None = None

    @property
    def num_data(self) -> int:
        """How many data are in the batch."""
        return num_rows(self.batch)

    @cached_property
    def log_w(self) -> Tensor:
        """The log-weights of each datum, (K, B), float64, nats; made once. They may be NaN or infinite.

        A latent outside the data plate is drawn anew for every particle, and a datum's weights are given it
        (:func:`ppgen.weights.log_weight_chunks`). Not to be asked of an implicit pair.
        """
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            blocks = [*read_particles(self.pair, self.batch, self.num_particles, _log_w, progress=self.progress)]
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
        return [] if self.one.outside is None else self.one.outside.latents

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
                    f"the guide holds {name!r} at one point, which has no density and is no posterior: give it a "
                    "distribution with a scale (AutoNormal, where it is AutoDelta)."
                )

    def check_all_data(self) -> None:
        """Refuse to weigh latents of the whole data set by a part of the data that they were inferred from.

        Raises:
            UsageError: the data are the first of several parts.
        """
        if self.data.beside:
            raise UsageError(
                f"latents of the whole data set are weighed by all training data, and {self.data.spec.name!r} is one "
                f"of {len(self.data.parts)} parts, whose batches took turns: weigh them by hand, by ppgen.log_weights "
                "of each part."
            )

    def _of_two_data(self, num_particles: int) -> Particles:
        few = take_rows(self.batch, slice(2))
        self.pair.prepare(*few)
        with torch.no_grad(), isolated(), torch.random.fork_rng(), in_evaluation(self.pair):
            return run_particles(Program(self.pair.model, self.pair.guide), few, num_particles)


def _log_w(particles: Particles) -> Tensor:
    return particles.log_w
