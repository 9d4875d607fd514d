"""What every logger does: the run's configuration at its start, the numbers of each report, and an orderly end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ppgen.errors import UsageError
from ppgen.training.callbacks import Callback, Training

__all__ = ["Logger", "flat"]


class Logger(Callback):
    """Writes each report's numbers, as ``train/loss`` and ``valid/bound``, by a library that is loaded when needed.

    Args:
        folder: for the library's files; None: one of the logger's name in the run's directory.

    To write one: derive from this, name the library and its extra, and give ``open``, ``write`` and ``close``.

    Raises:
        UsageError: the library is not installed; when training begins: there is no folder.
    """

    name: ClassVar[str]
    """As ``ppgen train --log`` and the extra have it."""
    library: ClassVar[str]
    """To import."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        if find_spec(self.library) is None:
            extra = f"pip install 'ppgen[{self.name}]'"
            raise UsageError(f"the logger {self.name} needs {self.library}, which is not installed: {extra}.")

    def at_start(self, training: Training) -> None:
        """Open the library's files.

        Raises:
            UsageError: neither the run nor the logger has a folder.
        """
        folder = self.folder or (training.directory and training.directory / self.name)
        if folder is None:
            raise UsageError(f"no folder for its files: fit with out=..., or give {type(self).__name__} a folder.")
        folder.mkdir(parents=True, exist_ok=True)
        self.open(folder.absolute(), training)

    def after_validation(self, training: Training, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Write the numbers of a report."""
        numbers = {f"{split}/{name}": value for split, report in metrics.items() for name, value in report.items()}
        self.write(numbers, training.step)

    def at_end(self, training: Training) -> None:
        """Close the library's files."""
        self.close()

    @abstractmethod
    def open(self, folder: Path, training: Training) -> None:
        """Begin, or go on after ``training.step`` steps."""

    @abstractmethod
    def write(self, numbers: Mapping[str, float], step: int) -> None:
        """Write numbers at a step."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left; also where :meth:`open` was never called, or failed."""


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without nesting.

    >>> flat({"model": {"name": "vae", "options": {"hidden": [200, 200]}}, "device": "cpu"})
    {'model.name': 'vae', 'model.options.hidden': [200, 200], 'device': 'cpu'}
    """
    return dict(_leaves("", config))


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield prefix.removesuffix("."), value
        return
    for key, entry in value.items():
        yield from _leaves(f"{prefix}{key}.", entry)
