"""What went wrong, as one sentence and an exit code."""

from __future__ import annotations

import typer

from ppgen.errors import cut, expected, in_a_sentence, one_line, shown

__all__ = ["BAD_INPUT", "DEFECT", "explain"]

BAD_INPUT, DEFECT = 2, 70


def explain(error: Exception) -> tuple[int, str]:
    """The exit code and the sentence for an error: of Typer's, or as :func:`ppgen.errors.in_a_sentence` says it."""
    if isinstance(error, typer.TyperException):
        what = cut(expected(one_line(error.format_message())).rstrip("."), 400)
        return BAD_INPUT, f"{what}{_got(error)}; see `{_command(error)} --help`."
    sentence, mendable = in_a_sentence(error)
    return (BAD_INPUT if mendable else DEFECT), sentence


def _got(error: typer.TyperException) -> str:
    """What came, where Typer says only what it expected."""
    details: list[dict[str, object]] = getattr(error.__cause__, "errors", list)()
    return f", got {shown(details[0]['input'])}" if details else ""


def _command(error: typer.TyperException) -> str:
    context: typer.Context | None = getattr(error, "ctx", None)
    return "ppgen" if context is None else context.command_path
