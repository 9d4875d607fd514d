"""Which device to use."""

from __future__ import annotations

import torch

from ppgen.errors import UsageError, option, shown
from ppgen.machine.ranks import local_rank

__all__ = ["choose_device"]


def choose_device(name: str) -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ...; a rank's ``cuda`` is the one of its own.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"expected a device (auto, cpu, cuda), got {shown(name)}.") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"expected a device (auto, cpu, cuda), got {shown(name)}.")
    if device.type == "cuda" and not torch.cuda.is_available():
        other = option("device", "cpu")
        raise UsageError(f"device {shown(name)} was asked for, but torch sees no GPU here: use {other}.")
    local = local_rank()
    if device.type == "cuda" and local is not None:
        if device.index not in (None, local):
            raise UsageError(
                f"device {shown(name)} is not that of local rank {local}: say cuda, which is cuda:{local}."
            )
        device = torch.device("cuda", local)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UsageError(
            f"device {shown(str(device))} was asked for; torch sees {count} here: the last is cuda:{count - 1}."
        )
    return device
