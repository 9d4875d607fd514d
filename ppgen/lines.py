"""The user's own line: where an error came from, where a site is drawn."""

from __future__ import annotations

import re
import sys
import traceback
from types import FrameType

__all__ = ["blame", "current_line", "first_sentence", "line_of_pair"]


def blame(error: BaseException, otherwise: str = "") -> str:
    """The line that an error came from, as ``my.py:33, `z.item()```: innermost outside torch, Pyro, the engine.

    Where there is none, the innermost one of Pyro or torch's distributions.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    for belongs in (_is_users, _is_pyros):
        found = [(frame, line) for frame, line in frames if belongs(frame)]
        if found:
            return _described(*found[-1])
    return otherwise


def line_of_pair(error: BaseException) -> str:
    """The line of a pair's own code that raised while it was run, as :func:`blame` writes it; empty: none did."""
    frames = list(traceback.walk_tb(error.__traceback__))
    runs = [i for i, (frame, _) in enumerate(frames) if frame.f_globals.get("__name__", "").startswith(_RUN_PAIRS)]
    found = [(frame, line) for frame, line in frames[runs[-1] :] if _is_users(frame)] if runs else []
    return _described(*found[-1]) if found else ""


def current_line() -> str:
    """The user's line that is being run, as :func:`blame` writes it; empty where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_users(frame):
            return _described(frame, frame.f_lineno)
        frame = frame.f_back
    return ""


def first_sentence(error: BaseException) -> str:
    """What an error says, in short, without its full stop."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.split(r"[.!] |\.$| - erroring out", line)[0]


def _described(frame: FrameType, line: int) -> str:
    summary = traceback.StackSummary.extract(iter([(frame, line)]))[0]
    return f"{summary.filename.rsplit('/', 1)[-1]}:{summary.lineno}, `{summary.line}`"


_RUN_PAIRS = ("ppgen.running", "ppgen.structure", "ppgen.draws", "pyro.infer.mcmc")
"""Modules that call a pair's code."""

_MODES = frozenset({"__torch_dispatch__", "__torch_function__"})
"""Methods of whatever stands between a line and its operator: the line is to blame."""


def _is_users(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    if module.startswith("ppgen.models"):
        return True
    generated = frame.f_code.co_filename.startswith("<") or frame.f_code.co_name in _MODES
    return not generated and module.split(".")[0] not in {"contextlib", "functools", "ppgen", "pyro", "torch"}


def _is_pyros(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(("pyro.", "torch.distributions."))
