"""Arguments of a model that are no tensors: None, numbers, lists, packed sequences stay what they are at every call."""

from __future__ import annotations

from typing import Any, final

import torch

from ppgen.pairs.pair import Pair

__all__ = ["of_tensors"]


def of_tensors(pair: Pair, batch: tuple[Any, ...]) -> tuple[Pair, tuple[Any, ...]]:
    """The pair as a function of the tensors among its arguments, and these; the pair itself where all are tensors.

    Its parameters are the pair's own, under ``pair.``.
    """
    if all(map(torch.is_tensor, batch)):
        return pair, batch
    return _OfTensors(pair, batch), tuple(filter(torch.is_tensor, batch))


@final
class _OfTensors(Pair):
    def __init__(self, pair: Pair, batch: tuple[Any, ...]) -> None:
        super().__init__(pair.data_size)
        self.pair = pair
        self.plate_name, self.plate_required = pair.plate_name, pair.plate_required
        self.vectorized = pair.vectorized
        self._constants = {place: part for place, part in enumerate(batch) if not torch.is_tensor(part)}

    def model(self, *batch: Any) -> Any:
        return self.pair.model(*self._filled(batch))

    def guide(self, *batch: Any) -> Any:
        return self.pair.guide(*self._filled(batch))

    def prepare(self, *batch: Any, **options: Any) -> None:
        self.pair.prepare(*self._filled(batch), **options)

    def _filled(self, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
        given = iter(tensors)
        places = range(len(tensors) + len(self._constants))
        return tuple(self._constants[i] if i in self._constants else next(given) for i in places)
