"""Folders of files of one kind, a file a datum: by split and by class, as their sub-folders say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ppgen.data.dataset import SPLITS
from ppgen.errors import UsageError, cut, shown

__all__ = ["Entries", "FileKind"]

Entries: TypeAlias = Sequence[tuple[str, Path]]
"""The class and the file of each datum; of data without classes the class is empty."""


@dataclass(frozen=True)
class FileKind:
    """Files that are known by their suffixes: ``folder/CLASS/*``, or ``folder/train/CLASS/*`` beside ``test``.

    Args:
        name: what they are called, in the plural.
        suffixes: in lower case.
    """

    name: str
    suffixes: tuple[str, ...]

    def lie_in(self, folder: Path) -> bool:
        """Whether some lie in a folder, or up to two folders below it."""
        return any(path.suffix.lower() in self.suffixes for glob in ("*", "*/*", "*/*/*") for path in folder.glob(glob))

    def splits(self, folder: Path) -> dict[str, Entries]:
        """Those of each split that has a folder, or all as train.

        Raises:
            UsageError: there are none, or some lie beside folders of classes.
        """
        own = {split: folder / split for split in SPLITS if (folder / split).is_dir()}
        return {split: self._below(below) for split, below in (own if "train" in own else {"train": folder}).items()}

    def classes(self, found: Mapping[str, Entries]) -> list[str]:
        """The names of the training data's classes, in their order.

        Raises:
            UsageError: there are none, or a split has another.
        """
        names = sorted({name for name, _ in found["train"]})
        if names == [""]:
            raise UsageError(
                f"{found['train'][0][1].parent} has no classes: put the {self.name} of each class into a folder of its "
                "own."
            )
        for name, path in (one for entries in found.values() for one in entries):
            if name not in names:
                raise UsageError(
                    f"{path} is of class {shown(name)}, which the training {self.name} lack ({cut(', '.join(names))}): "
                    f"take it away, or add such {self.name}."
                )
        return names

    def _below(self, folder: Path) -> Entries:
        """The files in each folder below, or in this one."""
        folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        of_classes = [(below.name, path) for below in folders for path in self._in(below)]
        alone = [("", path) for path in self._in(folder)]
        if of_classes and alone:
            raise UsageError(
                f"{folder} holds {alone[0][1].name} beside folders of classes: put it into one of them, or take it "
                "away."
            )
        if not of_classes and not alone:
            kinds = ", ".join(self.suffixes)
            raise UsageError(f"{folder} holds no {self.name} ({kinds}), nor a folder of them for each class.")
        return of_classes or alone

    def _in(self, folder: Path) -> list[Path]:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in self.suffixes and path.is_file())
