"""``ppgen check``: does a pair keep the contract?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import torch
import typer
from rich.console import Console

from ppgen.arguments import at_least
from ppgen.cli.options import AsJson, DataName, DataSettings, ModelName, ModelSettings, load_pair_and_data
from ppgen.cli.output import print_json, print_table, stdout_kept_for
from ppgen.pairs.rows import take_rows

__all__ = ["check"]


def check(
    model: ModelName,
    data: DataName,
    model_options: ModelSettings = None,
    data_options: DataSettings = None,
    batch_size: Annotated[int, typer.Option(help="Data in the batch that is checked.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Check that MODEL keeps the contract of a pair.

    One line says how many rules hold. Where one is broken the exit code is 1, and a table says which, where, and what
    to do.
    """
    at_least("--batch-size", batch_size, 1)
    from ppgen.testing import check_pair  # the checks are loaded for this command alone

    torch.manual_seed(0)
    with stdout_kept_for(as_json):
        pair, dataset = load_pair_and_data(model, data, model_options, data_options)
        with Console(stderr=True).status("checking"):
            report = check_pair(pair, dataset.draw(take_rows(dataset.train, slice(batch_size))))
    if as_json:
        print_json({"model": model, "data": data, "ok": report.ok, "results": [asdict(r) for r in report.results]})
    else:
        if not report.ok:
            rows = [(r.rule, r.verdict, _place(r.where, r.message), r.advice) for r in report.results]
            print_table(("rule", "verdict", "where", "what to do"), rows)
        print(f"{model}: {report.summary}")
    raise typer.Exit(0 if report.ok else 1)


def _place(where: str, message: str) -> str:
    return message if message.startswith(where) else f"{where}: {message}"
