"""Which device to use."""

from __future__ import annotations

import torch

from ppgen.errors import UsageError, shown

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ...

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"expected a device (auto, cpu, cuda), got {shown(name)}.") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"expected a device (auto, cpu, cuda), got {shown(name)}.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {shown(name)} was asked for, but torch sees no GPU here: use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(f"device {shown(name)} was asked for; torch sees {count} here: the last is cuda:{count - 1}.")
    return device
