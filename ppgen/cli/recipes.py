"""``ppgen recipes`` and ``ppgen reproduce``: published numbers, and how they are reached here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppgen.cli.options import AsJson, Device
from ppgen.cli.output import print_json, print_table, say
from ppgen.cli.training import told_how_to_resume
from ppgen.machine.ranks import stopping_together
from ppgen.recipes.reading import recipe, recipes
from ppgen.recipes.reproduction import reproduce
from ppgen.recipes.table import COLUMNS, rows
from ppgen.runs.run import CONFIG

__all__ = ["recipes_", "reproduce_"]


def recipes_(as_json: AsJson = False) -> None:
    """List the recipes: what each trains, the number that was published and that which was reached here."""
    known = recipes()
    if as_json:
        print_json({name: one.model_dump(mode="json", exclude_defaults=True) for name, one in known.items()})
    else:
        print_table(COLUMNS, [row for name, one in known.items() for row in rows(name, one)])


@stopping_together
def reproduce_(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A name of `ppgen recipes`, or path/to/file.toml.",
            autocompletion=lambda incomplete: [one for one in recipes() if one.startswith(incomplete)],
            show_default=False,
        ),
    ],
    short: Annotated[bool, typer.Option("--short", help="A tenth of it, which does not reach the number.")] = False,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Directory of the run.", show_default="runs/NAME")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that --out holds.")] = False,
) -> None:
    """Train, evaluate and diagnose as a recipe says, and hold what comes against what was published.

    The directory --out holds the run, which `evaluate`, `diagnose` and `report` take as any other.
    """
    chosen = recipe(name)
    if chosen.budget is not None and not short:
        say(f"this takes about {chosen.budget.words}.")
    folder = out or Path("runs", Path(name).stem)
    with told_how_to_resume(folder / CONFIG):
        found = reproduce(chosen.short() if short else chosen, folder, resume=resume, device=device, progress=True)
    if found.run.directory is None:  # another rank has it
        return
    print(found.evaluation.sentence)
    print(f"{found.diagnosis.split}, {found.diagnosis.num_data:,} data: {found.diagnosis.tally}")
    for line in found.lines:
        print(line)
    if short:
        print("short: a tenth of the training and of the draws, not what the recipe reaches")
    print(f"{folder}; next: ppgen report {folder}")
