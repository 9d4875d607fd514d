"""Errors that are the user's to mend: one sentence of what was expected, what came, where, and what to do."""

import functools
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from types import FrameType

import torch

__all__ = [
    "DivergedError",
    "LatentsError",
    "LostWorkerError",
    "UnknownNameError",
    "UsageError",
    "asked_for",
    "blame",
    "current_line",
    "cut",
    "expected",
    "first_sentence",
    "in_a_sentence",
    "is_file",
    "is_out_of_memory",
    "line_of_pair",
    "nearest",
    "one_line",
    "option",
    "setting",
    "shell",
    "shown",
    "spelled",
    "summary",
    "users_line",
    "within_memory",
]


_AT_A_SHELL: ContextVar[bool] = ContextVar("at a shell", default=False)


@contextmanager
def shell() -> Iterator[None]:
    """Within it a command line is run, and sentences say what to do as it is written there."""
    token = _AT_A_SHELL.set(True)
    try:
        yield
    finally:
        _AT_A_SHELL.reset(token)


def spelled(at_a_shell: str, in_python: str) -> str:
    """What to write, as it is written where the user is.

    >>> spelled("-D labels=true", "labels=True")
    'labels=True'
    """
    return at_a_shell if _AT_A_SHELL.get() else in_python


def option(name: str, value: object = None) -> str:
    """An option of a command, or of the function that does the same; without a value it is left to be filled in.

    >>> option("out"), option("batch_size", 20)
    ('out=', 'batch_size=20')
    """
    flag = f"--{name.replace('_', '-')}"
    words = flag if value is None or value is True else f"{flag} {value}"
    return spelled(words, f"{name}={'' if value is None else repr(value)}")


def setting(flag: str, name: str, value: object) -> str:
    """An option of a model (M), an objective (O) or a data set (D), in a command or a call.

    >>> setting("D", "labels", True)
    'labels=True'
    """
    words = f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
    return spelled(f"-{flag} {name}={words}", f"{name}={value!r}")


class UsageError(ValueError):
    """Bad input. The message is the one sentence shown to the user; the command line exits with code 2.

    >>> import ppgen
    >>> try:
    ...     ppgen.load_data("digit")
    ... except ppgen.UsageError as error:
    ...     print(error)
    expected a registered data set, got 'digit': did you mean 'digits'? Known names: ...
    """


class DivergedError(UsageError):
    """Training met numbers that are not finite: what this model, objective and step size do, and no fault of data."""


class LatentsError(UsageError):
    """Latents that one objective cannot have and others may: its sentence ends with what to change of the latents, and
    whoever knows the objectives adds those that can."""


class LostWorkerError(UsageError):
    """A worker process ended before its job did."""


class UnknownNameError(UsageError, KeyError):
    """A name that nobody registered."""

    __str__ = ValueError.__str__  # a KeyError's is the repr of its message


_TOO_LARGE = ("can't allocate memory", "Storage size calculation overflowed", "multiplication overflow", "is too big")
"""What torch and NumPy say of sizes beyond memory, where they raise no error of its own kind."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the device had no memory left."""
    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in said for words in _TOO_LARGE)


def asked_for(error: BaseException) -> str:
    """How much memory was asked for in vain, as `` (20.00 GiB were asked for)``; empty where nobody says it.

    >>> asked_for(RuntimeError("can't allocate memory: you tried to allocate 4096 bytes. Error code 12"))
    ' (4096 bytes were asked for)'
    """
    found = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    return f" ({found[1]} were asked for)" if found else ""


@contextmanager
def within_memory(what: str, mend: str = "make it smaller") -> Iterator[None]:
    """Within it what does not fit into memory is refused.

    Args:
        what: a sentence's subject, with its sizes.
        mend: what to do.

    Raises:
        UsageError: ``what`` does not fit.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UsageError) or not is_out_of_memory(error):
            raise
        raise UsageError(f"{what} takes more memory than there is{asked_for(error)}: {mend}.") from error


_LONGEST = 200
"""Characters of a value in a sentence."""


class _Short(Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = _LONGEST
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        """Of long ones their length: Python refuses to write them out."""
        return repr(x) if x.bit_length() < 256 else f"a whole number of {x.bit_length()} bits"


def shown(value: object) -> str:
    """What came, for a sentence: its repr, cut where it is long or deep.

    >>> shown([1, "two", {}]), len(shown("x" * 10_000))
    ("[1, 'two', {}]", 200)
    """
    return cut(" ".join(_Short().repr(value).split()))


def cut(text: str, length: int = _LONGEST) -> str:
    """Text that others wrote, for a sentence: its beginning and end where it is longer.

    >>> cut("1234567890", 7)
    '12...90'
    """
    half = (length - 3) // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"


def expected(said: str) -> str:
    """What pydantic says of a value, in the words of all other sentences.

    >>> expected("Input should be a valid integer, unable to parse string as an integer")
    'expected a whole number'
    """
    words = said.partition(", unable to parse")[0].replace("Input should be", "expected")
    return words.replace("a valid integer", "a whole number").replace("a valid number", "a number")


def is_file(path: Path) -> bool:
    """Whether there is such a file; a path that no file can have, as one of 10,000 characters, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


_READ = 800
"""Characters of a list of names, at most."""


def nearest(name: object, options: Iterable[str]) -> str:
    """A suffix for "unknown name" messages: the closest option if one is close, and all of them, or the first ones.

    >>> nearest("digit", ["digits", "mnist"])
    ": did you mean 'digits'? Known names: digits, mnist."
    """
    known = sorted(options)
    close = get_close_matches((name if isinstance(name, str) else shown(name))[:100], known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    read = known[: next((at for at in range(len(known)) if len(", ".join(known[: at + 1])) > _READ), len(known))]
    more = f", and {len(known) - len(read)} more" if len(read) < len(known) else ""
    return f": {hint}Known names: {', '.join(read) or 'none'}{more}."


def blame(error: BaseException, otherwise: str = "") -> str:
    """The line that an error came from, as ``my.py:33, `z.item()```: innermost outside torch, Pyro, the engine.

    Where there is none, the innermost one of Pyro or torch's distributions.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    for belongs in (_is_pairs, _is_pyros):
        found = [(frame, line) for frame, line in frames if belongs(frame)]
        if found:
            return _described(*found[-1])
    return otherwise


def users_line(error: BaseException) -> str:
    """The innermost line of the user's own files that an error came through, as ``path/my.py:33``; empty: none."""
    lines = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_users(frame)]
    return f"{lines[-1][0].f_code.co_filename}:{lines[-1][1]}" if lines else ""


def line_of_pair(error: BaseException) -> str:
    """The line of a pair's own code that raised while it was run, as :func:`blame` writes it; empty: none did."""
    frames = list(traceback.walk_tb(error.__traceback__))
    runs = [i for i, (frame, _) in enumerate(frames) if frame.f_globals.get("__name__", "").startswith(_RUN_PAIRS)]
    found = [(frame, line) for frame, line in frames[runs[-1] :] if _is_pairs(frame)] if runs else []
    return _described(*found[-1]) if found else ""


def current_line() -> str:
    """The user's line that is being run, as :func:`blame` writes it; empty where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_pairs(frame):
            return _described(frame, frame.f_lineno)
        frame = frame.f_back
    return ""


def in_a_sentence(error: BaseException) -> tuple[str, bool]:
    """What went wrong, and whether the user can mend it: a value, a file, memory, a line of their own model.

    Whatever else comes is a defect of ppgen's own, and the sentence asks for a report.
    """
    if isinstance(error, UsageError):
        return one_line(str(error)), True
    if is_out_of_memory(error):
        sizes = spelled("--batch-size, --particles", "batch_size, particles")
        return f"out of memory: lower {sizes} or the objective's num_particles.", True
    if line := users_line(error):
        return f"{line} raised {summary(error)}.", True
    if isinstance(error, OSError):
        where = f"{cut(str(error.filename), 500)}: " if error.filename is not None else ""
        return f"cannot go on: {where}{error.strerror or error}.", True
    return f"{summary(error)}: this is a defect of ppgen; please report it with what --debug shows.", False


def one_line(text: str) -> str:
    """``text`` without the table of shapes that Pyro adds to an error inside a trace, and without line breaks."""
    return " ".join(text.partition("Trace Shapes:")[0].split())


def summary(error: BaseException) -> str:
    """The error's type and first line; where a name is missing from one of a few, with the nearest of them."""
    if isinstance(error, AttributeError) and is_dataclass(error.obj):
        return f"{type(error).__name__}: {error}{nearest(error.name, vars(error.obj))}".rstrip(": .")
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}".rstrip(": .")


def first_sentence(error: BaseException) -> str:
    """What an error says, in short, without its full stop."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.split(r"[.!] |\.$| - erroring out", line)[0]


def _described(frame: FrameType, line: int) -> str:
    summary = traceback.StackSummary.extract(iter([(frame, line)]))[0]
    return f"{summary.filename.rsplit('/', 1)[-1]}:{summary.lineno}, `{summary.line}`"


_RUN_PAIRS = ("ppgen.pairs.running", "ppgen.pairs.structure", "ppgen.draws", "pyro.infer.mcmc")
"""Modules that call a pair's code."""


_MODES = frozenset({"__torch_dispatch__", "__torch_function__"})
"""Methods of whatever stands between a line and its operator: the line is to blame."""


def _is_pairs(frame: FrameType) -> bool:
    """Whether it is the user's, or that of a pair of the collection."""
    return frame.f_globals.get("__name__", "").startswith("ppgen.models") or _is_users(frame)


def _is_users(frame: FrameType) -> bool:
    """Whether a person wrote it for themselves: it is none of the engine's and of no package that was installed."""
    file = frame.f_code.co_filename
    return not file.startswith("<") and frame.f_code.co_name not in _MODES and not _is_installed(file)


@functools.cache
def _is_installed(file: str) -> bool:
    home = Path(__file__).parent
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders = [folder.resolve() for folder in (home, home / "models", home / "inference", *installed)]
    return any(map(Path(file).resolve().is_relative_to, folders))


def _is_pyros(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(("pyro.", "torch.distributions."))
