"""Flows by name: invertible transforms that bend a Gaussian, of a context where there is one.

    y = T_n o ... o T_1(x),   x ~ N(0, I):        log p(y) = log N(x; 0, I) - sum_i log |det dT_i|        (nats)

An autoregressive transform is one pass in one direction and D passes in the other. A guide draws and scores what it
drew, a density or a prior scores what it is given: ``direction`` says which of the two is to be the pass.

    planar    x + u tanh(w . x + b)                                draws alone; no inverse
    affine    y_i = mu_i(x_<i) + sigma_i(x_<i) x_i                 ``iaf`` where it draws, ``maf`` where it scores
    realnvp   half of x is kept, the other half shifted and scaled by what is kept; one pass both ways
    spline    y_i a monotonic rational spline of x_i, its knots of x_<i

Successive transforms see the features in alternating order. They are Pyro's.

References: Rezende and Mohamed, Variational inference with normalizing flows, 2015 (planar); Kingma et al., Improving
variational inference with inverse autoregressive flow, 2016; Papamakarios et al., Masked autoregressive flow, 2017;
Dinh et al., Density estimation using real NVP, 2017; Durkan et al., Neural spline flows, 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import pyro.distributions as dist
import pyro.distributions.transforms as T
import torch
from pyro.nn import ConditionalAutoRegressiveNN, ConditionalDenseNN, DenseNN
from torch import Tensor, nn

from ppgen.arguments import Count, Sizes, check_names, checked, one_of
from ppgen.calls import parse_calls
from ppgen.errors import UsageError, shown

__all__ = ["FLOWS", "Direction", "Flow", "flow"]

Direction = Literal["drawing", "scoring"]
"""Which way is one pass: from the base to y, or from y to the base."""


_NO_HIDDEN = "a flow's networks need one hidden layer or more, got hidden=()."


class Flow(nn.Module):
    """A Gaussian bent by transforms one after another.

    Args:
        transforms: Pyro's conditional transforms, the first next to the base.
        context_dim: size of the context; 0: there is none.
    """

    def __init__(self, transforms: list[nn.Module], context_dim: int) -> None:
        super().__init__()
        self.transforms, self.context_dim = nn.ModuleList(transforms), context_dim

    def forward(self, base: Any, context: Tensor | None = None) -> Any:
        """The distribution of T(x), x ~ base: event shape (D,).

        Args:
            base: of event shape (D,).
            context: (..., context_dim), of the base's batch shape or what broadcasts with it.
        """
        given = next(self.parameters()).new_zeros(0) if context is None else context
        return dist.TransformedDistribution(base, [cast(Any, each).condition(given) for each in self.transforms])

    @property
    def both_ways(self) -> bool:
        """Whether drawing and scoring are one pass each."""
        return all(isinstance(each, T.ConditionalAffineCoupling | _Reversed) for each in self.transforms)


def flow(
    text: str, dim: int, context_dim: int = 0, *, direction: Direction = "drawing", others: tuple[str, ...] = ()
) -> Flow:
    """The flow that a text names, ``"iaf(num=2)"``; untrained affine ones leave the base as it is.

    Args:
        text: a name of ``FLOWS`` and its options: ``num`` transforms, ``hidden`` sizes of their networks' layers, and
            of splines the number of ``bins``.
        dim: D.
        context_dim: size of the context; 0: there is none.
        direction: what is to be one pass.
        others: further names that are allowed where the text is read, for the sentence.

    Raises:
        UsageError: an unknown name or option, a value that is none, a network narrower than D, or no inverse where
            values are to be scored.

    >>> bent = flow("iaf(num=2)", dim=3, context_dim=4)
    >>> bent(dist.Normal(torch.zeros(5, 3), 1.0).to_event(1), torch.ones(5, 4)).sample().shape
    torch.Size([5, 3])
    """
    name, options = _called(text)
    one_of("expected the name of a flow, got", name, (*others, *FLOWS))
    if name not in FLOWS:
        raise UsageError(f"{name} has no options, got {shown(text)}: say {shown(name)}.")
    made = checked(FLOWS[name])
    check_names(f"flow {name}", made, options, skip=3)
    return Flow(made(dim, context_dim, direction, **options), context_dim)


def _called(text: str) -> tuple[str, dict[str, Any]]:
    wanted = "a flow such as 'iaf(num=2)'"
    calls = parse_calls(text, wanted)
    if len(calls) != 1:
        raise UsageError(f"expected {wanted}, got {shown(text)}: name one, and say by num how many follow one another.")
    ((name, options),) = calls
    return name, dict(options)


def _planar(dim: int, context_dim: int, direction: Direction, num: Count = 4, hidden: Sizes = (64,)) -> list[nn.Module]:
    if direction == "scoring" or not context_dim:
        raise UsageError(
            "planar flows are for guides: they have no inverse and score only what they drew, given a datum; use "
            "'maf', 'realnvp' or 'spline'."
        )
    if not hidden:
        raise UsageError(_NO_HIDDEN)
    return [T.ConditionalPlanar(DenseNN(context_dim, list(hidden), [1, dim, dim])) for _ in range(num)]


def _affine(dim: int, context_dim: int, direction: Direction, num: Count = 2, hidden: Sizes = (64,)) -> list[nn.Module]:
    networks = (_masked(dim, context_dim, hidden, [1, 1], number, zero=True) for number in range(num))
    return [_directed(T.ConditionalAffineAutoregressive(network), direction) for network in networks]


def _spline(
    dim: int, context_dim: int, direction: Direction, num: Count = 2, hidden: Sizes = (64,), bins: Count = 8
) -> list[nn.Module]:
    sizes = [bins, bins, bins - 1, bins]
    networks = (_masked(dim, context_dim, hidden, sizes, number) for number in range(num))
    made = (T.ConditionalSplineAutoregressive(dim, network, count_bins=bins) for network in networks)
    return [_directed(each, direction) for each in made]


def _realnvp(
    dim: int, context_dim: int, direction: Direction, num: Count = 4, hidden: Sizes = (64,)
) -> list[nn.Module]:
    if dim == 1:
        raise UsageError("realnvp keeps one part of a vector and moves the other, and got a vector of one number.")
    made: list[nn.Module] = []
    for _ in range(num):
        kept = dim // 2
        made.append(T.ConditionalAffineCoupling(kept, _dense(kept, context_dim, hidden, [dim - kept] * 2, zero=True)))
        made.append(_Reversed(dim))
    return made


class _Reversed(nn.Module):
    """The features in reverse, so that the next transform moves what this one kept."""

    order: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(dim - 1, -1, -1))

    def condition(self, context: Tensor) -> Any:
        return T.Permute(self.order)


def _directed(transform: Any, direction: Direction) -> Any:
    """Pyro's own direction is that of a pass where it draws."""
    return transform if direction == "drawing" else transform.inv


def _masked(dim: int, context_dim: int, hidden: Sizes, sizes: list[int], number: int, *, zero: bool = False) -> Any:
    """An autoregressive network, the order of features reversed at each odd number."""
    if min(hidden, default=0) < dim:
        raise UsageError(
            f"an autoregressive flow of {dim} numbers needs hidden layers as wide or wider, got "
            f"hidden={shown(tuple(hidden))}."
        )
    order: Any = torch.arange(dim) if number % 2 == 0 else torch.arange(dim - 1, -1, -1)
    return _started(ConditionalAutoRegressiveNN(dim, context_dim, list(hidden), sizes, order), zero)


def _dense(num_inputs: int, context_dim: int, hidden: Sizes, sizes: list[int], *, zero: bool = False) -> Any:
    if not hidden:
        raise UsageError(_NO_HIDDEN)
    return _started(ConditionalDenseNN(num_inputs, context_dim, list(hidden), sizes), zero)


def _started(network: Any, zero: bool) -> Any:
    """The network, with outputs of zero where the flow is to begin as nothing."""
    if zero:
        nn.init.zeros_(network.layers[-1].weight)
        nn.init.zeros_(network.layers[-1].bias)
    return network


FLOWS: dict[str, Callable[..., list[nn.Module]]] = {
    "planar": _planar,
    "iaf": _affine,
    "maf": _affine,
    "realnvp": _realnvp,
    "spline": _spline,
}
"""What makes the transforms of each, of D, the context's size and the direction; "iaf" and "maf" are one family."""
