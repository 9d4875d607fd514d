"""Which processor this is."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

__all__ = ["processor"]

_CPUINFO = Path("/proc/cpuinfo")
_TOLD = ("model name", "cpu family", "model")


@cache
def processor() -> str:
    """Its name, family and model, as far as the system tells: ``AMD EPYC, family 25, model 1``."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if not all(told.get(key) for key in _TOLD):
        return platform.processor() or platform.machine()
    name, family, model = (told[key] for key in _TOLD)
    return f"{name}, family {family}, model {model}"
