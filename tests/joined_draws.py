"""The random numbers of several ranks in one process: each draw is made of theirs, side by side along the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ppgen.machine.ranks import Ranks

__all__ = ["JoinedDraws"]


class JoinedDraws(TorchDispatchMode):
    """Within it every random operator draws, for each rank, from that rank's numbers what it draws for its rows.

    Args:
        states: of the ranks' generators; they go on here.
        sizes: of the axes that are divided among the ranks: data in a batch, chains.
    """

    def __init__(self, states: Sequence[Tensor], sizes: Sequence[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.states, self.sizes = list(states), sizes
        self.drawn = 0
        """Operators that drew for several ranks."""

    def by_each(self, function: Callable[[int], None]) -> Callable[[int], None]:
        """What every rank does as a whole, from its own numbers; what the first has done is left."""

        def called(number: int) -> None:
            for rank in reversed(range(len(self.states))):
                torch.set_rng_state(self.states[rank])
                with _disable_current_modes():
                    function(number)
                self.states[rank] = torch.get_rng_state()

        return called

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_own = any(isinstance(given, torch.Generator) for given in (*args, *kwargs.values()))  # a permutation's
        if is_own or torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        is_in_place = func._schema.name.endswith("_")
        shape = args[0].shape if is_in_place else func(*args, **kwargs).shape
        axis = next(at for at in reversed(range(len(shape))) if shape[at] in self.sizes)
        pieces = []
        for rank, state in enumerate(self.states):
            start, end = Ranks(rank, len(self.states)).span(shape[axis])
            own = [*shape[:axis], end - start, *shape[axis + 1 :]]

            def part(
                given: Any, start: int = start, end: int = end, own: list[int] = own
            ) -> Any:  # of a tensor, or of a shape
                if isinstance(given, Tensor):
                    at = axis - len(shape) + given.dim()
                    fits = at >= 0 and given.shape[at] == shape[axis]
                    return given.narrow(at, start, end - start).contiguous() if fits else given
                return own if isinstance(given, list | tuple) and list(given) == list(shape) else given

            torch.set_rng_state(state)
            mapped, options = ([part(given) for given in args], pytree.tree_map_only(Tensor, part, kwargs))
            pieces.append(func(*mapped, **options))
            self.states[rank] = torch.get_rng_state()
        self.drawn += 1
        joined = torch.cat(pieces, axis)
        return args[0].copy_(joined) if is_in_place else joined
