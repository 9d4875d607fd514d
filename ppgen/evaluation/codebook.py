"""The use of a codebook: how many of its codes are as good as used.

    perplexity = exp( - sum_c p_c log p_c ),        p_c: the share of all latents of all data that have the code c

of pairs with ``chosen(x)``, whole numbers, (B, D) to (B, M), and ``num_codes``, C. It is C where all are used alike and
1 where one is; codes with p_c = 0 are dead. Neural Discrete Representation Learning, van den Oord, Vinyals and
Kavukcuoglu, 2017.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ppgen.evaluation.case import Case
from ppgen.evaluation.result import Measure
from ppgen.pairs.looking import looking

__all__ = ["codebook_use"]

_ROWS = 1000
"""Data at a time."""


def codebook_use(case: Case) -> Iterator[Measure]:
    """``codebook_perplexity`` and ``dead_codes`` of pairs that choose codes."""
    chosen, num_codes = getattr(case.pair, "chosen", None), getattr(case.pair, "num_codes", None)
    if not callable(chosen) or num_codes is None:
        return
    with looking(case.pair):
        found = [chosen(part).flatten().bincount(minlength=num_codes) for part in case.batch[0].split(_ROWS)]
    counts = torch.stack(found).sum(0).double()
    of = f"{int(counts.sum()):,} latents of {case.num_data:,} {case.split} data"
    meaning = f"codes that are as good as used of {num_codes:,}, exp of the entropy of their shares among {of}"
    yield Measure("codebook_perplexity", float(torch.distributions.Categorical(counts).entropy().exp()), None, meaning)
    yield Measure("dead_codes", float((counts == 0).sum()), None, f"codes of {num_codes:,} that none has of {of}")
