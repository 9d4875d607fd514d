"""What keeps a game steady, whatever its losses are: noise, slopes, norms of weights, and averages of parameters.

    instance noise            x + s e and x' + s e', e, e' ~ N(0, I), in the place of x and x'
    gradient penalty          w E[(||grad f(u)|| - 1)^2],  one-sided w E[max(0, ||grad f(u)|| - 1)^2]
    R1                        gamma / 2 E_data[||grad f(x)||^2]
    historical averaging      w ||theta - mean of its earlier values||^2, for each player's parameters theta
    moving average            m <- d m + (1 - d) theta after each step of the generator

Instance noise: Amortised MAP Inference for Image Super-resolution, Sonderby et al., ICLR 2017, section 3.3. Gradient
penalty: Gulrajani et al. 2017, section 4. R1: Which Training Methods for GANs do actually Converge?, Mescheder, Geiger
and Nowozin, ICML 2018, eq. 9. Spectral norm: Miyato et al., ICLR 2018. Historical averaging: Salimans et al., NeurIPS
2016, section 3.3. Moving average: The Unusual Effectiveness of Averaging in GAN Training, Yazici et al., ICLR 2019.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ppgen.arguments import NonNegative, Share
from ppgen.objectives.critics import CriticFunction, gradient_penalty
from ppgen.objectives.objective import Objective, Scheduled, Stage
from ppgen.objectives.turns import AVERAGED, State
from ppgen.pairs.parameters import owner
from ppgen.pairs.rows import like_data
from ppgen.pairs.tracing import Batch, Program

__all__ = ["Stabilised", "between"]


@dataclass(frozen=True, kw_only=True)
class Stabilised(Objective, ABC):
    """A game of a critic, ``objective.*``, and a generator, the pair, with what keeps it steady, all of it off.

    ``noise``: s, the standard deviation of instance noise, in the units of x; ``r1``: gamma; ``gradient_penalty``: the
    weight of one between data and draws, beside the loss's own, and ``one_sided`` of both; ``spectral_norm``: the
    critic's weights, of two or more axes, over their largest singular values, by torch's parametrization;
    ``historical_averaging``: its weight; ``ema``: d, of the generator's moving average, which takes the generator's
    place at the end of training: it is what is evaluated, sampled and kept. What is reported before, and what a
    checkpoint on the way holds as the pair, is the generator itself; batch statistics stay its own.

    State, where these are on: ``history.PLAYER.*``, the means, and ``turns.PLAYER``, of how many values; ``ema.*``.
    """

    shards: ClassVar[Mapping[str, int] | None] = AVERAGED

    noise: Scheduled[NonNegative] = 0  # a whole number, which is no input of a graph: none is drawn
    r1: NonNegative = 0.0
    gradient_penalty: NonNegative = 0.0
    one_sided: bool = False
    spectral_norm: bool = False
    historical_averaging: NonNegative = 0.0
    ema: Share = 0.0

    def penalty(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        """R, what the critic's loss holds beside L_c, at data and draws, (B, ...) and (B, ...) -> (); here none."""
        return real.new_zeros(())

    @property
    def bounds_slopes(self) -> bool:
        """Whether some penalty is on the critic's slope at each datum."""
        return bool(self.r1 or self.gradient_penalty)

    def penalties(self, critic: CriticFunction, real: Tensor, fake: Tensor) -> Tensor:
        """R and the penalties of the stabilisers, at data and draws, (B, ...) and (B, ...) -> ()."""
        found = self.penalty(critic, real, fake)
        if self.r1:
            found = found + self.r1 * _r1(critic, real)
        if self.gradient_penalty:
            found = found + self.gradient_penalty * gradient_penalty(critic, between(real, fake), self.one_sided)
        return found

    def noised(self, x: Tensor) -> Tensor:
        """x with instance noise, (B, ...)."""
        scale: Any = self.noise  # a number or, of a schedule, a tensor
        return x if isinstance(scale, int | float) and scale == 0 else x + scale * torch.randn_like(x)

    def stabilised(self, critic: nn.Module) -> nn.Module:
        """The critic as it is trained."""
        return _normalised(critic) if self.spectral_norm else critic

    def stages(self, pair: nn.Module) -> tuple[Stage, ...]:
        if not self.ema:
            return super().stages(pair)
        return (Stage(type(self).__name__, self, at_end=partial(self._take_average, pair)),)

    def _take_average(self, pair: nn.Module, state: State) -> None:
        """Put the generator's moving average, of its last values too, in its place."""
        parameters = dict(pair.named_parameters())
        for name, value in _moved("ema.", parameters, state, 1 - self.ema).items():
            parameters[name.removeprefix("ema.")].copy_(value)

    def initial_state(self, program: Program, batch: Batch) -> State:
        state: dict[str, Tensor] = {}
        if self.historical_averaging:
            for player in self.players():
                state |= _averages_from(f"history.{player.name}.", _parameters(player.name, program))
                state[f"turns.{player.name}"] = like_data(batch).new_zeros(())
        if self.ema:
            state |= _averages_from("ema.", _parameters("generator", program))
        return state

    def remembered(self, player: str, program: Program, state: State) -> tuple[dict[str, Tensor], State]:
        """The ``history`` of a player, its squared distance from the mean of its values, and the averages from now on.

        Of values before this step; nothing, and the state as it is, where no average is taken.
        """
        parameters, of_history, following = _parameters(player, program), {}, dict(state)
        if self.historical_averaging:
            prefix, turns = f"history.{player}.", state[f"turns.{player}"] + 1
            of_history["history"] = _squared_distance(prefix, parameters, state)
            following |= _moved(prefix, parameters, state, 1 / turns) | {f"turns.{player}": turns}
        if self.ema and player == "generator":
            following |= _moved("ema.", parameters, state, 1 - self.ema)
        return of_history, following


def between(real: Tensor, fake: Tensor) -> Tensor:
    """A point on the line from each draw to a datum, at a share that is uniform in [0, 1], (B, ...)."""
    e = torch.rand_like(real[:, *[slice(1)] * (real.dim() - 1)])  # (B, 1, ...)
    return e * real + (1 - e) * fake


def _r1(critic: CriticFunction, x: Tensor) -> Tensor:
    """E ||grad f(x)||^2 / 2 over samples x, (B, ...) -> ()."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)  # (B, ...)
        return slope.square().sum() / (2 * len(x))


def _parameters(player: str, program: Program) -> dict[str, Tensor]:
    """A player's, by name."""
    module = program.own if player == "critic" else owner(program.model)
    return dict(module.named_parameters()) if module is not None else {}


def _normalised(critic: nn.Module) -> nn.Module:
    """The critic with every weight of two or more axes over its largest singular value, by torch's parametrization."""
    for module in list(critic.modules()):
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1:
            spectral_norm(module)
    return critic


def _averages_from(prefix: str, parameters: Mapping[str, Tensor]) -> State:
    """Averages that begin where those parameters are that are trained, by ``prefix`` and name."""
    return {f"{prefix}{name}": value.detach().clone() for name, value in parameters.items() if value.requires_grad}


def _moved(prefix: str, parameters: Mapping[str, Tensor], state: State, share: float | Tensor) -> dict[str, Tensor]:
    """The averages of that prefix, a share of the way nearer to where the parameters are."""
    averages = {name: value for name, value in state.items() if name.startswith(prefix)}
    now = {name: parameters[name.removeprefix(prefix)].detach() for name in averages}
    return {name: value + share * (now[name] - value) for name, value in averages.items()}


def _squared_distance(prefix: str, parameters: Mapping[str, Tensor], state: State) -> Tensor:
    """||theta - average||^2 of the averages of that prefix, ()."""
    names = [name for name in state if name.startswith(prefix)]
    return torch.stack([(parameters[name.removeprefix(prefix)] - state[name]).square().sum() for name in names]).sum()
