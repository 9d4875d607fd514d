"""The commands in one application, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from ppgen.cli.check import check
from ppgen.cli.compare import compare
from ppgen.cli.diagnose import diagnose
from ppgen.cli.embed import embed
from ppgen.cli.errors import explain
from ppgen.cli.evaluate import evaluate
from ppgen.cli.hub import pull, push
from ppgen.cli.listing import list_
from ppgen.cli.output import one_line_warnings, reader_gone, say, tracebacks_shown, write_any_text
from ppgen.cli.recipes import recipes_, reproduce_
from ppgen.cli.report import report
from ppgen.cli.sample import sample
from ppgen.cli.sweep import sweep
from ppgen.cli.train import train
from ppgen.distributions.turns import taken_by
from ppgen.errors import shell
from ppgen.machine.progress import track
from ppgen.versions import VERSION

__all__ = ["app", "main"]

app = typer.Typer(
    name="ppgen",
    help="Deep generative models as Pyro model/guide pairs: train, evaluate, look.",
    epilog="Start with: ppgen train vae --data digits --objective iwelbo -O num_particles=5",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
EXAMPLES: dict[Callable[..., None], list[str]] = {
    list_: ["ppgen list", "ppgen list objectives --json"],
    train: [
        "ppgen train vae --data digits --objective iwelbo -O num_particles=5 --out runs/vae",
        "ppgen train my.py:MyPair --data mnist --objective elbo -M hidden=[200,200] --steps 5000 --eager",
        "ppgen train vae --data digits --objective iwelbo -O num_particles=5 --out runs/vae --resume",
        "ppgen train lda --data 20news",
        "ppgen train --config runs/vae/config.json --seed 1 --out runs/again",
    ],
    evaluate: ["ppgen evaluate runs/vae --particles 5000", "ppgen evaluate runs/vae --split valid --json"],
    diagnose: ["ppgen diagnose runs/vae", "ppgen diagnose runs/vae --ask importance --particles 10000 --json"],
    sample: ["ppgen sample runs/vae -n 100 --out samples.png", "ppgen sample runs/vae --out samples.csv"],
    embed: ["ppgen embed runs/vae", "ppgen embed runs/vae --split train --out codes.csv"],
    compare: [
        "ppgen compare sbn --data digits --objectives 'vimco, reinforce(bound=iwelbo), disarm' -O num_particles=4",
        "ppgen compare my.py:MyPair --data digits --objectives iwelbo,dreg --particles 1,5,50 --at init,trained",
        "ppgen compare --repeat runs/compared/config.json --out runs/again",
    ],
    sweep: [
        "ppgen sweep vae --data digits --objective iwelbo --grid lr=1e-3,3e-3 --grid O.num_particles=1,5 --out sweep",
        "ppgen sweep sbn --data digits --grid 'objective=vimco(num_particles=5),reinforce' --seeds 5 --workers 4",
        "ppgen sweep vae --data digits --objective elbo --grid M.latent_dim=2,5,10 --budget 30m --resume",
    ],
    check: ["ppgen check my.py:MyPair --data digits"],
    report: ["ppgen report runs/vae"],
    recipes_: ["ppgen recipes", "ppgen recipes --json"],
    reproduce_: ["ppgen reproduce vae-digits-iwelbo --out runs/vae", "ppgen reproduce lda-20news --short"],
    push: ["ppgen push runs/vae me/vae-digits --private"],
    pull: ["ppgen pull me/vae-digits --out runs/again"],
}
for command, examples in EXAMPLES.items():
    app.command(command.__name__.rstrip("_"), epilog="\n\n".join(["Examples:", *map(escape, examples)]))(command)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere on the line.")
    ] = False,
) -> None:
    if version:
        print(VERSION)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on ``arguments`` (the process's own by default); returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    write_any_text()
    bars = taken_by(partial(track, shown=True))
    with one_line_warnings(), shell(), bars, tracebacks_shown("--debug" in given):
        try:
            code = app([a for a in given if a != "--debug"], prog_name="ppgen", standalone_mode=False)
            print(end="", flush=True)  # here, where what goes wrong can be said
        except BrokenPipeError:
            code = reader_gone()
        except SystemExit as stopped:  # by Typer, of a broken pipe
            if not isinstance(stopped.__context__, BrokenPipeError):
                raise
            code = reader_gone()
        except Exception as error:
            if "--debug" in given:
                traceback.print_exc()
            code, sentence = explain(error)
            say(sentence)
    return code if isinstance(code, int) else 0
