"""Flows by name: invertible transforms that bend a Gaussian, of a context where there is one.

    y = T_n o ... o T_1(x),   x ~ N(0, I):        log p(y) = log N(x; 0, I) - sum_i log |det dT_i|        (nats)

An autoregressive transform is one pass in one direction and D passes in the other. A guide draws and scores what it
drew, a density or a prior scores what it is given: ``direction`` says which of the two is to be the pass.

    planar    x + u tanh(w . x + b)                                draws alone; no inverse
    affine    y_i = mu_i(x_<i) + sigma_i(x_<i) x_i                 ``iaf`` where it draws, ``maf`` where it scores
    realnvp   half of x is kept, the other half shifted and scaled by what is kept; one pass both ways
    spline    y_i a monotonic rational spline of x_i, its knots of x_<i

Successive transforms see the features in alternating order. They are Pyro's, log-scales of affine ones softly bounded,
3 tanh(s / 3): many in turn would else leave the range of float32 on their way to narrow modes.

References: Rezende and Mohamed, Variational inference with normalizing flows, 2015 (planar); Kingma et al., Improving
variational inference with inverse autoregressive flow, 2016; Papamakarios et al., Masked autoregressive flow, 2017;
Dinh et al., Density estimation using real NVP, 2017; Durkan et al., Neural spline flows, 2019.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import reduce
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

_SLOPE_OF_ONE = math.log(math.expm1(1 - 1e-3))
"""What a spline's slope at a knot is 1 at: Pyro adds 0.001 to its softplus."""

_WIDTH = 64
"""The least width of a network's hidden layer that is not asked for."""

_WIDEST = 3.0
"""c: the most that a transform multiplies by is e^c, so that a dozen of them stay within float32."""

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

    def centre(self, base: Any, context: Tensor | None = None) -> Tensor:
        """Where the base's mean comes to, (..., D): what T(x) has for a mean is not known."""
        point: Tensor = reduce(lambda point, transform: transform(point), self(base, context).transforms, base.mean)
        return point

    @property
    def both_ways(self) -> bool:
        """Whether drawing and scoring are one pass each."""
        return all(isinstance(each, T.ConditionalAffineCoupling | _Reversed) for each in self.transforms)


def flow(
    text: str, dim: int, context_dim: int = 0, *, direction: Direction = "drawing", others: tuple[str, ...] = ()
) -> Flow:
    """The flow that a text names, ``"iaf(num=2)"``; untrained affine ones and, nearly, splines leave the base as it is.

    Args:
        text: a name of ``FLOWS`` and its options: ``num`` transforms, ``hidden`` sizes of their networks' layers (one
            of 64, or of 2 D where that is more, unless they are given), and of splines the number of ``bins``.
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
    wanted = " or ".join([*map(shown, others), "a flow such as 'iaf(num=2)'"])
    name, options = _called(text, wanted)
    one_of(f"expected {wanted}, got", name, (*others, *FLOWS))
    if name not in FLOWS:
        raise UsageError(f"{name} has no options, got {shown(text)}: say {shown(name)}.")
    made = checked(FLOWS[name])
    check_names(f"flow {name}", made, options, skip=3)
    options.setdefault("hidden", (max(_WIDTH, 2 * dim),))
    return Flow(made(dim, context_dim, direction, **options), context_dim)


def _called(text: str, wanted: str) -> tuple[str, dict[str, Any]]:
    calls = parse_calls(text, wanted)
    if len(calls) != 1:
        raise UsageError(f"expected {wanted}, got {shown(text)}: name one, and say by num how many follow one another.")
    ((name, options),) = calls
    return name, dict(options)


def _planar(dim: int, context_dim: int, direction: Direction, hidden: Sizes, num: Count = 4) -> list[nn.Module]:
    if direction == "scoring" or not context_dim:
        raise UsageError(
            "planar flows are for guides: they have no inverse and score only what they drew, given a datum; use "
            "'maf', 'realnvp' or 'spline'."
        )
    if not hidden:
        raise UsageError(_NO_HIDDEN)
    return [T.ConditionalPlanar(DenseNN(context_dim, list(hidden), [1, dim, dim])) for _ in range(num)]


def _affine(dim: int, context_dim: int, direction: Direction, hidden: Sizes, num: Count = 2) -> list[nn.Module]:
    networks = (_masked(_BoundedMasked, dim, context_dim, hidden, [1, 1], number) for number in range(num))
    return [_directed(_ConditionalAffine(network), direction) for network in networks]


def _spline(
    dim: int, context_dim: int, direction: Direction, hidden: Sizes, num: Count = 2, bins: Count = 8
) -> list[nn.Module]:
    sizes = [bins, bins, bins - 1, bins]
    networks = [_masked(ConditionalAutoRegressiveNN, dim, context_dim, hidden, sizes, number) for number in range(num)]
    for network in networks:
        slopes = network.layers[-1].bias.data.unflatten(0, (sum(sizes), dim))[2 * bins : 3 * bins - 1]
        slopes.fill_(_SLOPE_OF_ONE)  # bins of equal width and height: the identity
    made = (T.ConditionalSplineAutoregressive(dim, network, count_bins=bins) for network in networks)
    return [_directed(each, direction) for each in made]


def _realnvp(dim: int, context_dim: int, direction: Direction, hidden: Sizes, num: Count = 4) -> list[nn.Module]:
    if dim == 1:
        raise UsageError("realnvp keeps one part of a vector and moves the other, and got a vector of one number.")
    made: list[nn.Module] = []
    for number in range(num):
        kept = dim // 2 if number % 2 == 0 else dim - dim // 2  # every one is kept in turn, and tells of the others
        made.append(T.ConditionalAffineCoupling(kept, _dense(kept, context_dim, hidden, [dim - kept] * 2)))
        made.append(_Reversed(dim))
    return made


class _ConditionalAffine(T.ConditionalAffineAutoregressive):
    """Whose way back has the type of y, where Pyro's begins at zeros of the default type."""

    def __init__(self, network: Any) -> None:
        super().__init__(network)  # type: ignore[no-untyped-call]  # Pyro is untyped
        self.order: list[int] = network.permutation.tolist()

    def condition(self, context: Tensor) -> Any:
        made = super().condition(context)  # type: ignore[no-untyped-call]  # as above
        return _Affine(made.arn, self.order)


class _Affine(T.AffineAutoregressive):
    def __init__(self, network: Any, order: list[int]) -> None:
        super().__init__(network)  # type: ignore[no-untyped-call]  # as above
        self.order = order

    def _inverse(self, y: Tensor) -> Tensor:
        known = list(torch.zeros_like(y).unbind(-1))
        for feature in self.order:
            mean, log_scale = (each[..., feature] for each in self.arn(torch.stack(known, -1)))
            known[feature] = (y[..., feature] - mean) * torch.exp(-log_scale)
        x = torch.stack(known, -1)
        self._cached_log_scale = self.arn(x)[1]
        return x


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


class _Bounded:
    """Of a network of means and log-scales: each log-scale softly within c, c tanh(log sigma / c)."""

    def forward(self, *given: Tensor, **context: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale = super().forward(*given, **context)  # type: ignore[misc]  # the network's, beside it
        return loc, _WIDEST * torch.tanh(log_scale / _WIDEST)


class _BoundedMasked(_Bounded, ConditionalAutoRegressiveNN):
    """Of autoregressive transforms."""


class _BoundedDense(_Bounded, ConditionalDenseNN):
    """Of coupling layers."""


def _masked(made: Any, dim: int, context_dim: int, hidden: Sizes, sizes: list[int], number: int) -> Any:
    """An autoregressive network, the order of features reversed at each odd number."""
    if min(hidden, default=0) < dim:
        raise UsageError(
            f"an autoregressive flow of {dim} numbers needs hidden layers as wide or wider, got "
            f"hidden={shown(tuple(hidden))}."
        )
    order: Any = torch.arange(dim) if number % 2 == 0 else torch.arange(dim - 1, -1, -1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input_dim = 1")
        return _started(made(dim, context_dim, list(hidden), sizes, order))


def _dense(num_inputs: int, context_dim: int, hidden: Sizes, sizes: list[int]) -> Any:
    if not hidden:
        raise UsageError(_NO_HIDDEN)
    return _started(_BoundedDense(num_inputs, context_dim, list(hidden), sizes))


def _started(network: Any) -> Any:
    """The network, with outputs of zero: the flow begins as nothing."""
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
