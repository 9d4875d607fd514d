"""Critics: what adversarial objectives read samples with, and what keeps their slopes and outputs in bounds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ppgen.data.spec import DataSpec
from ppgen.errors import UsageError
from ppgen.layers.dense import MLP, glorot
from ppgen.layers.minibatch_features import MinibatchFeatures
from ppgen.layers.normalisation import Normalisation, Referenced
from ppgen.layers.pictures import image_critic
from ppgen.pairs.looking import seeded
from ppgen.pairs.rows import is_data
from ppgen.pairs.tracing import Batch, Program

__all__ = [
    "Critic",
    "CriticFunction",
    "Featured",
    "GivenCritic",
    "check_called",
    "dense_critic",
    "featured",
    "gradient_penalty",
    "image_shape_of",
    "one_output",
    "picture_critic",
    "side_by_side",
    "spec_of",
]

CriticFunction: TypeAlias = Callable[[Tensor], Tensor]
"""A critic, what else the batch holds beside x being given: samples (B, ...) to raw outputs (B,)."""


@runtime_checkable
class Featured(Protocol):
    """A critic that tells what it finds in data, beside its judgement: called as the critic itself is."""

    def features(self, *batch: Any) -> Tensor:
        """The numbers of a hidden layer, (B, ...), of each datum."""


class Critic(nn.Module):
    """A dense network of leaky ReLUs (slope 0.2), a batch to (B,): one unbounded number for each sample.

    It sees all numbers of a datum side by side, x first; a label is the number that it is.

    Args:
        batch: an example: x, (B, ...), and what else it holds.
        hidden: sizes of the hidden layers.
        normalisation: of the hidden layers (:mod:`ppgen.layers.normalisation`).
        num_reference: how many rows are the reference batch, where they are normalised by one.
        dropout: the share of each hidden layer's numbers that are put to zero in training.
        minibatch_features: so many similarities between the data of a batch, beside the last hidden layer's numbers.
    """

    def __init__(
        self,
        *batch: Any,
        hidden: Sequence[int],
        normalisation: Normalisation = "none",
        num_reference: int = 0,
        dropout: float = 0.0,
        minibatch_features: int = 0,
    ) -> None:
        super().__init__()
        normal: dict[str, Any] = {"normalisation": normalisation, "num_reference": num_reference}
        self.network = MLP(side_by_side(batch).shape[1], 1, hidden, "leaky_relu", **normal, dropout=dropout)
        if minibatch_features:
            width: Any = self.network.layers[-1].in_features
            similar = MinibatchFeatures(width, minibatch_features)
            wider = glorot(nn.Linear(width + minibatch_features, 1))
            self.network.layers[-1] = nn.Sequential(similar, wider)

    def forward(self, *batch: Any) -> Tensor:
        outputs: Tensor = self.network(side_by_side(batch))
        return outputs.squeeze(-1)

    def features(self, *batch: Any) -> Tensor:
        """The last hidden layer, (B, H); x and what stands beside it where there is none."""
        return self.network.features(side_by_side(batch))


def dense_critic(*batch: Any, hidden: Sequence[int], normalisation: Normalisation, **options: Any) -> nn.Module:
    """:class:`Critic`, whose reference batch, where it has need of one, is this."""
    options |= {"hidden": hidden, "normalisation": normalisation}
    if normalisation not in ("reference", "virtual"):
        return Critic(*batch, **options)
    return Referenced(Critic(*batch, **options, num_reference=len(batch[0])), *batch)


def picture_critic(pair: nn.Module, batch: Batch, channels: Sequence[int], normalisation: Normalisation) -> nn.Module:
    """:class:`ppgen.layers.pictures.ImageCritic` of the pair's pictures; its reference batch, where it needs one, is
    ``batch``.

    Raises:
        UsageError: the pair's data are no pictures, or their sides are not halved exactly.
    """
    return image_critic(image_shape_of(pair), channels, normalisation, batch)


def image_shape_of(pair: nn.Module) -> tuple[int, ...]:
    """Of the pictures that a pair was made for.

    Raises:
        UsageError: its data are no pictures.
    """
    spec = spec_of(pair)
    if spec is None or spec.image_shape is None:
        raise UsageError(
            f"critic='conv' is a critic of pictures, and the data of {type(pair).__name__} have no image_shape: give "
            "data that have one, or leave critic out."
        )
    return spec.image_shape


def spec_of(pair: Any) -> DataSpec | None:
    """What the data are that a pair was made for, where it was told."""
    return next((given for given in getattr(pair, "arguments", {}).values() if isinstance(given, DataSpec)), None)


def gradient_penalty(critic: CriticFunction, x: Tensor, one_sided: bool = False) -> Tensor:
    """E (||grad f(x)|| - 1)^2 over samples x, (B, ...) -> (): zero where f has slope one; one-sided, at most one."""
    with torch.enable_grad():
        x = x.requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)  # (B, ...)
        norm: Tensor = torch.linalg.vector_norm(slope.reshape(len(x), -1), dim=1)  # (B,)
        excess = norm - 1
        return (excess.relu() if one_sided else excess).square().mean()


def one_output(module: nn.Module, outputs: Tensor, x: Tensor) -> Tensor:
    """What a critic gives at x, (B,) or (B, 1), as (B,).

    Raises:
        UsageError: it is of another shape.
    """
    if outputs.shape not in ((len(x),), (len(x), 1)):
        raise UsageError(
            f"a critic gives one number for each datum, (B,) or (B, 1), and {type(module).__name__} makes shape "
            f"{tuple(outputs.shape)} of {len(x)} data: end it with one output."
        )
    return outputs.reshape(-1)


def check_called(critic: nn.Module, batch: Batch) -> nn.Module:
    """The critic, a copy of which can be called with the batch; random numbers are left as they are.

    Raises:
        UsageError: it raises an error there.
    """
    try:
        with torch.no_grad(), seeded(0):
            copy.deepcopy(critic).to(batch[0].device).eval()(*batch)
    except UsageError:
        raise
    except Exception as error:
        given = ", ".join(str(tuple(part.shape)) if torch.is_tensor(part) else type(part).__name__ for part in batch)
        said = str(error).partition("\n")[0]
        raise UsageError(
            f"critic {type(critic).__name__} is called with tensors {given}, one row for each datum, and raises "
            f"{type(error).__name__}: {said}; let it take these."
        ) from error
    return critic


def featured(critic: nn.Module, needed_by: str) -> Featured:
    """The critic as one that tells its features.

    Raises:
        UsageError: it has none.
    """
    if isinstance(critic, Featured):
        return critic
    raise UsageError(
        f"{needed_by} compares what its critic finds in data and in reconstructions, and {type(critic).__name__} does "
        "not tell: give it a method features(x, ...), called as the critic is, that returns the numbers of a hidden "
        "layer, (B, F), or leave critic out."
    )


@dataclass(frozen=True)
class GivenCritic:
    """The critic as a function of x, of as many data as the batch has or twice as many, given what else it holds.

    ``read`` makes (B,) numbers of the module, its output and x; ``weights``, by name, stand for the module's own.
    """

    module: nn.Module
    batch: Batch
    read: Callable[[nn.Module, Tensor, Tensor], Tensor] = one_output
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, program: Program, batch: Batch, read: Callable[[nn.Module, Tensor, Tensor], Tensor] = one_output
    ) -> Self:
        """That of a program, which has one."""
        assert program.own is not None  # two players: only the loop plays them, with the critic
        return cls(program.own, batch, read)

    def shown(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the module is called with first, of samples as the losses and penalties see them."""
        return (x,)

    def __call__(self, x: Tensor) -> Tensor:
        outputs: Tensor = functional_call(self.module, dict(self.weights), (*self.shown(x), *self._others(x)))
        return self.read(self.module, outputs, x)

    def features(self, x: Tensor) -> Tensor:
        """What the module as it stands finds in x, (B, F).

        Raises:
            UsageError: it does not tell; it gives no numbers for each datum.
        """
        module = featured(self.module, "the objective")
        found = module.features(*self.shown(x), *self._others(x))
        if found.dim() < 2 or len(found) != len(x):
            raise UsageError(
                f"features of {type(self.module).__name__} are to be numbers for each datum, (B, F), and have shape "
                f"{tuple(found.shape)} for {len(x)} data: return a hidden layer before it is summed up."
            )
        return found.flatten(1)

    def _others(self, x: Tensor) -> list[Any]:
        """What else the batch holds, for as many data as x has."""
        rows = len(self.batch[0])
        return [torch.cat([part] * (len(x) // rows)) if is_data(part, rows) else part for part in self.batch[1:]]


def side_by_side(batch: Batch) -> Tensor:
    """The numbers of each datum, x first, (B, D), in the type of x."""
    x = batch[0]
    parts = [part.to(x.dtype).reshape(len(x), -1) for part in batch if torch.is_tensor(part) and is_data(part, len(x))]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]
