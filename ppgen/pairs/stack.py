"""Pairs of several parts, which learn one after another as small pairs of their own.

The levels of a pyramid of pictures are such parts, and the *machines* of a stack of layers. A machine is an
energy-based pair of two neighbouring layers. What it learns from is the layer below it, inferred from data by the
machines that have learnt already (Hinton, Osindero and Teh 2006).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor, nn

from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import owner_of_kind
from ppgen.pairs.running import Batch

__all__ = [
    "Directed",
    "DirectedStack",
    "PartByPart",
    "Pyramid",
    "Stack",
    "directed_layers",
    "part_by_part",
    "pyramid_of",
    "stack_of",
]


class PartByPart(Pair):
    """A pair whose parts are pairs of their own, each of which is shown something else of a datum.

    To add one: 1. make the parts in ``__init__``; 2. write :meth:`shown_to`; 3. train it with an objective that has a
    stage for each part, of :class:`ppgen.objectives.staged.OfPart`.
    """

    machines: nn.ModuleList
    """The parts, in the order in which they learn."""

    @abstractmethod
    def shown_to(self, number: int, batch: Batch, *, sample: bool) -> Batch:
        """What part ``number`` (0, 1, ...) learns from, of a batch of data, without gradient.

        Args:
            number: of the part.
            batch: of data; (x, y) where there are labels.
            sample: where it is inferred, by draws; False: by their means.
        """

    def settle(self, number: int) -> None:
        """What the pair does once part ``number`` has learnt: copies what is not tied, starts the next from it."""


class Pyramid(PartByPart):
    """A pair of several levels, each a generator of what is missing at it given what is below, and judged by draws."""


class Stack(PartByPart):
    """A pair that is trained layer by layer.

    A machine's parameters are the pair's own where the two are the same: registered with the pair first, under their
    public names (``weight_1``), and with the machine too.

    To add one: 1. make the machines in ``__init__`` and tie their parameters; 2. write the two methods below; 3. train
    it with ``"greedy, ..."``.
    """

    machines: nn.ModuleList
    """Of energy-based pairs, from below; each is shown the layer below it, inferred from the batch."""


class Directed(Pair):
    """A pair whose lower layers are directed: recognised upwards by the guide, dreamt downwards from the top."""

    @abstractmethod
    def ascend(self, batch: Batch) -> dict[str, Tensor]:
        """A draw of the guide's latents at a batch, by site, (B, ...) each, without gradient."""

    @abstractmethod
    def state_of(self, latents: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Of a batch's latents, the state of a chain on top, (B, S)."""

    @abstractmethod
    def descend(self, s: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        """A draw of the model below states of chains, (M, S): data, and the latents that they came from."""


class DirectedStack(Stack, Directed, EnergyPair):
    """A stack of directed layers below its last machine, whose chains, path and log Z are the pair's.

    What lies below the machine on top is normalised, so that log Z is that machine's.
    """

    @property
    def top(self) -> EnergyPair:
        """The machine on top."""
        machine: Any = self.machines[-1]
        return cast(EnergyPair, machine)

    @property
    def has_own_state(self) -> bool:
        return True

    def visible(self, s: Tensor) -> Tensor:
        found: Tensor = self.descend(s)[0][0]
        return found

    def sweep(self, s: Tensor) -> Tensor:
        return self.top.sweep(s)

    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        return self.top.log_tempered(s, b)

    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        return self.top.tempered_sweep(s, b)

    def base_sample(self, num: int) -> Tensor:
        return self.top.base_sample(num)

    def base_log_z(self) -> Tensor:
        return self.top.base_log_z()

    def exact_log_z(self) -> Tensor:
        return self.top.exact_log_z()


def stack_of(model: Callable[..., Any] | nn.Module, needed_by: str) -> Stack:
    """The stack that a program's model belongs to, or that is given itself.

    Raises:
        UsageError: it belongs to none.
    """
    return owner_of_kind(
        model,
        Stack,  # type: ignore[type-abstract]
        f"{needed_by} trains a pair of several layers one after another",
        "choose another objective, or a model such as 'dbn' (your own: derive it from ppgen.pairs.stack.Stack)",
    )


def pyramid_of(model: Callable[..., Any] | nn.Module, needed_by: str) -> Pyramid:
    """The pyramid that a program's model belongs to, or that is given itself.

    Raises:
        UsageError: it belongs to none.
    """
    return owner_of_kind(
        model,
        Pyramid,  # type: ignore[type-abstract]
        f"{needed_by} trains a pair of several levels one after another",
        "choose another objective, or a model such as 'lapgan' (your own: derive it from ppgen.pairs.stack.Pyramid)",
    )


def part_by_part(model: Callable[..., Any] | nn.Module, needed_by: str) -> PartByPart:
    """The pair of several parts that a program's model belongs to.

    Raises:
        UsageError: it belongs to none.
    """
    return owner_of_kind(
        model,
        PartByPart,  # type: ignore[type-abstract]
        f"{needed_by} trains a part of a pair of several",
        "take a stage of an objective with the pair that it was made for",
    )


def directed_layers(model: Callable[..., Any], needed_by: str) -> Directed:
    """The pair with directed layers that a program's model belongs to.

    Raises:
        UsageError: it belongs to none.
    """
    return owner_of_kind(
        model,
        Directed,  # type: ignore[type-abstract]
        f"{needed_by} needs directed layers below an energy-based machine",
        "choose another objective, or a model such as 'dbn' (your own: derive it from ppgen.pairs.stack.Directed)",
    )
