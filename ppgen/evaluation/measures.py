"""The measures that stand beside the log-likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ppgen.evaluation.accuracy import accuracies
from ppgen.evaluation.annealed import annealed_likelihood
from ppgen.evaluation.case import Case
from ppgen.evaluation.classified import classified
from ppgen.evaluation.clusters import cluster_accuracies
from ppgen.evaluation.codebook import codebook_use
from ppgen.evaluation.coherence import coherences
from ppgen.evaluation.factors import factors
from ppgen.evaluation.judged import judged
from ppgen.evaluation.labels import of_labels
from ppgen.evaluation.manifolds import neighbourhoods
from ppgen.evaluation.memorisation import memorisation
from ppgen.evaluation.modes import coverage
from ppgen.evaluation.orders import of_orders
from ppgen.evaluation.perplexity import perplexities
from ppgen.evaluation.raised import conservative
from ppgen.evaluation.reconstruction import reconstruction
from ppgen.evaluation.result import Measure
from ppgen.evaluation.translation import translation
from ppgen.evaluation.two_sample import two_sample

__all__ = ["MEASURES"]

MEASURES: list[Callable[[Case], Iterable[Measure]]] = [
    coverage,
    two_sample,
    memorisation,
    of_orders,
    perplexities,
    coherences,
    accuracies,
    reconstruction,
    factors,
    codebook_use,
    translation,
    of_labels,
    cluster_accuracies,
    classified,
    neighbourhoods,
    judged,
    annealed_likelihood,
    conservative,
]
"""In the order in which they are shown. To add one: write a function of the case that yields its numbers, or nothing
where it does not apply (told by what the pair and the data are capable of, never by a name), and put it here."""
