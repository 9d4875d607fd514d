"""How a run computes on a CPU: by a measurement on the machine at hand, made once, and kept.

Which library computes each matrix product (MKL, or oneDNN: :mod:`ppgen.machine.products`), and whether a step is taken
by all threads or by one (:mod:`ppgen.machine.threads`). Beside Inductor's cache lies a file for each machine
(processor, threads, versions: :func:`machine`) with the times of all that was met on it, so that two runs of one seed
choose alike. What a run has chosen is part of its checkpoint too: the two ways round differently, and a run that goes
on ends with the same bits wherever the file has gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from ppgen.errors import UsageError
from ppgen.files.documents import FORMAT, Document, read_document, to_document
from ppgen.files.writing import write_whole
from ppgen.machine.processor import processor
from ppgen.machine.products import Product, timed
from ppgen.machine.threads import timed_threads
from ppgen.machine.timing import Timing
from ppgen.versions import VERSION

__all__ = ["Choices", "machine"]

BUDGET = 0.3
"""Seconds that a run may spend on measuring; what it meets later goes the usual way (MKL, all threads), for good."""

MARGIN = 0.9
"""Of the usual way's time, what the other must stay below: what is not clearly faster is not worth another rounding."""

_SPEAKS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE")
"""Variables that change what a library takes the processor for; of ATEN_CPU_CAPABILITY torch tells what came of it."""

Microseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Timed(Document):
    usual: Microseconds
    other: Microseconds


class _Kept(Document):
    """What the file holds."""

    machine: dict[str, str]
    timings: dict[str, _Timed | None]


class Choices:
    """Of one run: which products oneDNN computes, and which steps one thread takes; of the same one, always alike.

    Args:
        taken: choices that were made before, by name: whether the other way than the usual one was taken.
    """

    def __init__(self, taken: Mapping[str, bool] | None = None) -> None:
        self.taken = dict(taken or {})
        self._left = BUDGET

    def products(self, products: Iterable[Product]) -> set[Product]:
        """Those of them that oneDNN computes; the largest are measured first."""
        asked = list(products)
        parts = {str(product): product.part for product in asked}
        in_order = sorted(parts, key=lambda name: (-parts[name].work, name))
        other = self._other({name: (str(parts[name]), partial(timed, parts[name])) for name in in_order})
        return {product for product in asked if other[str(product)]}

    def takes_one_thread(self, step: str, call: Callable[[], object]) -> bool:
        """Whether one thread takes the step of that name, of which ``call`` is one."""
        return torch.get_num_threads() > 1 and self._other({step: (step, partial(timed_threads, call))})[step]

    def _other(self, asked: Mapping[str, tuple[str, Callable[[], Timing | None]]]) -> Mapping[str, bool]:
        """Whether the other way is taken; for each name, under which one its times are kept, and how they are had."""
        fresh = {name: entry for name, entry in asked.items() if name not in self.taken}
        if fresh:
            known = self._timings(dict(fresh.values()))
            self.taken |= {name: _is_faster(known[kept]) for name, (kept, _) in fresh.items()}
        return self.taken

    def _timings(self, asked: Mapping[str, Callable[[], Timing | None]]) -> Mapping[str, Timing | None]:
        """From the file, or measured now, in this order; None of what the run has no more time for."""
        file = _file()
        known = _known(file)
        measured: dict[str, Timing | None] = {}
        for name, measure in asked.items():
            if name not in known:
                start = time.perf_counter()
                measured[name] = measure() if self._left > 0 else None
                self._left -= time.perf_counter() - start
        if measured:
            known |= {**measured, **_read(file)}  # what another process has written meanwhile comes first
            _write(file, known)
        return known


def _is_faster(timing: Timing | None) -> bool:
    return timing is not None and timing.other < MARGIN * timing.usual


def machine() -> dict[str, str]:
    """All that the times hang on."""
    found = {
        "processor": processor(),
        "threads": str(torch.get_num_threads()),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "ppgen": VERSION,
    }
    return found | {name: os.environ[name] for name in _SPEAKS if name in os.environ}


def _file() -> Path:
    """The file of this machine, in the folder that Inductor caches in."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # slow to import, and of compiled steps alone

    digest = hashlib.sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:16]
    return Path(cache_dir()) / f"ppgen-choices-{digest}.json"


@cache
def _known(file: Path) -> dict[str, Timing | None]:
    """Times by name, of this process and of those before; a file that is none of ours counts as missing."""
    return _read(file)


def _read(file: Path) -> dict[str, Timing | None]:
    with suppress(UsageError):
        kept = read_document(file, _Kept, "it is made again")
        if kept.machine == machine():
            timings = kept.timings.items()
            return {name: None if entry is None else Timing(entry.usual, entry.other) for name, entry in timings}
    return {}


def _write(file: Path, known: Mapping[str, Timing | None]) -> None:
    """Keep what is known; where the place cannot be written, this process alone knows it."""
    timings = {name: entry and _Timed(usual=entry.usual, other=entry.other) for name, entry in known.items()}
    document = {"format": FORMAT, **to_document(_Kept(machine=machine(), timings=timings))}
    with suppress(UsageError):
        write_whole(file, json.dumps(document, indent=1).encode())
