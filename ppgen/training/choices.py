"""Which library computes each matrix product of a run: measured on the machine at hand, once, and kept.

Beside Inductor's cache lies a file for each machine (processor, threads, versions: :func:`machine`) with the times of
every kind of product that was met on it, so that two runs of one seed choose alike. What a run has chosen is part of
its checkpoint too: the two libraries round differently, and a run that goes on ends with the same bits wherever the
file has gone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from ppgen.errors import UsageError
from ppgen.files.documents import FORMAT, Document, read_document, to_document
from ppgen.files.writing import write_whole
from ppgen.machine.processor import processor
from ppgen.machine.products import Product, Timing, timed
from ppgen.versions import VERSION

__all__ = ["Choices", "machine"]

BUDGET = 0.3
"""Seconds that a run may spend on measuring; a product met later goes to MKL, as Inductor has it, and stays there."""

MARGIN = 0.9
"""Of MKL's time, what oneDNN must stay below: what is not clearly faster is not worth another rounding."""

_SPEAKS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE")
"""Variables that change what a library takes the processor for; of ATEN_CPU_CAPABILITY torch tells what came of it."""

Microseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Timed(Document):
    mkl: Microseconds
    onednn: Microseconds


class _Kept(Document):
    """What the file holds."""

    machine: dict[str, str]
    products: dict[str, _Timed | None]


class Choices:
    """Of one run: which products oneDNN computes; of a product, always the same.

    Args:
        taken: choices that were made before, by the products' names.
    """

    def __init__(self, taken: Mapping[str, bool] | None = None) -> None:
        self.taken = dict(taken or {})
        self._left = BUDGET

    def __call__(self, products: Iterable[Product]) -> set[Product]:
        """Those of them that oneDNN computes."""
        asked = list(products)
        fresh = {str(product): product.part for product in asked if str(product) not in self.taken}
        if fresh:
            known = self._timings(fresh.values())
            self.taken |= {name: _is_faster(known[str(part)]) for name, part in fresh.items()}
        return {product for product in asked if self.taken[str(product)]}

    def _timings(self, parts: Iterable[Product]) -> Mapping[str, Timing | None]:
        """From the file, or measured now, the largest first; None of what the run has no more time for."""
        file = _file()
        known = _known(file)
        missing = {str(part): part for part in parts if str(part) not in known}
        measured: dict[str, Timing | None] = {}
        for name, part in sorted(missing.items(), key=lambda item: (-item[1].work, item[0])):
            start = time.perf_counter()
            measured[name] = timed(part) if self._left > 0 else None
            self._left -= time.perf_counter() - start
        if measured:
            known |= {**measured, **_read(file)}  # what another process has written meanwhile comes first
            _write(file, known)
        return known


def _is_faster(timing: Timing | None) -> bool:
    return timing is not None and timing.onednn < MARGIN * timing.mkl


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
    return Path(cache_dir()) / f"ppgen-products-{digest}.json"


@cache
def _known(file: Path) -> dict[str, Timing | None]:
    """Times by products' names, of this process and of those before; a file that is none of ours counts as missing."""
    return _read(file)


def _read(file: Path) -> dict[str, Timing | None]:
    with suppress(UsageError):
        kept = read_document(file, _Kept, "it is made again")
        if kept.machine == machine():
            timings = kept.products.items()
            return {name: None if entry is None else Timing(entry.mkl, entry.onednn) for name, entry in timings}
    return {}


def _write(file: Path, known: Mapping[str, Timing | None]) -> None:
    """Keep what is known; where the place cannot be written, this process alone knows it."""
    products = {name: entry and _Timed(mkl=entry.mkl, onednn=entry.onednn) for name, entry in known.items()}
    document = {"format": FORMAT, **to_document(_Kept(machine=machine(), products=products))}
    with suppress(UsageError):
        write_whole(file, json.dumps(document, indent=1).encode())
