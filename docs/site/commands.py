"""The page of the command line, from what its commands say of themselves."""

from __future__ import annotations

import re

import typer
from typer.cli import get_docs_for_click

from ppgen.cli import app

__all__ = ["page"]

_LIST = re.compile(r"^\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", re.MULTILINE)
_EXAMPLES = re.compile(r"^Examples:\n\n((?:ppgen .*\n\n?)+)", re.MULTILINE)


def page() -> str:
    """Every command with its arguments, options and examples, in Markdown."""
    command = typer.main.get_command(app)
    written = get_docs_for_click(obj=command, ctx=typer.Context(command), name="ppgen", title="Commands")
    return _EXAMPLES.sub(lambda found: f"**Examples**:\n\n```bash\n{_lines(found[1])}\n```\n\n", _LIST.sub("", written))


def _lines(examples: str) -> str:
    return "\n".join(line.replace("\\[", "[") for line in examples.splitlines() if line)
