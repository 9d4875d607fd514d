"""The version of this package, and of what its numbers hang on."""

from __future__ import annotations

import platform

import pyro
import torch

__all__ = ["VERSION", "versions"]

VERSION = "0.1.0"


def versions() -> dict[str, str]:
    """The versions that a run, a comparison and draws are written with."""
    return {
        "ppgen": VERSION,
        "torch": str(torch.__version__),
        "pyro": pyro.__version__,
        "python": platform.python_version(),
    }
