"""Fifty topics of 20news (pydoc where its files are not at hand): what a library does with one batch of documents."""

import numpy as np
import torch
from pyro.infer import Trace_ELBO
from scipy.sparse import csr_matrix

import ppgen
from peers import Step
from peers.common import svi, turns
from ppgen.data import Dataset
from ppgen.errors import UsageError
from ppgen.inference import ELBO

__all__ = ["corpus", "eager", "ours", "scikit_learn", "stock_pyro", "tomotopy"]

TOPICS, RATE = 50, 0.05


def corpus(name: str | None = None) -> Dataset:
    """The data set of that name; without one 20news, or the embedded pydoc where its files are not at hand."""
    try:
        return ppgen.load_data(name or "20news")
    except UsageError:
        if name:
            raise
        return ppgen.load_data("pydoc")


def ours(batch_size: int, num_particles: int, device: str, *, eager: bool = False) -> Step[None]:
    """The compiled turn."""
    data = corpus()
    pair = ppgen.make_pair("lda", data.spec, num_topics=TOPICS)
    return turns(pair, data.train[0][:], ELBO(), batch_size, eager=eager, lr=RATE)


def eager(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """The same turn without a compiler."""
    return ours(batch_size, num_particles, device, eager=True)


def stock_pyro(batch_size: int, num_particles: int, device: str) -> Step[float]:
    """`SVI` with `Trace_ELBO` on the same pair."""
    data = corpus()
    pair = ppgen.make_pair("lda", data.spec, num_topics=TOPICS)
    return svi(pair, data.train[0][:], Trace_ELBO(), batch_size, RATE)


def scikit_learn(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """`LatentDirichletAllocation.partial_fit` of a batch: online variational Bayes, no gradient."""
    from sklearn.decomposition import LatentDirichletAllocation

    x = csr_matrix(corpus().train[0][:].numpy())
    model = LatentDirichletAllocation(TOPICS, learning_method="online", random_state=0, total_samples=x.shape[0])
    generator = np.random.default_rng(0)
    return Step(lambda: model.partial_fit(x[generator.permutation(x.shape[0])[:batch_size]]), lambda _: 0.0)


def tomotopy(batch_size: int, num_particles: int, device: str) -> Step[None]:
    """A sweep of collapsed Gibbs sampling over all documents counts as so many batches as they fill."""
    import tomotopy as tp

    x = corpus().train[0][:]
    model = tp.LDAModel(k=TOPICS, seed=0)
    for document in x:
        words = document.nonzero().squeeze(-1)
        model.add_doc([str(word) for word in words.repeat_interleave(document[words].long()).tolist()])
    threads = torch.get_num_threads()
    return Step(lambda: model.train(1, workers=threads), lambda _: 0.0, per_call=len(x) / batch_size)
