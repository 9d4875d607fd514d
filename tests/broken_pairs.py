"""Pairs that break the rules, each in one place, for the tests of the checks."""

import random
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from ppgen.distributions.autoregressive import Autoregressive, Conditionals
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Batch

NUM_DATA = 6


def data() -> Batch:
    """A batch for all pairs here."""
    return (torch.randn(NUM_DATA, 3),)


class Toy(Pair):
    """A pair that keeps every rule: z ~ N(0, I), x | z ~ N(decoder(z), 1), q(z | x) = N(encoder(x)).

    The mutants below override the one method in which they err.
    """

    def __init__(self, data_size: int | None = 24) -> None:
        super().__init__(data_size)
        self.encoder, self.decoder = nn.Linear(3, 4), nn.Linear(2, 3)

    def prior(self, x: Tensor) -> Any:
        return dist.Normal(x.new_zeros(2), x.new_ones(2)).to_event(1)

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self.decoder(z), 1.0).to_event(1)

    def posterior(self, x: Tensor) -> Any:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", self.likelihood(x, z), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", self.posterior(x))


class WrongSize(Toy):
    def posterior(self, x: Tensor) -> Any:
        return super().posterior(x[:, :2])


class NoParticles(Toy):
    vectorized = True

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self.decoder(torch.cat([z, 0 * x], -1)[..., :2]), 1.0).to_event(1)


class SometimesMore(Toy):
    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", self.likelihood(x, z), obs=x)
            if torch.rand(()) > 0.5:
                pyro.sample("extra", dist.Normal(x[:, 0], 1.0), obs=x[:, 1])


class ForgottenSite(Toy):
    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("latent", self.posterior(x))


class SilentBroadcast(Toy):
    """x of shape (B, 1) against a likelihood of shape (B,)."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", dist.Normal(self.decoder(z)[..., 0], 1.0), obs=x[:, :1])


class WrongLikelihood(Toy):
    """Bernoulli for real data: its log-probability is finite, and means nothing."""

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Bernoulli(logits=self.decoder(z)).to_event(1)


class NotANumber(Toy):
    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal((self.decoder(z) - 100).log(), 1.0).to_event(1)


class NotANumberDrawn(Toy):
    def posterior(self, x: Tensor) -> Any:
        return dist.Normal((self.encoder(x) - 100).log()[..., :2], 1.0).to_event(1)


class NoPlate(Toy):
    def model(self, x: Tensor) -> None:
        z = pyro.sample("z", self.prior(x).expand([len(x)]).to_event(1))
        pyro.sample("x", self.likelihood(x, z).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("z", self.posterior(x).to_event(1))


class OtherRandomness(Toy):
    def posterior(self, x: Tensor) -> Any:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return dist.Normal(loc + random.random(), log_scale.exp() + float(np.random.rand())).to_event(1)


class BatchStatistics(Toy):
    def posterior(self, x: Tensor) -> Any:
        return super().posterior(x - x.mean(0))


class FixedSize(Toy):
    def posterior(self, x: Tensor) -> Any:
        return super().posterior(x.reshape(NUM_DATA, 3))


class ParticleStatistics(Toy):
    vectorized = True

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        centred = z - z.mean(0) if z.dim() > 2 else z
        return super().likelihood(x, centred)


class Unused(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.forgotten = nn.Parameter(torch.zeros(3))


class Cut(Toy):
    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(
            torch.addmm(self.decoder.bias, z.reshape(-1, 2), self.decoder.weight.detach().T).reshape(*z.shape[:-1], 3),
            1.0,
        ).to_event(1)


class InfiniteGradient(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.variance = nn.Parameter(torch.zeros(3))

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self.decoder(z), 1 + self.variance.sqrt()).to_event(1)


class Hidden(Toy):
    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self.decoder(z) + pyro.param("stray", x.new_ones(3)), 1.0).to_event(1)


class HiddenInAList(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 3)]

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self.layers[0](self.decoder(z)), 1.0).to_event(1)


class Unscaled(Toy):
    def data_plate(self, x: Tensor) -> pyro.plate:
        return pyro.plate("data", len(x), dim=-1)


class ScaledTwice(Toy):
    def model(self, x: Tensor) -> None:
        with poutine.scale(scale=24 / len(x)):
            super().model(x)


class SinglePrecision(Toy):
    def prior(self, x: Tensor) -> Any:
        return dist.Normal(torch.zeros(2), 1.0).to_event(1)


class DoublePrecision(Toy):
    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self.decoder(z), torch.ones(3, dtype=torch.float64)).to_event(1)


def _forget(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    del state[prefix + "decoder.bias"]


class NotSaved(Toy):
    """A parameter that the state dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.register_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]


class NotATensor(Toy):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.version = state["version"]


class Traitor(Toy):
    """Looks whether it is traced."""

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self.decoder(z) + (get_proxy_mode() is not None), 1.0).to_event(1)


class LooksAtValues(Toy):
    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        sign = 1.0 if self.decoder.bias.sum().item() > 0 else -1.0  # the line to be named
        return dist.Normal(sign * self.decoder(z), 1.0).to_event(1)


class Uphill(Toy):
    """Every gradient is turned round on its way."""

    def __init__(self) -> None:
        super().__init__()
        for parameter in self.parameters():
            parameter.register_hook(torch.neg)


class BehindPyrosBack(Toy):
    """Parameters that Pyro does not see, because they are not reached as attributes."""

    def posterior(self, x: Tensor) -> Any:
        loc, log_scale = self._modules["encoder"](x).chunk(2, -1)  # type: ignore[misc]
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self._modules["decoder"](z), 1.0).to_event(1)  # type: ignore[misc]


class _Undrawable(dist.Normal):
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        raise NotImplementedError("no sampler")  # as torch and Pyro say it

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        made = self._get_checked_instance(_Undrawable, _instance)  # type: ignore[no-untyped-call]
        return super().expand(batch_shape, made)  # type: ignore[no-untyped-call]


class NoPriorDraws(Toy):
    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Independent(_Undrawable(self.decoder(z), 1.0), 1)


class _OneDraw(dist.Normal):
    """One draw for all particles."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn: Tensor = super().rsample(sample_shape)
        return drawn[:1].expand(drawn.shape) if drawn.dim() > 2 else drawn

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        made = self._get_checked_instance(_OneDraw, _instance)  # type: ignore[no-untyped-call]
        return super().expand(batch_shape, made)  # type: ignore[no-untyped-call]


class SharedDraws(Toy):
    def posterior(self, x: Tensor) -> Any:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return dist.Independent(_OneDraw(loc, log_scale.exp()), 1)


class _OneNoise(dist.Normal):
    """One noise for all data: what is left between copies of a datum is how their means were rounded."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        drawn: Tensor = super().rsample(sample_shape)
        noise = ((drawn - self.loc) / self.scale)[..., :1, :]
        return self.loc + self.scale * noise

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        made = self._get_checked_instance(_OneNoise, _instance)  # type: ignore[no-untyped-call]
        return super().expand(batch_shape, made)  # type: ignore[no-untyped-call]


class SharedNoise(Toy):
    def posterior(self, x: Tensor) -> Any:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return dist.Independent(_OneNoise(loc, log_scale.exp()), 1)


class ReadsItsOwnX(Toy):
    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return dist.Normal(self.decoder(z) + 0.5 * x.roll(1, -1), 1.0).to_event(1)


class _Chain(Conditionals):
    """Each feature about half the sum of those before it, and a number of its own."""

    loc: Tensor

    def __init__(self, loc: Tensor) -> None:
        super().__init__(torch.arange(3))
        self.register_buffer("loc", loc)

    def forward(self, x: Tensor) -> Any:
        return dist.Normal(self.loc + 0.5 * self.read(x), 1.0)

    def read(self, x: Tensor) -> Tensor:
        return x.cumsum(-1) - x


class _SeesItself(_Chain):
    def read(self, x: Tensor) -> Tensor:
        return x.cumsum(-1)


class _DrawnWider(_Chain):
    def draw(self, x: Tensor, i: int) -> Tensor:
        return 3 * super().draw(x, i)


class DrawnInTurn(Toy):
    """A pair that keeps every rule, whose x is drawn feature by feature."""

    chain: type[_Chain] = _Chain

    def likelihood(self, x: Tensor, z: Tensor) -> Any:
        return Autoregressive(self.chain(self.decoder(z)), z.shape[:-1])


class SeesItself(DrawnInTurn):
    chain = _SeesItself


class DrawnWider(DrawnInTurn):
    chain = _DrawnWider


MUTANTS: list[tuple[type[Toy], set[str]]] = [
    (WrongSize, {"check_runs"}),
    (NoParticles, {"check_runs"}),
    (SometimesMore, {"check_structure_is_fixed"}),
    (ForgottenSite, {"check_sites_match"}),
    (SilentBroadcast, {"check_shapes_fit_plates"}),
    (WrongLikelihood, {"check_support"}),
    (NotANumber, {"check_log_weights"}),
    (NotANumberDrawn, {"check_log_weights"}),
    (NoPlate, {"check_subsampling_scale"}),  # all data together are one datum, and the scale has no plate
    (OtherRandomness, {"check_same_seed"}),
    (FixedSize, {"check_batch_sizes"}),
    (BatchStatistics, {"check_batch_independence"}),
    (ParticleStatistics, {"check_particle_independence"}),
    (Unused, {"check_gradients"}),
    (Cut, {"check_gradients"}),
    (Hidden, {"check_no_hidden_parameters"}),
    (HiddenInAList, {"check_no_hidden_parameters", "check_precisions"}),  # a list's modules are not cast either
    (Unscaled, {"check_subsampling_scale"}),
    (ScaledTwice, {"check_subsampling_scale"}),
    (SinglePrecision, {"check_precisions"}),
    (DoublePrecision, {"check_precisions"}),
    (NotSaved, {"check_round_trip"}),
    (NotATensor, {"check_round_trip"}),
    (Uphill, {"check_loss_falls"}),
    (BehindPyrosBack, {"check_stock_svi"}),
    (NoPriorDraws, {"check_prior_samples"}),
    (ReadsItsOwnX, {"check_unread_observations"}),
    (SeesItself, {"check_reads_earlier_features", "check_draws_in_turn"}),  # where it is drawn it sees a zero
    (DrawnWider, {"check_draws_in_turn"}),
    (SharedDraws, {"check_posterior_samples"}),
    (SharedNoise, {"check_posterior_samples"}),
]
"""Each mutant with the checks that catch it, the slow one aside."""
