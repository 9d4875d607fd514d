"""The contract of energy-based pairs: an unnormalised density, its free energy, and Markov chains that leave it alone.

    log p(v, h) = log p~(v, h) - log Z,        F(v) = -log sum_h exp log p~(v, h)        (nats)

The pair's model states log p~. Where its guide is the exact p(h | v), every log-weight is -F(v), without variance;
where it is not (``exact_guide = False``), their log-mean-exp is below -F(v) in expectation. What
training lacks of a likelihood is log Z, whose gradient is an expectation under the pair's own distribution: a
*negative phase*, read off chains. What evaluation lacks is its value, estimated along the path of tempered
distributions p~_b from a factorised one (b = 0) to the pair's own (b = 1).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import owner, owner_of_kind
from ppgen.pairs.path import Path
from ppgen.pairs.rows import x_of
from ppgen.pairs.running import Batch
from ppgen.pairs.sampling import Draws

__all__ = ["SWEEPS", "EnergyPair", "check_tells_labels", "energy_pair"]

SWEEPS = 1000
"""Sweeps between a chain's start and what is called a sample."""


class EnergyPair(Pair):
    """A pair whose model is known up to its normalising constant; v is one datum, (..., D).

    Its chains move a *state* s, (..., S): v itself, unless :meth:`state_at` and :meth:`visible` say otherwise (v and
    hidden layers side by side). All methods take any number of leading dims. Those that draw use torch's global random
    numbers and tensor operations alone: they can be traced into a compiled step.

    ``free_energy`` is exact, or, where ``free_energy_is_exact`` is False, a bound from above.

    To add one: 1. write ``model`` with the latents drawn in the data plate and one ``pyro.factor`` there, and the
    ``guide``, exact unless ``exact_guide`` is False; 2. write the methods below, of which ``log_tempered`` at b = 1
    is minus ``free_energy`` where a state is v; 3. register it as any pair; objectives with ``needs_energy`` train it.

    >>> import ppgen
    >>> pair = ppgen.models.RBM(ppgen.DataSpec("bits", 4, "binary"), hidden=2)
    >>> pair.chain_states(3, after=(0, 10)).shape  # three chains, at their start and after ten sweeps
    torch.Size([2, 3, 4])
    >>> v = torch.zeros(5, 4)
    >>> torch.allclose(pair.free_energy(v), -pair.log_tempered(v, 1.0))
    True
    """

    normalised: ClassVar[bool] = False
    exact_guide: ClassVar[bool] = True
    observation: str | None = None
    """What a datum is, as ``DataSpec.observation`` says it; None: the pair does not say."""
    free_energy_is_exact: bool = True
    """Whether ``free_energy`` is F itself; otherwise it is a bound, F or more."""
    reversible: bool = True
    """Whether its sweeps are: p(s) T(s, s') = p(s') T(s', s), as v -> h -> v' is, and one unit after another is not."""
    has_chains: ClassVar[bool] = True

    @abstractmethod
    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = -log sum_h p~(v, h), (..., D) -> (...,), in nats."""

    @abstractmethod
    def sweep(self, s: Tensor) -> Tensor:
        """One sweep of block Gibbs sampling, v -> h -> v'; of a state, (..., S) -> (..., S)."""

    @abstractmethod
    def log_tempered(self, s: Tensor, b: Tensor | float) -> Tensor:
        """log p~_b of a state, (..., S) -> (...,), in nats; b in [0, 1], broadcast with the leading dims."""

    @abstractmethod
    def tempered_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        """One sweep that leaves p~_b invariant, (..., S) -> (..., S)."""

    def held_sweep(self, s: Tensor, b: Tensor | float) -> Tensor:
        """One sweep of the hidden units of a state, its datum held, that leaves p~_b(h | v) invariant, (..., S) ->
        (..., S); for states (v, h), h binary, of a pair whose tempered path begins with fair bits h.

        Raises:
            UsageError: the pair has no such sweep: ``can_be_held`` is False.
        """
        raise UsageError(
            f"{type(self).__name__} has no sweep that holds a datum: write held_sweep(s, b), and set can_be_held, or "
            "take the bound by the guide's draws."
        )

    @abstractmethod
    def base_sample(self, num: int) -> Tensor:
        """``num`` independent draws of states from p~_0, (num, S)."""

    @abstractmethod
    def base_log_z(self) -> Tensor:
        """log of the integral of p~_0, a scalar, in nats."""

    @abstractmethod
    def exact_log_z(self) -> Tensor:
        """log Z by enumeration, a scalar, in nats.

        Raises:
            UsageError: there are more than 2**22 states to sum over.
        """

    def exact_log_zs(self, sizes: Tensor) -> Tensor:
        """log Z of data of each of these sizes, (S,) -> (S,), by enumeration, in nats; see ``log_z_sizes``."""
        raise UsageError(f"{type(self).__name__} has one log Z, whatever the data's size: ask for exact_log_z.")

    def growing(self) -> Path:
        """A path along which data grow: b is their size, and whole b are the pair's own; see ``log_z_sizes``."""
        raise UsageError(f"{type(self).__name__} has one log Z, whatever the data's size: anneal the pair itself.")

    def mean_field_free_energy(self, v: Tensor) -> Tensor:
        """The mean field's bound from above on F(v), (..., D) -> (...,), in nats; F(v) itself where hidden units are
        independent given v, as they are unless a pair says otherwise."""
        return self.free_energy(v)

    def datum(self, batch: Batch) -> Tensor:
        """What of a batch ``free_energy`` takes and a chain starts at: x, (B, D), or what the pair makes of (x, y).

        Raises:
            UsageError: x is no tensor with rows, or something is missing.
        """
        return x_of(batch, type(self).__name__)

    @property
    def can_be_held(self) -> bool:
        """Whether there is a :meth:`held_sweep`."""
        return type(self).held_sweep is not EnergyPair.held_sweep

    @property
    def has_own_state(self) -> bool:
        """Whether a chain's state is more than a datum."""
        return type(self).state_at is not EnergyPair.state_at

    def state_at(self, v: Tensor) -> Tensor:
        """A state at the datum v, where a chain may start, (..., D) -> (..., S)."""
        return v

    def visible(self, s: Tensor) -> Tensor:
        """The datum at a state, (..., S) -> (..., D)."""
        return s

    def unit_means(self, v: Tensor) -> Tensor:
        """E of each hidden unit given v, (..., D) -> (..., H), with its gradient: what a sparsity penalty reads.

        Raises:
            UsageError: the pair does not tell.
        """
        raise UsageError(
            f"a sparsity penalty reads the means of hidden units, and {type(self).__name__} does not tell any: leave "
            "sparsity out, or write unit_means(v)."
        )

    def flip_gains(self, v: Tensor, features: Tensor) -> Tensor:
        """F(v with feature i flipped) - F(v) of binary data (B, D), for each i of ``features`` (M,): (M, B), nats."""
        flipped = v.expand(len(features), *v.shape).clone()  # (M, B, D)
        flipped[torch.arange(len(features), device=v.device), :, features] = 1 - v[:, features].T
        return self.free_energy(flipped) - self.free_energy(v)

    def upper_filters(self) -> Sequence[Tensor]:
        """Of each layer above the first hidden one, from below, what a unit weighs each feature with along all ways
        down to it: the product of the weights between, (D, units). Empty: there is no such layer."""
        return ()

    def check_observation(self, needed: str | None, needed_by: str) -> None:
        """Whether a datum is of the kind that an objective is for; None: of any.

        Raises:
            UsageError: it is of another.
        """
        if needed is not None and self.observation != needed:
            got = f"is one of {self.observation} data" if self.observation else "does not say what its data are"
            raise UsageError(
                f"{needed_by} is for densities of {needed} data, and {type(self).__name__} {got}: choose 'cd' or "
                f"'pcd', or say observation = {needed!r} in a pair of your own whose data are."
            )

    def holding_labels(self, s: Tensor, batch: Batch) -> Tensor:
        """States (M, S) with the labels of a batch, in turn, in the place of theirs; of a pair without labels, s."""
        return s

    @property
    def holds_labels(self) -> bool:
        """Whether its draws are made for the labels that a batch has."""
        return False

    def chain_states(
        self, num: int, start: Tensor | None = None, after: Sequence[int] = (SWEEPS,), labels_of: Batch = ()
    ) -> Tensor:
        """Where ``num`` chains stand after so many sweeps each, (len(after), num, S).

        Args:
            num: of the chains.
            start: states, (M, S), gone through in turn, such as the persistent chains of a run; None: draws of the base
                distribution of the annealing path.
            after: numbers of sweeps, ascending; 0 is the start.
            labels_of: a batch whose labels the chains hold, which then draw from p(x | y); without labels: none.
        """
        s = self.base_sample(num) if start is None else start[torch.arange(num, device=start.device) % len(start)]
        s = self.holding_labels(s, labels_of)
        states, done = [], 0
        for sweeps in after:
            for _ in range(sweeps - done):
                s = self.holding_labels(self.sweep(s), labels_of)
            states.append(s)
            done = sweeps
        return torch.stack(states)

    def draw_data(self, batch: Batch, num: int, start: Tensor | None = None) -> Draws:
        """``num`` data by 1,000 sweeps of as many chains, from ``start`` or from the base distribution."""
        x = self.visible(self.chain_states(num, start, labels_of=batch)[-1])
        began = "draws of its base distribution" if start is None else "its persistent chains"
        held = ", their labels held" if self.holds_labels and len(batch) > 1 else ""
        said = f"Markov chains after {SWEEPS:,} sweeps from {began}{held}"
        return Draws(x, x, said, said, "Markov chains")

    def remake_data(self, batch: Batch) -> Draws:
        """Every datum of ``batch`` after one sweep from it."""
        x = self.visible(self.sweep(self.state_at(self.datum(batch))))
        said = "a draw by one sweep from it"
        return Draws(x, x, said, said)


def energy_pair(model: Callable[..., Any], needed_by: str) -> EnergyPair:
    """The energy-based pair that a program's model belongs to, or that is given itself.

    Raises:
        UsageError: it belongs to none.
    """
    return owner_of_kind(
        model,
        EnergyPair,  # type: ignore[type-abstract]
        f"{needed_by} needs an energy-based pair, one with free_energy(v) and sweep(v)",
        "choose another objective, or a model such as 'rbm' (your own: subclass ppgen.pairs.EnergyPair)",
    )


def check_tells_labels(model: Callable[..., Any], batch: Batch, needed_by: str) -> None:
    """Whether a pair gives p(y | x), ``label_log_probs(x)``, and the batch holds y.

    Raises:
        UsageError: one of them is missing.
    """
    pair: Any = owner(model)
    if not callable(getattr(pair, "label_log_probs", None)) or getattr(pair, "num_classes", None) is None:
        raise UsageError(
            f"{needed_by} trains p(y | x), and {type(pair).__name__} has no labels: make it with labels=True, of data "
            "loaded with labels=True, or choose another objective."
        )
    if len(batch) < 2:
        raise UsageError(f"{needed_by} needs batches (x, y), got x alone: load the data with labels=True.")
