"""Files that are written whole or not at all, and folders to which one process writes at a time.

Both are kept apart by ``flock``: a lock that the kernel gives up when its process ends, however it ends, so that
neither a kill nor a reboot leaves one behind. On a file system without such locks (some network mounts) a warning says
so, and it is for the user to see that one process alone writes there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ppgen.errors import UsageError, option

__all__ = ["LOCK", "claimed", "write_all", "write_whole"]

LOCK = ".lock"
"""In a folder that a process has claimed; it says which one."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKLESS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


def write_whole(path: Path, data: bytes, *, then: str = "") -> None:
    """Write one file; see :func:`write_all`."""
    write_all({path: data}, then=then)


def write_all(files: Mapping[Path, bytes], *, then: str = "") -> None:
    """Write files of one folder, each whole: all are on the disk under other names before the first takes its place.

    A kill leaves of each the old one or the new one; what else it leaves is removed by who writes that file next. What
    stands at a path is replaced; a link is not followed.

    Args:
        files: what each path is to hold.
        then: what the user does once there is room, as the end of a sentence.

    Raises:
        UsageError: the disk is full or the place cannot be written; what was there is untouched.
    """
    path = next(iter(files))
    try:
        _remove_leftovers(path.parent, [file.name for file in files])
        with ExitStack() as stack:
            waiting = {path: stack.enter_context(_written(path, data)) for path, data in files.items()}
            for path, temporary in waiting.items():
                temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        size = sum(map(len, files.values()))
        full = error.errno in _FULL
        raise UsageError(
            f"cannot write {path} ({size:,} bytes): {'the disk is full' if full else error.strerror}; what was there "
            f"before is whole: {'make room or choose' if full else 'choose'} another place{then and f', {then}'}."
        ) from error


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within it, whoever else claims ``folder`` is refused, in this process too.

    It is made where it is missing, and removed again if nothing was written to it. Temporary files are removed whose
    process has ended.

    Raises:
        UsageError: somebody else has claimed it; it cannot be made or written.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with _locked(folder):
            _remove_leftovers(folder)
            yield
    finally:
        with suppress(OSError):  # something was written
            for place in made:
                place.rmdir()


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """A new file beside ``path`` with ``data``, synced, and locked until it is renamed or removed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = _open_locked(temporary, os.O_EXCL, wait=True)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within it, this is who holds the folder's lock."""
    file = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(file, wait=False)
    except BlockingIOError as error:
        raise UsageError(
            f"{folder} is in use: {_holder(file)} writes to it; wait until it has ended, or name another "
            f"{option('out')}."
        ) from error
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; name another.") from error
    try:
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        file.unlink(missing_ok=True)
        with suppress(OSError):  # no locks here
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # processes that were forked share it
        os.close(descriptor)


def _holder(file: Path) -> str:
    with suppress(OSError):  # it has ended just now
        return file.read_text(encoding="utf-8", errors="replace") or "another process"
    return "another process"


def _open_locked(file: Path, flags: int = 0, *, wait: bool) -> int:
    """The descriptor of a file that is made where it is missing, once its lock is ours.

    Raises:
        BlockingIOError: the lock is somebody else's, and we do not wait.
    """
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, 0o666)
        try:
            _lock(descriptor, wait=wait)
            with suppress(FileNotFoundError):  # its last holder has removed it since: make it again
                if os.path.samestat(os.fstat(descriptor), file.lstat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool = False) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
        warnings.warn("this file system has no locks: see that one process alone writes to a folder", stacklevel=2)


def _remove_leftovers(folder: Path, names: Iterable[str] | None = None) -> None:
    """Temporary files, of these names or of all, whose process has ended: nobody holds their lock."""
    name = ".+" if names is None else "|".join(map(re.escape, names))
    temporary = re.compile(rf"\.({name})\.[0-9a-f]+\.tmp")
    for file in folder.iterdir():
        if temporary.fullmatch(file.name) and not file.is_symlink() and file.is_file():
            with suppress(OSError), file.open("r+b") as opened:  # one that is being written stays
                _lock(opened.fileno())
                file.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
