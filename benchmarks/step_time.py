"""Step time of one VAE here and in its peers, in turn in one run: prints medians and ratios, writes JSON.

One case: `python benchmarks/step_time.py --batch 20 --particles 1`. Do all peers learn alike:
`python benchmarks/step_time.py --check --batch 100`. README.md beside this file says how it is measured.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from peers import peer_names
from problem import data_file
from rich.console import Console
from rounds import Row, check_case, measure_case
from tables import agreement, check_table, environment, print_errors, time_table
from workers import Case

__all__: list[str] = []


def numbers(text: str) -> list[int]:
    """Whole numbers above zero, separated by commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"expected whole numbers above 0 separated by commas, got {text!r}.")
    return [int(part) for part in parts]


def peers_named(text: str | None) -> list[str]:
    """The named peers, all of them by default."""
    known = peer_names()
    names = [name.strip() for name in text.split(",")] if text else known
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"unknown peer {unknown[0]!r}: known peers are {', '.join(known)}.")
    return names


def main(
    batch: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "20,100,512",
    particles: Annotated[str, typer.Option(help="Particles K: 1 is the ELBO, more the IWELBO.")] = "1,50",
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; every peer has one turn a round.")] = 9,
    peers: Annotated[str | None, typer.Option(help="Peers, separated by commas.", show_default="all")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    check: Annotated[bool, typer.Option("--check", help="Compare losses after 300 steps, not times.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results here.")] = None,
) -> None:
    """Measure (or, with --check, compare) the peers; exit code 1 if a check finds a disagreement."""
    names = peers_named(peers)
    if device not in ("cpu", "cuda"):
        raise typer.BadParameter(f"device must be cpu or cuda, got {device!r}.")
    if check and not data_file().exists():
        raise typer.BadParameter(f"--check needs {data_file()}: name its folder in PPGEN_DATA.")
    cases = [Case(size, k, device) for k in numbers(particles) for size in numbers(batch)]
    rows = run(names, cases, repeats, check)
    console = Console()
    console.width = max(console.width, 100)  # a pipe has 80 columns, which cut the names
    console.print((check_table if check else time_table)(rows))
    print_errors(console, rows)
    if json_file:
        json_file.write_text(
            json.dumps({"environment": environment(), "rows": [asdict(row) for row in rows]}, indent=1),
            encoding="utf-8",
        )
    if check and not agreement(rows):
        raise typer.Exit(1)


def run(names: list[str], cases: list[Case], repeats: int, check: bool) -> list[Row]:
    """All cases one after another, with a line on standard error that says what runs."""
    rows: list[Row] = []
    with Console(stderr=True).status("starting") as status:
        for case in cases:

            def say(text: str, case: Case = case) -> None:
                status.update(f"batch {case.batch_size}, K {case.num_particles}: {text}")

            rows += check_case(names, case, say) if check else measure_case(names, case, repeats, say)
    return rows


if __name__ == "__main__":
    typer.run(main)
