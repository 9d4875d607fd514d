"""20 Newsgroups as bags of words: Usenet posts of 1993, in the vocabulary that neural topic models are compared on."""

from __future__ import annotations

from ppgen.arguments import Count, at_most
from ppgen.data.assemble import Part, assemble, permutation
from ppgen.data.dataset import Dataset
from ppgen.data.download import PLACE, find
from ppgen.data.formats import check_rows
from ppgen.data.words import read_counts, read_vocabulary
from ppgen.errors import UsageError
from ppgen.registry import register_data

__all__ = ["twenty_news"]

FILES = ("20news.npz", "20news_vocab.txt")
ROWS = {"train": 11_258, "test": 7_487}
WORDS = 1995
PAGE = "https://github.com/sophieburkhardt/dirichlet-vae-topic-models"


@register_data(
    "20news",
    summary="Usenet posts to 20 newsgroups, word counts over 1,995 words",
    reference="Srivastava and Sutton, Autoencoding variational inference for topic models",
    year=2017,
    link="https://arxiv.org/abs/1703.01488",
    tags=("text", "counts"),
)
def twenty_news(*, num_valid: Count = 1000) -> Dataset:
    """11,258 - ``num_valid`` documents train, ``num_valid`` validate, 7,487 test, as ProdLDA's paper has them.

    The empty document that ends each part of the files is dropped, and each part is put in the fixed order
    ``RandomState(0).permutation(n)``; the last ``num_valid`` of train validate. The first of the 1,995 words,
    ``_eos_``, never occurs. x is sparse in memory.

    Args:
        num_valid: how many of the training documents to validate on.

    Raises:
        UsageError: the folder of PPGEN_DATA does not hold both files.
    """
    at_most("num_valid", num_valid, ROWS["train"] - 1)
    archive, words = (find(file) for file in FILES)
    if archive is None or words is None:
        raise UsageError(
            f"data set '20news' needs {' and '.join(FILES)} (data/20news of {PAGE} in compressed sparse rows), which "
            f"are not downloaded, for want of a published checksum: {PLACE}."
        )
    vocabulary = read_vocabulary(words)
    parts = []
    for split, rows in ROWS.items():
        counts = read_counts(archive, split, len(vocabulary))
        check_rows(archive, counts, (rows + 1, WORDS))
        parts.append(Part(counts[:rows])[permutation(rows, 0)])
    train, test = parts
    kept = train[:-num_valid], train[-num_valid:], test
    return assemble("20news", *kept, observation="counts", vocabulary=vocabulary)
