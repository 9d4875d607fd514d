"""BEGAN: the critic is an autoencoder D, by whose errors on data and draws the players are kept in balance.

    L(v) = mean |v - D(v)|                                                      (in the units of x)
    L_c = E_data[L(x)] - k_t E_z[L(x')],        L_g = E_z[L(x')]
    k_{t+1} = k_t + lambda_k (gamma E_data[L(x)] - E_z[L(x')]),  held in [0, 1]

|E L(x) - E L(x')| bounds from below the Wasserstein distance between the distributions of the two errors, which the
critic widens and the generator closes. k keeps E L(x') at gamma E L(x), the diversity ratio: a low gamma gives the
critic to data, and draws that are sharp and alike. There is no known optimal critic, and at the equilibrium none is
needed: what is reported is the convergence measure of the paper,

    M = E L(x) + |gamma E L(x) - E L(x')|,

which falls as the critic reconstructs data and the balance holds. Both errors are those of the critic's step, whose
draws stand for the generator's of the same turn: in the paper the two move at once.

BEGAN: Boundary Equilibrium Generative Adversarial Networks, Berthelot, Schumm and Metz, 2017, eq. 1, 5 and section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, cast

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from ppgen.arguments import Count, NonNegative
from ppgen.errors import UsageError
from ppgen.layers.dense import MLP
from ppgen.layers.pictures import ImageAutoencoder
from ppgen.objectives.adversarial import Adversarial
from ppgen.objectives.critics import image_shape_of, side_by_side
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.rows import like_data
from ppgen.pairs.tracing import Batch, Program
from ppgen.registry import register_objective

__all__ = ["BEGAN"]


class _Autoencoder(nn.Module):
    """A batch to x again, (B, ...): dense layers of ELUs to a code and, their sizes turned round, back."""

    def __init__(self, *batch: Any, hidden: Sequence[int], code_dim: int, dropout: float) -> None:
        super().__init__()
        inputs, outputs = side_by_side(batch).shape[1], batch[0][0].numel()
        self.encoder = MLP(inputs, code_dim, hidden, "elu", dropout=dropout)
        self.decoder = MLP(code_dim, outputs, hidden[::-1], "elu", dropout=dropout)

    def forward(self, *batch: Any) -> Tensor:
        found: Tensor = self.decoder(self.encoder(side_by_side(batch)))
        return found.reshape(batch[0].shape)


@register_objective(
    "began",
    summary="adversarial: the critic an autoencoder, its errors on data and draws kept in balance",
    reference="Berthelot, Schumm and Metz, BEGAN: boundary equilibrium generative adversarial networks",
    year=2017,
    link="https://arxiv.org/abs/1703.10717",
    tags=("adversarial", "biased"),
    tiny=lambda: BEGAN(hidden=(4,), code_dim=1),
)
@dataclass(frozen=True, kw_only=True)
class BEGAN(Adversarial):
    """``gamma``; ``lambda_k``, the rate of k; ``k``, where it starts.

    ``critic`` is called as the model is and gives x again, in its shape. None: dense layers of the sizes ``hidden`` to
    ``code_dim`` numbers and back; ``"conv"``, for pictures: :class:`ppgen.layers.pictures.ImageAutoencoder`, whose
    convolutions have ``hidden`` channels. Neither is normalised.

    State: ``k``, (). Metrics of the critic: ``real`` and ``fake``, E L(x) and E L(x'); ``k``; ``convergence``, M.

    >>> import torch
    >>> BEGAN(k=0.5).critic_loss(torch.tensor([1.0]), torch.tensor([0.5]))
    tensor(0.7500)
    """

    unit: ClassVar[str] = "in the units of x"

    gamma: Annotated[float, Ge(0), Le(1)] = 0.5
    lambda_k: NonNegative = 0.001
    k: Annotated[float, Ge(0), Le(1)] = 0.0
    code_dim: Count = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minibatch_features:
            raise UsageError(
                "minibatch_features of BEGAN have no layer to stand in, for its critic is an autoencoder: leave them "
                "out, or give a critic of your own."
            )
        if self.normalisation != "none":
            raise UsageError(
                "the autoencoder that BEGAN makes its critic is not normalised, as published: leave normalisation out, "
                "or give a critic of your own."
            )

    def read(self, critic: nn.Module, outputs: Tensor, x: Tensor) -> Tensor:
        """L(x) of each datum, (B,)."""
        if outputs.shape != x.shape:
            raise UsageError(
                f"the critic of BEGAN is an autoencoder, and {type(critic).__name__} makes shape "
                f"{tuple(outputs.shape)} of x {tuple(x.shape)}: end it with numbers in the shape of x."
            )
        return (x - outputs).abs().reshape(len(x), -1).mean(1)

    def default_critic(self, pair: nn.Module, *batch: Any) -> nn.Module:
        return _Autoencoder(*batch, hidden=self.hidden, code_dim=self.code_dim, dropout=self.dropout)

    def picture_critic(self, pair: nn.Module, batch: Batch) -> nn.Module:
        more = sum(part[0].numel() for part in batch[1:] if torch.is_tensor(part))
        return ImageAutoencoder(image_shape_of(pair), self.hidden, self.code_dim, more)

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return real.mean() - self.k * fake.mean()

    def generator_loss(self, fake: Tensor) -> Tensor:
        return fake.mean()

    def initial_state(self, program: Program, batch: Batch) -> State:
        return {**super().initial_state(program, batch), "k": like_data(batch).new_full((), self.k)}

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        now = cast(BEGAN, self.holding({"k": state["k"]}))
        outcome = Adversarial.play(now, player, program, batch, state)
        if player != "critic":
            return replace(outcome, state={**outcome.state, "k": state["k"]})
        real, fake = outcome.metrics["real"].detach(), outcome.metrics["fake"].detach()
        off = self.gamma * real - fake
        k = (state["k"] + self.lambda_k * off).clamp(0, 1)
        metrics = {**outcome.metrics, "k": state["k"], "convergence": real + off.abs()}
        return replace(outcome, metrics=metrics, state={**outcome.state, "k": k})
