"""Training steps here and in the peers, in turn in one run: prints medians and ratios, and keeps them as JSON.

    .venv/bin/python benchmarks/bench.py                     # every contest, slope and profile; `make bench`
    .venv/bin/python benchmarks/bench.py --only rbm,gan      # some of them
    .venv/bin/python benchmarks/bench.py --quick             # less than a minute; nothing is kept
    .venv/bin/python benchmarks/bench.py --check             # do the VAE's peers learn alike?

What is kept is `results/<processor>-<threads>.json`, one entry a contest and case with its own date, load and command;
`page.py` makes docs/performance.md of it. README.md beside this file says how it is measured.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from contests import CONTESTS, SLOPES, Case
from problem import data_file
from rich.console import Console
from rounds import Row, Say, cache_folder, check_case, measure_case
from shares import RECORDED
from tables import agreement, check_table, environment, print_errors, time_table
from workers import Worker

from ppgen.machine.processor import processor

__all__: list[str] = []

RESULTS = Path(__file__).parent / "results"
QUICK = ("ours", "handwritten", "stock_pyro")
NAMES = [*CONTESTS, "slopes", "profiles"]


def chosen(text: str | None, known: list[str], what: str) -> list[str]:
    """The named ones, all of them by default."""
    names = [name.strip() for name in text.split(",")] if text else known
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"unknown {what} {unknown[0]!r}: known are {', '.join(known)}.")
    return names


def main(
    only: Annotated[str | None, typer.Option(help=f"Of {', '.join(NAMES)}.", show_default="all")] = None,
    peers: Annotated[str | None, typer.Option(help="Peers, separated by commas.", show_default="all")] = None,
    sizes: Annotated[str | None, typer.Option(help="Of a contest, such as 20x1,100x50.", show_default="all")] = None,
    again: Annotated[bool, typer.Option(help="Start a peer with a full cache too.")] = True,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; every peer has one turn a round.")] = 9,
    device: Annotated[str, typer.Option(help="cpu, or cuda for the VAE.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="One case of the VAE, three rounds; nothing is kept.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare the VAE's losses after 300 steps.")] = False,
    results: Annotated[Path, typer.Option(help="The folder of what is kept.")] = RESULTS,
) -> None:
    """Measure (or, with --check, compare); exit code 1 if a check finds a disagreement."""
    console = Console()
    console.width = max(console.width, 100)  # a pipe has 80 columns, which cut the names
    if check:
        raise typer.Exit(int(not learn_alike(console, peers, device)))
    if quick:
        show(console, "vae", measured("vae", (100, 1), ",".join(QUICK), 3, device, again=False))
        return
    kept = Kept(results, device)
    for name in chosen(only, NAMES, "contest"):
        if name == "slopes":
            entries = slopes(repeats, device, console)
        elif name == "profiles":
            entries = profiles(device, console)
        else:
            entries = contest(name, sizes, peers, repeats, device, again, console)
        for entry in entries:
            kept.add(*entry)


Entry = tuple[str, str, Any]
"""The kind, the name and what was found."""


def contest(
    name: str, sizes: str | None, peers: str | None, repeats: int, device: str, again: bool, console: Console
) -> Iterator[Entry]:
    """Every case of a contest, or those of these sizes."""
    known = {f"{b}x{k}": (b, k) for b, k in CONTESTS[name].sizes}
    for size in map(known.__getitem__, chosen(sizes, list(known), "size")):
        rows = measured(name, size, peers, repeats, device, again=again and CONTESTS[name].whole)
        show(console, name, rows)
        entry = {"contest": name, "batch_size": size[0], "num_particles": size[1], "rounds": repeats}
        yield "contests", f"{name} {size}", entry | {"peers": {row.peer: written(row) for row in rows}}


def slopes(repeats: int, device: str, console: Console) -> Iterator[Entry]:
    """How our step's time grows with B and with K."""
    for along, slope in SLOPES.items():
        turns = {}
        for size, value in zip(slope.sizes, slope.along, strict=True):
            (row,) = measured("vae", size, "ours", max(3, repeats // 2), device, again=False)
            turns[str(value)] = row.turns
            console.print(f"{slope.title}: {value}: {row.median or 0:.2f} ms", highlight=False)
        yield "slopes", along, {"title": slope.title, "turns": turns}


def profiles(device: str, console: Console) -> Iterator[Entry]:
    """Where the time of our step goes, in each contest's last case."""
    os.environ |= RECORDED
    for family, found in CONTESTS.items():
        if not found.whole:
            continue
        with (
            cache_folder() as cache,
            closing(Worker(found.peers["ours"], Case(*found.sizes[-1], device), cache)) as worker,
        ):
            worker.first_step()
            shares = worker.ask("profile")
        console.print(family, {kind: round(share, 3) for kind, share in shares.items()}, highlight=False)
        yield "profiles", family, {"size": found.sizes[-1], "shares": shares}
    for variable in RECORDED:
        del os.environ[variable]


def measured(
    name: str, size: tuple[int, int], peers: str | None, repeats: int, device: str, *, again: bool = True
) -> list[Row]:
    """One case, with a line on standard error that says what runs."""
    found = CONTESTS[name].peers
    functions = {peer: found[peer] for peer in chosen(peers, list(found), "peer")}
    with saying(f"{name}, batch {size[0]}, K {size[1]}") as say:
        return measure_case(functions, Case(*size, device), repeats, say, again=again)


@contextmanager
def saying(what: str) -> Iterator[Say]:
    """Within it, its function says on standard error what runs."""
    with Console(stderr=True).status(what) as status:
        yield lambda text: status.update(f"{what}: {text}")


def learn_alike(console: Console, peers: str | None, device: str) -> bool:
    """Whether the VAE's peers come to the same loss."""
    if not data_file().exists():
        raise typer.BadParameter(f"--check needs {data_file()}: name its folder in PPGEN_DATA.")
    found, rows = CONTESTS["vae"].peers, []
    functions = {peer: found[peer] for peer in chosen(peers, list(found), "peer")}
    for size in ((100, 1), (20, 50)):
        with saying(f"batch {size[0]}, K {size[1]}") as say:
            rows += check_case(functions, Case(*size, device), say)
    console.print(check_table(rows))
    print_errors(console, rows)
    return agreement(rows)


def show(console: Console, name: str, rows: list[Row]) -> None:
    """The table of one case."""
    console.print(time_table(f"one training step: {CONTESTS[name].title}", rows))
    print_errors(console, rows)


def written(row: Row) -> dict[str, Any]:
    """A row as it is kept."""
    found = asdict(row)
    for name in ("peer", "function", "case", "ratio", "loss"):
        del found[name]
    return {name: value for name, value in found.items() if value is not None}


class Kept:
    """The file of this machine: what is measured again takes the place of what was there.

    Args:
        folder: of the files.
        device: where steps run.
    """

    def __init__(self, folder: Path, device: str) -> None:
        threads = torch.get_num_threads()
        where = torch.cuda.get_device_name() if device == "cuda" else f"{processor()}, threads {threads}"
        self.file = folder / f"{re.sub('[^a-z0-9]+', '-', where.lower())}.json"
        self.machine = {"name": where, "device": device, "threads": threads, **environment()}
        self._began = Moment()

    def add(self, kind: str, name: str, found: dict[str, Any]) -> None:
        """Keep one entry; the date, the load and the command are its own."""
        held: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        held["machine"] = self.machine
        command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
        entry = {"date": time.strftime("%Y-%m-%d"), "command": command, "load": [self._began.load, Moment().load]}
        held.setdefault(kind, {})[name] = entry | found
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
        self._began = Moment()


class Moment:
    """How busy the machine is now: processes that run or wait to, over the last minute."""

    def __init__(self) -> None:
        self.load = round(os.getloadavg()[0], 2)


if __name__ == "__main__":
    typer.run(main)
