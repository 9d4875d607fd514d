"""Held-out perplexity, coherence and time of topics: this project's ``lda`` beside scikit-learn's online LDA.

    .venv/bin/python benchmarks/topics.py [--data 20news] [--topics 50] [--particles 100] [--json FILE]

Both see the same training documents. Of each test document both are given the same half of the words, drawn once, and
predict the other half; one function scores them (``ppgen.evaluation.perplexity.score_completion``). Ours is

    ppgen train lda --data 20news -M num_topics=50 --objective elbo --epochs 12 --batch-size 200 --lr 0.05

and its predictive that of ``ppgen evaluate --particles 100``; its seconds hold the compiling of the step. Theirs is
``transform(first half)`` times its topics, at the defaults but for the number of topics and online learning. The
unigram distribution of the training documents shows what no topics at all reach.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from peers.lda import corpus
from rich.console import Console
from rich.table import Table
from scipy.sparse import csr_matrix
from sklearn.decomposition import LatentDirichletAllocation
from torch import Tensor

import ppgen
from ppgen.data import Dataset
from ppgen.evaluation.coherence import published_coherence
from ppgen.evaluation.perplexity import halves, predictive, score_completion

__all__: list[str] = []

Fitted = tuple[Callable[[Tensor], Iterable[Tensor]], Tensor | None]
"""What predicts words from parts of documents, (D, V) to pieces of (rows, V), and the topics, (K, V), if any."""


@dataclass(frozen=True)
class Row:
    """What one peer gave: seconds to train and to predict, perplexity and its standard error, NPMI on the test data."""

    peer: str
    train_seconds: float
    predict_seconds: float
    perplexity: float
    standard_error: float
    npmi: float | None


def ours(data: Dataset, topics: int, particles: int) -> Fitted:
    """``lda`` as the command in this file's first lines trains it."""
    torch.manual_seed(0)
    pair = ppgen.make_pair("lda", data.spec, num_topics=topics)
    ppgen.fit(pair, data, ppgen.make_objective("elbo"), epochs=12, batch_size=200, lr=0.05, seed=0)
    return (lambda x: predictive(pair, (x,), particles)), pair.topics.detach()


def scikit_learn(data: Dataset, topics: int, particles: int) -> Fitted:
    """Online LDA; it has no use for particles."""
    model = LatentDirichletAllocation(topics, learning_method="online", random_state=0)
    model.fit(csr_matrix(data.train[0][:].numpy()))
    words = torch.from_numpy(model.components_ / model.components_.sum(1, keepdims=True))
    return (lambda x: [torch.from_numpy(model.transform(csr_matrix(x.numpy()))) @ words]), words


def unigram(data: Dataset, topics: int, particles: int) -> Fitted:
    """Every word by its share of the training documents."""
    words = data.train[0][:].double().sum(0)
    return (lambda x: [(words / words.sum()).expand_as(x)]), None


def measured(fit: Callable[[Dataset, int, int], Fitted], data: Dataset, topics: int, particles: int) -> Row:
    """Train one peer and score it on the test documents of at least two words."""
    start = time.perf_counter()
    predict, found = fit(data, topics, particles)
    trained = time.perf_counter()
    documents = data.test[0][:]
    first, second = halves(documents)
    rows = second.sum(1) > 0
    score = score_completion(predict(first[rows]), second[rows])
    done = time.perf_counter()
    npmi = None if found is None else float(published_coherence(found, documents).mean())
    return Row(fit.__name__, trained - start, done - trained, score.value, score.standard_error, npmi)


def main(
    data: Annotated[str | None, typer.Option(help="Counts.", show_default="20news, or pydoc without its files")] = None,
    topics: Annotated[int, typer.Option(min=2, help="Topics.")] = 50,
    particles: Annotated[int, typer.Option(min=1, help="Draws for each document in our predictive.")] = 100,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the results here.")] = None,
) -> None:
    """Train and score all, one after the other, and print perplexities and seconds."""
    documents = corpus(data)
    rows = {fit: measured(fit, documents, topics, particles) for fit in (unigram, scikit_learn, ours)}
    table = Table(title=f"{documents.spec.name}, {topics} topics, {torch.get_num_threads()} threads, K = {particles}")
    for column in ("peer", "train s", "predict s", "perplexity", "±", "NPMI"):
        table.add_column(column, justify="left" if column == "peer" else "right")
    for row in rows.values():
        numbers = (f"{row.train_seconds:.1f}", f"{row.predict_seconds:.1f}", f"{row.perplexity:.1f}")
        npmi = "-" if row.npmi is None else f"{row.npmi:.3f}"
        table.add_row(row.peer, *numbers, f"{row.standard_error:.1f}", npmi)
    ratio = rows[ours].perplexity / rows[scikit_learn].perplexity
    console = Console()
    console.print(table)
    console.print(f"perplexity, ours/scikit_learn {ratio:.3f}")
    if json_file:
        found = {
            "data": documents.spec.name,
            "topics": topics,
            "particles": particles,
            "rows": [asdict(row) for row in rows.values()],
        }
        json_file.write_text(json.dumps(found | {"ratio": ratio}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
