"""Sites of K runs of one particle, side by side, as one run under a plate of particles would have them.

A run alone has values (plates..., event) of at most P plate dims; stacked, they are (K, P dims, event): particles
first, dims that a site has not are 1. Log-probabilities are taken of each run alone, from its own distribution at its
own value, so that they are what Pyro computes there; the stacked distribution is for whoever asks for its parameters,
its divergences or its support.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution, TorchDistribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import kl_divergence, register_kl

from ppgen.pairs.sites import PARTICLES, Site, own_dims, raw_log_prob

__all__ = ["StackedDistribution", "alone", "log_prob_of", "part_of_value", "stacked_site", "stacked_sites"]


def stacked_sites(runs: Sequence[dict[str, Site]], dim: int) -> dict[str, Site]:
    """The sites of K runs by name, each with the dim of particles ``dim`` (< 0), left of all plates."""
    return {name: stacked_site([run[name] for run in runs], dim) for name in runs[0]}


def log_prob_of(site: Site) -> Tensor:
    """A site's log-probability of its batch shape, particles first, without scale and mask, in nats."""
    if "parts" in site:
        return _side_by_side([log_prob_of(part) for part in site["parts"]], -1 - site["particle_dim"])
    return site["scored"] if "scored" in site else raw_log_prob(site)


def alone(site: Site) -> Site:
    """The site of the one particle that was run."""
    first: Site = site["parts"][0] if "parts" in site else site
    return first


def part_of_value(value: Any, particle: int) -> Any:
    """The value of one particle of a stacked latent, with the dims of size 1 that fill it up."""
    return value[particle] if torch.is_tensor(value) and value.dim() else value


def stacked_site(parts: Sequence[Site], dim: int) -> Site:
    """The sites of K runs, by one name, as one; sites that are not drawn yet have no value."""
    first, plates = parts[0], -1 - dim
    if site_is_subsample(first):
        return first
    fns = [part["fn"] for part in parts]
    return {
        **first,
        "parts": tuple(parts),
        "particle_dim": dim,
        "fn": _stacked_fn(fns, plates),
        "value": _shared([part["value"] for part in parts], plates + own_dims(first), first["is_observed"]),
        "scale": _shared([part["scale"] for part in parts], plates),
        "mask": _shared([part["mask"] for part in parts], plates),
        "cond_indep_stack": (
            CondIndepStackFrame(PARTICLES, dim, len(parts), 0, len(parts)),
            *first["cond_indep_stack"],
        ),
    }


def _shared(values: Sequence[Any], dims: int, common: bool = True) -> Any:
    """Tensors side by side; what is one thing to all runs (a number, the data) stays as it is where ``common``."""
    first = values[0]
    if (common or first is None) and all(
        value is first or (not torch.is_tensor(first) and value == first) for value in values
    ):
        return first
    return _side_by_side([torch.as_tensor(value) for value in values], dims)


def _side_by_side(tensors: Sequence[Tensor], dims: int) -> Tensor:
    """(K, *1, *shape) with ``dims`` dims right of the particles'; tensors of more dims keep them."""
    padded = [tensor.reshape((1,) * (dims - tensor.dim()) + tensor.shape) for tensor in tensors]
    return padded[0].unsqueeze(0) if len(padded) == 1 else torch.stack(padded)


def _stacked_fn(fns: Sequence[Any], dims: int) -> Any:
    """One distribution of batch shape (K, ...): of the family's own kind where its parameters can be stacked."""
    first = fns[0]
    if any(type(fn) is not type(first) for fn in fns):
        return StackedDistribution(fns, dims)
    if type(first) is dist.Independent:
        own = first.reinterpreted_batch_ndims
        return dist.Independent(_stacked_fn([fn.base_dist for fn in fns], dims + own), own)
    if type(first) is MaskedDistribution:
        base = _stacked_fn([fn.base_dist for fn in fns], dims)
        return MaskedDistribution(base, _shared([fn._mask for fn in fns], dims))
    if type(first) is ExpandedDistribution:
        base = _stacked_fn([fn.base_dist for fn in fns], dims)
        shape = (1,) * (dims - len(first.batch_shape)) + first.batch_shape
        return ExpandedDistribution(base, torch.Size((len(fns), *shape)))
    make = _maker(type(first))
    return StackedDistribution(fns, dims) if make is None else make(fns, dims)


_MAKERS: dict[type, Callable[[Sequence[Any], int], Any] | None] = {}


def _maker(kind: type) -> Callable[[Sequence[Any], int], Any] | None:
    """How a distribution is made of parameters stacked; None where its constructor takes more than parameters."""
    if kind not in _MAKERS:
        declared = getattr(kind, "arg_constraints", {})
        takes = set(inspect.signature(kind).parameters) - {"validate_args"}
        known = kind.__module__.startswith(("torch.distributions.", "pyro.distributions."))
        plain = known and isinstance(declared, dict) and bool(takes) and takes <= set(declared)
        _MAKERS[kind] = _made_of_parameters if plain else None
    return _MAKERS[kind]


def _made_of_parameters(fns: Sequence[Any], dims: int) -> Any:
    declared: dict[str, Any] = type(fns[0]).arg_constraints
    names = [name for name in declared if not _is_second_name(name, declared)]
    if not all(torch.is_tensor(getattr(fn, name)) for fn in fns for name in names):
        return StackedDistribution(fns, dims)
    events = {name: _event_dim(declared[name]) for name in names}
    parameters = {name: _side_by_side([getattr(fn, name) for fn in fns], dims + events[name]) for name in names}
    try:
        return type(fns[0])(**parameters, validate_args=False)
    except (TypeError, ValueError):  # its parameters are not independent of each other
        return StackedDistribution(fns, dims)


_SAME = (("logits", "probs"), ("gate_logits", "gate"), ("scale_tril", "covariance_matrix", "precision_matrix"))
"""Names of one parameter, of which a constructor takes one; the first is asked for."""


def _is_second_name(name: str, declared: Mapping[str, Any]) -> bool:
    return any(name in names[1:] and names[0] in declared for names in _SAME)


def _event_dim(constraint: Any) -> int:
    dims: int = getattr(constraint, "event_dim", 0)
    return dims


class StackedDistribution(TorchDistribution):
    """K distributions of one event shape side by side, each asked for its own part; parameters by attribute.

    Args:
        fns: the K distributions.
        dims: P, plate dims right of the particles'.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, fns: Sequence[Any], dims: int) -> None:
        self.fns, self.dims = tuple(fns), dims
        first = self.fns[0]
        pad = (1,) * (dims - len(first.batch_shape))
        shape = torch.Size((len(self.fns), *pad, *first.batch_shape))
        super().__init__(shape, first.event_shape, validate_args=False)
        self.has_rsample = all(fn.has_rsample for fn in self.fns)

    @property
    def support(self) -> Any:
        """That of the first."""
        return self.fns[0].support

    def log_prob(self, value: Tensor) -> Tensor:
        """(K, ...), in nats; ``value`` is (K, ...) too, or one for all."""
        own = self.dims + self.event_dim
        parts = value.unbind(0) if value.dim() > own else (value,) * len(self.fns)
        parts = parts * len(self.fns) if len(parts) == 1 else parts
        shaped = [_less_padding(part, fn) for part, fn in zip(parts, self.fns, strict=True)]
        found = [fn.log_prob(part) for part, fn in zip(shaped, self.fns, strict=True)]
        return _side_by_side(found, self.dims)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Differentiable draws, (*sample_shape, K, ...)."""
        return self._draws([fn.rsample(sample_shape) for fn in self.fns], len(sample_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, (*sample_shape, K, ...)."""
        with torch.no_grad():
            return self._draws([fn.sample(sample_shape) for fn in self.fns], len(sample_shape))

    def _draws(self, draws: Sequence[Tensor], before: int) -> Tensor:
        padded = [
            draw.reshape(
                *draw.shape[:before],
                *(1,) * (before + self.dims + self.event_dim - draw.dim()),
                *draw.shape[before:],
            )
            for draw in draws
        ]
        return torch.stack(padded, before)

    @property
    def mean(self) -> Tensor:
        """Of each."""
        mean: Tensor = self._of_each("mean")
        return mean

    @property
    def variance(self) -> Tensor:
        """Of each."""
        variance: Tensor = self._of_each("variance")
        return variance

    def entropy(self) -> Tensor:
        """Of each, in nats."""
        return _side_by_side([fn.entropy() for fn in self.fns], self.dims)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("fns", "dims"):
            raise AttributeError(name)
        return self._of_each(name)

    def _of_each(self, name: str) -> Any:
        values = [getattr(fn, name) for fn in self.fns]
        if not all(torch.is_tensor(value) for value in values):
            return values[0]
        return _side_by_side(values, self.dims + values[0].dim() - len(self.fns[0].batch_shape))


def _less_padding(value: Tensor, fn: Any) -> Tensor:
    """A particle's value without the dims of size 1 that its distribution has not."""
    surplus = value.dim() - len(fn.batch_shape) - fn.event_dim
    return value.reshape(value.shape[surplus:]) if surplus > 0 and set(value.shape[:surplus]) == {1} else value


@register_kl(StackedDistribution, StackedDistribution)  # type: ignore[untyped-decorator]  # torch leaves it so
def _kl_stacked(q: StackedDistribution, p: StackedDistribution) -> Tensor:
    return _side_by_side([torch.as_tensor(kl_divergence(a, b)) for a, b in zip(q.fns, p.fns, strict=True)], q.dims)
