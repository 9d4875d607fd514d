"""The options by which a training is watched: callbacks of the user's own, and loggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ppgen.arguments import one_of
from ppgen.errors import UsageError, shown
from ppgen.logging import LOGGERS, make_loggers
from ppgen.training.callbacks import Callback, as_callbacks
from ppgen.user_code import file_and_name, module_of

__all__ = ["CallbackFiles", "Log", "WithProgress", "watching"]

CallbackFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--callback",
        metavar="FILE.py:NAME",
        help="A ppgen.Callback of your own, or its class; as often as needed.",
        show_default=False,
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help=f"Write what is reported for {', '.join(LOGGERS)} too, in the run's folder.",
        autocompletion=lambda: list(LOGGERS),
        show_default=False,
    ),
]
WithProgress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show a progress bar, where there is a terminal.")
]


def watching(files: Sequence[str] | None, log: str | None) -> tuple[Callback, ...]:
    """The callbacks and loggers that were asked for.

    Raises:
        UsageError: a name is unknown, a file or library is missing, or what a file has is no callback.
    """
    own = [_from_file(name) for name in files or ()]
    return (*own, *make_loggers([name.strip() for name in log.split(",")] if log else []))


def _from_file(name: str) -> Callback:
    place = file_and_name(name)
    if place is None:
        raise UsageError(f"--callback expects path/to/file.py:name, got {shown(name)}.")
    file, thing = place
    has = vars(module_of(file))
    one_of(f"{file} has no", thing, [each for each in has if not each.startswith("_")])
    found: Any = has[thing]
    if isinstance(found, type) and issubclass(found, Callback):
        try:
            found = found()
        except TypeError as error:
            raise UsageError(
                f"--callback {name} cannot be made without arguments ({error}): name an object of it in the file, "
                "watch = Watch(...), --callback file.py:watch."
            ) from error
    return as_callbacks([found])[0]
