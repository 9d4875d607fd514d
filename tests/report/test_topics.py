"""The topics on the report's page: their order, words, shares and pictures; nothing for other pairs."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen import UsageError
from ppgen.data import Dataset, DataSpec
from ppgen.distributions.bag_of_words import BagOfWords
from ppgen.inference import ELBO
from ppgen.models import VAE
from ppgen.pairs.pair import Pair
from ppgen.report.topics import topics
from ppgen.runs.config import describe
from ppgen.runs.run import Run
from ppgen.training.options import TrainingOptions

WORDS = tuple("abcdefghijkl")


class Topical(Pair):
    """Two topics over twelve words, and shares of them that the guide takes for softmax(N(loc, 0.01^2))."""

    def __init__(self, table: Tensor, loc: Tensor) -> None:
        super().__init__()
        self.topics, self.loc = table, loc

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.loc), 1.0).to_event(1))
            pyro.sample("x", BagOfWords((z.softmax(-1) @ self.topics).log(), x.sum(-1)), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.loc, 0.01).to_event(1))


class Shared(Topical):
    """The same that says which latent the shares are."""

    shares_site: ClassVar[str] = "z"


def _run(pair: Pair, **options: object) -> Run:
    spec = DataSpec("tiny", 12, "counts", vocabulary=WORDS)
    spec = dataclasses.replace(spec, **options)  # type: ignore[arg-type]  # fields by name
    x = 1 + torch.poisson(torch.ones(40, spec.num_features), generator=torch.Generator().manual_seed(0))
    data = Dataset(spec, (x,), (x,), (x,))
    return Run(pair, data, ELBO(), describe(pair, data, ELBO(), TrainingOptions()), [])


def _table() -> Tensor:
    """Topic 0 falls along the alphabet, topic 1 rises."""
    falling = torch.arange(12, 0, -1) / 78
    return torch.stack([falling, falling.flip(0)])


def test_topics_come_by_their_shares_with_their_most_probable_words() -> None:
    """The guide's mean shares are 0.1 and 0.9; 400 draws have a standard error below 0.001."""
    section = topics(_run(Shared(_table(), torch.tensor([0.1, 0.9]).log())))
    assert section is not None
    header, first, second = section.table
    assert header == ("topic", "share", "main of", "NPMI", "most probable words, in percent", "nearest documents")
    assert (first[0], second[0]) == ("1", "0")
    assert (first[2], second[2]) == ("40", "0")
    assert first[5].count("(90\N{NO-BREAK SPACE}%)") == 3
    assert float(first[1].removesuffix(" %")) == pytest.approx(90, abs=0.5)
    assert second[4].replace("\N{NO-BREAK SPACE}", " ").startswith("a 15.4, b 14.1, c 12.8")
    assert second[4].count(",") == 9
    assert section.text_columns == (4, 5)


def test_without_shares_topics_come_by_their_coherence() -> None:
    section = topics(_run(Topical(_table(), torch.ones(2))))
    assert section is not None
    header, *rows = section.table
    assert header[:2] == ("topic", "NPMI")
    values = [float(row[1].replace("−", "-")) for row in rows]
    assert values == sorted(values, reverse=True)


def test_of_data_that_are_pictures_so_are_topics() -> None:
    section = topics(_run(Topical(_table(), torch.ones(2)), image_shape=(3, 4)))
    assert section is not None
    (figure,) = section.figures
    assert "<img" in figure.body
    assert "white 15.4 percent" in figure.caption
    assert not topics(_run(Topical(_table(), torch.ones(2)))).figures  # type: ignore[union-attr]  # it has topics


def test_a_small_vocabulary_without_names_has_words_by_number_and_no_coherence() -> None:
    section = topics(_run(Shared(torch.tensor([[0.75, 0.25]]), torch.ones(1)), num_features=2, vocabulary=None))
    assert section is not None
    assert section.table[0] == ("topic", "share", "main of", "most probable words, in percent", "nearest documents")
    assert section.table[1][:4] == ("0", "100.0 %", "40", "word 0\N{NO-BREAK SPACE}75.0, word 1\N{NO-BREAK SPACE}25.0")


def test_three_topics_or_more_have_a_map_where_they_are_no_pictures() -> None:
    three = torch.cat([_table(), _table().mean(0, keepdim=True)])
    (figure,) = topics(_run(Topical(three, torch.ones(3)))).figures  # type: ignore[union-attr]  # it has topics
    assert "Map of 3 topics" in figure.body


def test_a_pair_without_topics_has_no_such_section() -> None:
    assert topics(_run(VAE(DataSpec("tiny", 12, "counts"), 2, hidden=(4,)))) is None


def test_topics_that_are_no_distributions_are_refused() -> None:
    with pytest.raises(UsageError, match="row 0 to sum to one"):
        topics(_run(Topical(2 * _table(), torch.ones(2))))
