"""Where files come from: the folder that PPGEN_DATA names, pooch's cache, or a download with a checksum."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ppgen.errors import UsageError, shown

__all__ = ["PLACE", "Remote", "data_folder", "find", "obtain"]

CHUNK = 1 << 16  # bytes a step of the progress bar
TIMEOUT = 30  # seconds without an answer
PLACE = "put the file into the folder that the environment variable PPGEN_DATA names"


@dataclass(frozen=True)
class Remote:
    """A file to be had: its name, its URLs in order of preference, and its checksum.

    The checksum is ``"sha256:..."``. It is ``"md5:..."`` for the two files of which nobody publishes another
    (``frey_rawface.mat``, ``caltech101_silhouettes_28_split1.mat``): that finds any damage, but a forger could make two
    files of one md5. Whoever has such a file and trusts it can put it into the folder of PPGEN_DATA.
    """

    file: str
    urls: tuple[str, ...]
    checksum: str


def data_folder() -> Path | None:
    """The folder that PPGEN_DATA names, None where the variable is not set.

    Raises:
        UsageError: it names something that is not a folder.
    """
    name = os.environ.get("PPGEN_DATA", "")
    if not name:
        return None
    folder = Path(os.path.expanduser(name))
    if not folder.is_dir():
        raise UsageError(f"PPGEN_DATA must name a folder, got {shown(name)}: correct the variable or unset it.")
    return folder


def find(*files: str) -> Path | None:
    """The first of ``files`` that is in the folder of PPGEN_DATA, None where none is."""
    folder = data_folder()
    paths = [] if folder is None else [folder / file for file in files]
    return next((path for path in paths if path.is_file()), None)


def obtain(remote: Remote) -> Path:
    """The file in PPGEN_DATA, else in the cache (``pooch.os_cache("ppgen")``), downloaded if need be.

    Raises:
        UsageError: every place failed; the sentence gives each URL with what came instead of the file.
            Nothing of a failed download stays on the disk.
    """
    found = find(remote.file)
    if found is not None:
        return found
    failures = []
    for url in remote.urls:
        try:
            return _retrieve(url, remote)
        except (
            OSError,
            ValueError,
        ) as error:  # requests' errors are OSErrors, pooch's checksum error a ValueError
            failures.append(f"{url} {_what_came(error, remote)}")
    raise UsageError(f"could not download {remote.file}: {'; '.join(failures)}; try again, or {PLACE}.")


def _retrieve(url: str, remote: Remote) -> Path:
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)  # the progress bar says it already
    with _Bar(remote.file) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT)
        folder = pooch.os_cache("ppgen")
        return Path(pooch.retrieve(url, remote.checksum, fname=remote.file, path=folder, downloader=downloader))


def _what_came(error: Exception, remote: Remote) -> str:
    """What a place gave instead of the file, as the end of a sentence."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.Timeout):
        return f"gave no answer in {TIMEOUT} seconds"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "broke off before the end of the file"
    if isinstance(error, exceptions.RequestException):
        return "could not be reached"
    if isinstance(error, OSError):
        return f"could not be saved ({error.strerror or error})"
    return f"gave a file whose checksum is not the expected {remote.checksum}"


class _Bar:
    """Pooch's progress-bar protocol (``total``, ``update``, ``reset``, ``close``), Rich on standard error."""

    def __init__(self, file: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(f"downloading {file}", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def total(self) -> float | None:
        """Bytes to come; None or 0 where the server does not say."""
        return self._progress.tasks[self._task].total

    @total.setter
    def total(self, value: int) -> None:
        self._progress.update(self._task, total=value or None)

    def update(self, amount: int) -> None:
        """Advance by ``amount`` bytes."""
        self._progress.advance(self._task, amount)

    def reset(self) -> None:
        """Go back to the start."""
        self._progress.reset(self._task)

    def close(self) -> None:
        """End the display."""
        self._progress.stop()
