"""Python files of the user's own, each executed once in a process, and again only when it has changed."""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import sys
from pathlib import Path
from types import ModuleType

from ppgen.errors import UsageError, cut, is_file, one_line, shown, users_line

__all__ = ["execute_files", "file_and_name", "is_executed", "is_named", "module_of", "name_in_file"]

_EXECUTED: dict[Path, tuple[str, ModuleType]] = {}
"""Modules by their files, each with the hash of the text that was executed."""


def file_and_name(name: str) -> tuple[str, str] | None:
    """The path and what is named in it, of ``path/to/file.py:thing``; None for any other name.

    >>> file_and_name("models/my.py:Mine"), file_and_name("vae")
    (('models/my.py', 'Mine'), None)
    """
    path, colon, thing = str(name).rpartition(":")
    return (path, thing) if colon and path.endswith(".py") else None


def execute_files(*names: str | None) -> None:
    """Execute the file of each name that stands for a thing in one, so that what it registers is known.

    Raises:
        UsageError: as :func:`module_of`.
    """
    for name in names:
        if (found := file_and_name(name or "")) is not None:
            module_of(found[0])


def is_executed(name: str) -> bool:
    """Whether the file of a name was executed in this process, or the name is that of no file."""
    found = file_and_name(name)
    return found is None or Path(found[0]).resolve() in _EXECUTED


def is_named(name: str, *by_the_user: str | None) -> bool:
    """Whether the file of a name is that of one of those, or :func:`is_executed`."""
    files = [found[0] for one in by_the_user if (found := file_and_name(one or "")) is not None]
    own = file_and_name(name)
    return is_executed(name) or (own is not None and Path(own[0]).resolve() in {Path(file).resolve() for file in files})


def name_in_file(cls: type) -> str | None:
    """``path/to/file.py:Class`` of a class that such a file defines; None: it is another's."""
    files = (file for file, (_, module) in _EXECUTED.items() if module.__name__ == cls.__module__)
    return next((f"{file}:{cls.__qualname__}" for file in files), None)


def module_of(path: str | Path) -> ModuleType:
    """The module that a Python file is.

    Its folder comes first in ``sys.path`` from then on, as that of a script does, so that it imports its siblings, now
    and later; they import it by its own name. One that Python has imported already is that module.

    Raises:
        UsageError: there is no such file; whatever it raises, with the line.
    """
    if not is_file(Path(path)):
        raise UsageError(
            f"expected a Python file, got {shown(str(path))}, which does not exist: write path/to/file.py:Name."
        )
    file = Path(path).resolve()
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    digest = hashlib.sha256(text).hexdigest()
    if file not in _EXECUTED and (imported := _imported(file)) is not None:
        _EXECUTED[file] = (digest, imported)
    if file not in _EXECUTED or _EXECUTED[file][0] != digest:
        _EXECUTED[file] = (digest, _executed(file, text))
    return _EXECUTED[file][1]


def _imported(file: Path) -> ModuleType | None:
    """The module that Python made of a file, the running script's included."""
    for module in [*sys.modules.values()]:
        place = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(place, str) and place.endswith(file.name) and Path(place).resolve() == file:
            return module
    return None


def _executed(file: Path, text: bytes) -> ModuleType:
    name = _name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise UsageError(f"expected a Python file, got {shown(str(file))}, which cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    before = sys.modules.get(name)
    sys.modules[name] = module
    linecache.checkcache(str(file))
    try:
        exec(compile(text, str(file), "exec"), vars(module))  # not by the loader, whose bytecode may be a second old
    except (Exception, SystemExit) as error:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        said = cut(one_line(f"{type(error).__name__}: {error}"), 500)
        raise UsageError(f"{users_line(error) or file} cannot be imported ({said}).") from error
    return module


def _name(file: Path) -> str:
    """The file's own; where another module has it, with a hash of its path, so that their classes are told apart."""
    former = sys.modules.get(file.stem)
    if former is None or (file in _EXECUTED and former is _EXECUTED[file][1]):
        return file.stem
    return f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
