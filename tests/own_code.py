"""What executing a file of the user's own leaves in a process is taken back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppgen.registry import DATA, MODELS, OBJECTIVES
from ppgen.user_code import _EXECUTED

__all__ = ["own_code_forgotten"]


@contextmanager
def own_code_forgotten() -> Iterator[None]:
    """After it, ``sys.path``, the modules and what is registered are as they were."""
    path, executed = [*sys.path], dict(_EXECUTED)
    entries = [(registry, dict(registry._specs)) for registry in (MODELS, OBJECTIVES, DATA)]
    try:
        yield
    finally:
        folders = {*sys.path} - {*path}
        places = {name: str(getattr(module, "__file__", None)) for name, module in sys.modules.items()}
        for name in (name for name, place in places.items() if str(Path(place).parent) in folders):
            del sys.modules[name]
        sys.path[:] = path
        _EXECUTED.clear()
        _EXECUTED.update(executed)
        for registry, specs in entries:
            registry._specs = specs
