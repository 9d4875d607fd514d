"""What a case is: a pair as its author wrote it, what stock Pyro trains it with, and what is true of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pyro
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

import ppgen
from ppgen.inference import ELBO

__all__ = ["SEED", "Case", "Made", "Weights", "quiet"]

SEED = 20_240_229

Weights = Literal["datum", "joint", "global"]
"""Whose log-weights there are: each datum's, (K, B); those of all that was observed together, (K, 1), where no one
plate holds the data; each datum's beside those of latents outside the data plate, which ``log_weights`` refuses."""


@dataclass(frozen=True)
class Made:
    """Two callables and what they are called with, as ``SVI(model, guide, ...).step(*args, **kwargs)`` takes them."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    columns: bool = True
    """Whether arguments that are tensors are columns of a data set, with a datum in each row."""

    def bound(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Model and guide with the keyword arguments bound: what functions that take a batch alone are given."""
        if not self.kwargs:
            return self.model, self.guide
        return partial(self.model, **self.kwargs), partial(self.guide, **self.kwargs)

    def pair(self) -> ppgen.Pair:
        """The two as a pair; the plate of the data is not named."""
        return ppgen.pair_from(*self.bound())

    @property
    def tensors(self) -> tuple[Tensor, ...] | None:
        """The arguments, where they are tensors with one leading size, as a data set's columns are; else None."""
        if not self.columns or not self.args or not all(torch.is_tensor(part) and part.dim() for part in self.args):
            return None
        return self.args if len({len(part) for part in self.args}) == 1 else None


@dataclass(frozen=True, eq=False)
class Case:
    """One pair in the idiom of a public example, and the facts that the laws of :mod:`tests.public.laws` need.

    To add one: 1. write model and guide in the file of its kind, with names and numbers of your own; 2. add a
    :class:`Case` to the file's ``CASES``, naming the public example; 3. ``python -m tests.public.outcomes NAME``.
    """

    name: str
    idiom: str
    """The public example whose idiom it has, and what the idiom is."""
    make: Callable[[], Made]
    weights: Weights = "datum"
    num_data: int | None = None
    """B of the (K, B) log-weights; None: they are joint."""
    scale: float = 1.0
    """N / B of a subsampled data plate, by which stock's loss is more than the sum over the batch."""
    stock: Any = field(default_factory=Trace_ELBO)
    """Pyro's own objective, by which its author trains it."""
    ours: Callable[[int], Any] = lambda num_particles: ELBO(num_particles=num_particles)
    """The objective here whose loss has the same expectation, of a number of particles."""
    same_seed: bool = True
    """Whether one particle of ``ours`` draws the random numbers that ``stock`` draws, in the same order."""
    same_gradient: bool = True
    """Whether then its gradient is stock's too: both are pathwise, or both sums over states."""
    summed: tuple[str, ...] = ()
    """Latents that are summed out of the model, and that the guide does not have."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Laws that are refused by a ``UsageError``, each with a pattern that its sentence must match."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Rules of ``check_pair`` that the pair breaks, each with the reason why that verdict is right."""
    log_evidence: Callable[..., Tensor] | None = None
    """Exact log p(x) in nats of the arguments, (B,) or (1,), where it is known."""
    compiled: bool = False
    """Whether its step is compiled too, which takes long: one case of each kind."""
    repeats: int = 60
    """Losses of each kind that the z-test takes."""

    def built(self) -> Made:
        """The pair made anew under the case's seed, with an empty param store; its lazy parameters are created."""
        made = self.fresh()
        with quiet(), torch.no_grad():
            self.stock.loss(made.model, made.guide, *made.args, **made.kwargs)
        pyro.set_rng_seed(SEED)
        return made

    def fresh(self) -> Made:
        """The pair made anew, before its first run."""
        pyro.clear_param_store()
        pyro.set_rng_seed(SEED)
        with quiet():
            return self.make()


@contextmanager
def quiet() -> Iterator[None]:
    """Within it Pyro's own warnings of legal idioms pass."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"pyro\.")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"pyro\.")
        yield
