"""What went wrong, as one sentence and an exit code."""

from __future__ import annotations

import typer

from ppgen.errors import UsageError, cut, expected, is_out_of_memory, shown, users_line

__all__ = ["BAD_INPUT", "DEFECT", "explain"]

BAD_INPUT, DEFECT = 2, 70


def explain(error: Exception) -> tuple[int, str]:
    """The exit code and the sentence for an error.

    Bad input is what the user can mend: a value, a file, the machine's memory, a line of their own model. Whatever else
    comes is a defect of ppgen's own, and the sentence asks for a report.
    """
    if isinstance(error, UsageError):
        return BAD_INPUT, _one_line(str(error))
    if isinstance(error, typer.TyperException):
        what = cut(expected(_one_line(error.format_message())).rstrip("."), 400)
        return BAD_INPUT, f"{what}{_got(error)}; see `{_command(error)} --help`."
    if is_out_of_memory(error):
        return BAD_INPUT, "out of memory: lower --batch-size, --particles or the objective's num_particles."
    if line := users_line(error):
        return BAD_INPUT, f"{line} raised {_described(error)}."
    if isinstance(error, OSError):
        where = f"{cut(str(error.filename), 500)}: " if error.filename is not None else ""
        return BAD_INPUT, f"cannot go on: {where}{error.strerror or error}."
    return DEFECT, f"{_described(error)}: this is a defect of ppgen; please report it with what --debug shows."


def _one_line(text: str) -> str:
    """``text`` without the table of shapes that Pyro adds to an error inside a trace, and without line breaks."""
    return " ".join(text.partition("Trace Shapes:")[0].split())


def _described(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}".rstrip(": .")


def _got(error: typer.TyperException) -> str:
    """What came, where Typer says only what it expected."""
    details: list[dict[str, object]] = getattr(error.__cause__, "errors", list)()
    return f", got {shown(details[0]['input'])}" if details else ""


def _command(error: typer.TyperException) -> str:
    context: typer.Context | None = getattr(error, "ctx", None)
    return "ppgen" if context is None else context.command_path
