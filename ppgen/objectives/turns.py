"""Turns of a training: who moves, what one evaluation of a loss gives, and what is carried from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from torch import Tensor

__all__ = ["AVERAGED", "Outcome", "Player", "State"]

State: TypeAlias = Mapping[str, Tensor]
"""What a step hands to the next: persistent chains, moving averages. Tensors in, tensors out, checkpointed as such."""


AVERAGED: Mapping[str, int] = MappingProxyType({})
"""The :attr:`Objective.shards` of one that carries averages alone."""


@dataclass(frozen=True)
class Player:
    """A set of parameters with its own loss; ``owns`` are whole names or prefixes: ``"pair."``, ``"objective."``, or
    ``""`` for all. A player who owns none moves nothing by a gradient: its :class:`Outcome` assigns.

    >>> import ppgen
    >>> for player in ppgen.inference.WassersteinGP(critic_steps=3).players():
    ...     print(player.name, player.owns, player.steps)
    critic ('objective.',) 3
    generator ('pair.',) 1
    """

    name: str
    owns: tuple[str, ...] = ("",)
    steps: int = 1
    """Steps in one turn, each on a batch of its own."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the gradient's first and second moments (Kingma and Ba 2015)."""
    rate: float = 1.0
    """Its learning rate over that of the run."""
    but: tuple[str, ...] = ()
    """Names or prefixes of what it does not own of that, another player's."""
    bound: float | None = None
    """Its parameters are put back into [-bound, bound] after each of its steps; None: they go where they go."""


@dataclass(frozen=True)
class Outcome:
    """What one evaluation of a player's loss gives.

    >>> import ppgen, torch
    >>> from ppgen.pairs import Program
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real", num_data=100))
    >>> outcome = ppgen.inference.ELBO().play("all", Program(pair.model, pair.guide), (torch.zeros(4, 3),), {})
    >>> outcome.num_data, torch.allclose(outcome.loss / outcome.num_data, -outcome.metrics["bound"])
    (100.0, True)
    """

    loss: Tensor
    """Scalar, in nats, to be minimised: summed over the data it stands for."""
    num_data: float = 1.0
    """How many data the loss stands for (B times the plate's scale N / B): loss / num_data is per datum."""
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars to report, per datum, e.g. ``bound`` in nats."""
    state: State = field(default_factory=dict)
    assigned: Mapping[str, Tensor] = field(default_factory=dict)
    """Parameters of the pair, by name, that are set to these values, as a closed form gives them."""
