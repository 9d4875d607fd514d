"""How PLSA overfits where LDA does not: document completion on training and test documents, by passes over the data.

    .venv/bin/python benchmarks/overfitting.py [--data pydoc] [--topics 50] [--particles 20] [--json FILE]

Three trainings from one seed, and after so many passes over all documents (steps of EM, sweeps of Gibbs sampling) the
perplexity of one half of each document given the other (``ppgen.evaluation.perplexity.completion``):

    ppgen train plsa --data pydoc -M num_topics=50 --objective em --steps 10
    ppgen train lda --data pydoc -M num_topics=50 --objective gibbs -O burn_in=5 --steps 10

PLSA is folded in on the half that is given, of training documents as of test documents: so its topics alone are what
it has memorised. ``plsa, its own shares`` scores the second half of training documents by the shares that training gave
them, which have seen it: not a prediction, and what the likelihood that EM climbs looks like as a perplexity.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

import ppgen
from ppgen.data import Dataset
from ppgen.evaluation.perplexity import completion, halves, perplexity

__all__: list[str] = []

PASSES = (5, 20, 50, 200)


@dataclass(frozen=True)
class Row:
    """Perplexities after so many passes, with their standard errors over documents."""

    model: str
    passes: int
    train: tuple[float, float]
    test: tuple[float, float] | None


def scored(pair: Any, documents: Any, particles: int) -> tuple[float, float]:
    """The perplexity by completion and its standard error, in evaluation."""
    torch.manual_seed(0)
    found = completion(pair.eval(), documents, particles)
    pair.train()
    return found.value, found.standard_error


def plsa(data: Dataset, topics: int, particles: int) -> Iterator[Row]:
    """EM, which keeps no state: each call goes on where the last one ended."""
    torch.manual_seed(0)
    pair = ppgen.make_pair("plsa", data.spec, num_topics=topics)
    train, test = ((split[0][:],) for split in (data.train, data.test))
    done = 0
    for passes in PASSES:
        ppgen.fit(pair, data, "em", steps=passes - done, batch_size=len(train[0]), seed=0, progress=False)
        done = passes
        yield Row("plsa", passes, scored(pair, train, 1), scored(pair, test, 1))
        second = halves(train[0])[1]
        own = (second * (pair.shares @ pair.topics).clamp_min(1e-30).log()).sum(1).detach()
        found = perplexity(own[second.sum(1) > 0], second.sum(1)[second.sum(1) > 0])
        yield Row("plsa, its own shares", passes, (found.value, found.standard_error), None)


def lda(data: Dataset, topics: int, particles: int) -> Iterator[Row]:
    """Gibbs sampling from the start for each number of sweeps, half of them left out of the mean."""
    train, test = ((split[0][:],) for split in (data.train, data.test))
    for passes in PASSES:
        torch.manual_seed(0)
        pair = ppgen.make_pair("lda", data.spec, num_topics=topics)
        gibbs = ppgen.make_objective("gibbs", burn_in=passes // 2)
        ppgen.fit(pair, data, gibbs, steps=passes, batch_size=len(train[0]), seed=0, progress=False)
        yield Row("lda, gibbs", passes, scored(pair, train, particles), scored(pair, test, particles))


def main(
    data: Annotated[str, typer.Option(help="A registered data set of counts.")] = "pydoc",
    topics: Annotated[int, typer.Option(help="Topics of both.")] = 50,
    particles: Annotated[int, typer.Option(help="Draws of LDA's guide for each document.")] = 20,
    file: Annotated[Path | None, typer.Option("--json", help="Also write the rows there.")] = None,
) -> None:
    """Print a table of perplexities by passes."""
    documents = ppgen.load_data(data)
    rows = [row for peer in (plsa, lda) for row in peer(documents, topics, particles)]
    table = Table("model", "passes", "train", "test")
    for row in rows:
        cells = ("" if found is None else f"{found[0]:,.1f} ± {found[1]:.1f}" for found in (row.train, row.test))
        table.add_row(row.model, str(row.passes), *cells)
    Console().print(table)
    if file is not None:
        file.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    typer.run(main)
