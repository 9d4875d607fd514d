"""Sites drawn one after another in a Python loop: objects in a picture, series of several lengths, hidden states."""

# The idioms as they are public: Pyro's decorators, modules and guides are untyped.
# mypy: disable-error-code="call-overload"

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as T
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoDelta
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ppgen.inference import REINFORCE
from tests.public.case import FLOAT32, Case, Made

__all__ = ["CASES"]


class Objects(nn.Module):
    """Up to two objects in a picture of six dots: is there one, where, what; the guide is recurrent."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTMCell(6 + 1 + 2, 5)
        self.predict = nn.Linear(5, 3)
        self.encode, self.decode = nn.Linear(7, 4), nn.Linear(3, 6)

    def model(self, pictures: Tensor) -> None:
        pyro.module("objects", self)
        with pyro.plate("data", len(pictures)):
            canvas, present = torch.zeros_like(pictures), pictures.new_ones(len(pictures), 1)
            for step in range(2):
                there = dist.Bernoulli(0.6 * present).to_event(1)
                present = pyro.sample(f"present_{step}", there)
                where = pyro.sample(f"where_{step}", dist.Normal(0.0, present.new_ones(1)).mask(present).to_event(1))
                what = pyro.sample(f"what_{step}", dist.Normal(0.0, present.new_ones(2)).mask(present).to_event(1))
                canvas = canvas + present * self.decode(torch.cat([where, what], 1))
            pyro.sample("dots", dist.Normal(canvas, 0.8).to_event(1), obs=pictures)

    def guide(self, pictures: Tensor) -> None:
        pyro.module("objects", self)
        with pyro.plate("data", len(pictures)):
            num = len(pictures)
            hidden, cell, what = pictures.new_zeros(num, 5), pictures.new_zeros(num, 5), pictures.new_zeros(num, 2)
            present = pictures.new_ones(num, 1)
            for step in range(2):
                hidden, cell = self.rnn(torch.cat([pictures, present, what], 1), (hidden, cell))
                logits, loc, log_scale = self.predict(hidden).chunk(3, dim=1)
                chance = torch.sigmoid(logits) * present
                present = pyro.sample(f"present_{step}", dist.Bernoulli(chance).to_event(1))
                place = dist.Normal(loc, 0.5 * log_scale.exp()).mask(present).to_event(1)
                where = pyro.sample(f"where_{step}", place)
                loc, log_scale = self.encode(torch.cat([pictures, where], 1)).chunk(2, dim=1)
                kind = dist.Normal(loc, 0.5 * log_scale.exp()).mask(present).to_event(1)
                what = pyro.sample(f"what_{step}", kind)


def objects() -> Made:
    pair = Objects()
    return Made(pair.model, pair.guide, (torch.randn(7, 6),))


class Melodies(nn.Module):
    """Series of notes of several lengths: padded, masked, and once more as a PackedSequence for the guide."""

    def __init__(self, num_flows: int) -> None:
        super().__init__()
        self.transition, self.emission = nn.Linear(2, 4), nn.Linear(2, 3)
        self.z_0, self.z_q_0 = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
        self.rnn = nn.RNN(3, 4, batch_first=True)
        self.combine = nn.Linear(6, 4)
        self.flows = nn.ModuleList(T.affine_autoregressive(2, hidden_dims=[5]) for _ in range(num_flows))

    def model(self, notes: Tensor, packed: PackedSequence, mask: Tensor, annealing: float = 1.0) -> None:
        pyro.module("melodies", self)
        z = self.z_0.expand(len(notes), 2)
        with pyro.plate("minibatch", len(notes)):
            for t in pyro.markov(range(1, notes.size(1) + 1)):
                loc, log_scale = self.transition(z).chunk(2, -1)
                with poutine.scale(scale=annealing):
                    prior = dist.Normal(loc, (0.3 * log_scale).exp()).mask(mask[:, t - 1 : t]).to_event(1)
                    z = pyro.sample(f"z_{t}", prior)
                played = dist.Bernoulli(logits=self.emission(z)).mask(mask[:, t - 1 : t]).to_event(1)
                pyro.sample(f"notes_{t}", played, obs=notes[:, t - 1, :])

    def guide(self, notes: Tensor, packed: PackedSequence, mask: Tensor, annealing: float = 1.0) -> None:
        pyro.module("melodies", self)
        output, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=notes.size(1))
        z = self.z_q_0.expand(len(notes), 2)
        with pyro.plate("minibatch", len(notes)):
            for t in pyro.markov(range(1, notes.size(1) + 1)):
                beside = output[:, t - 1, :].expand(*z.shape[:-1], 4)
                loc, log_scale = self.combine(torch.cat([z, beside], -1)).chunk(2, -1)
                base: Any = dist.Normal(loc, 0.4 * (0.3 * log_scale).exp())
                with poutine.scale(scale=annealing):
                    if len(self.flows):
                        moved = dist.TransformedDistribution(base, list(self.flows))
                        z = pyro.sample(f"z_{t}", moved.mask(mask[:, t - 1]))
                    else:
                        z = pyro.sample(f"z_{t}", base.mask(mask[:, t - 1 : t]).to_event(1))


def melodies(num_flows: int, **annealing: float) -> Made:
    pair = Melodies(num_flows)
    lengths = torch.tensor([4, 4, 3, 2, 2, 1])
    mask = torch.arange(4) < lengths[:, None]  # (B, T)
    notes = torch.bernoulli(torch.full((6, 4, 3), 0.5)) * mask.unsqueeze(-1)
    packed = pack_padded_sequence(notes, lengths, batch_first=True)
    return Made(pair.model, pair.guide, (notes, packed, mask), annealing)


STAY = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
WET = torch.tensor([[0.2, 0.3, 0.1], [0.7, 0.6, 0.8]])
LENGTHS = (5, 4, 4, 2)


def weather() -> tuple[Tensor, Tensor]:
    """Three gauges on each of some days, wet (1) or dry, and the number of days of each series."""
    return torch.bernoulli(torch.full((4, 5, 3), 0.4)), torch.tensor(LENGTHS)


def hidden_states(series: Tensor, lengths: Tensor, moves: Tensor, wet: Tensor) -> None:
    """Series in a plate at dim -2, gauges in one at dim -1, hidden states summed along pyro.markov."""
    gauges = pyro.plate("gauges", series.size(-1), dim=-1)
    with pyro.plate("series", len(series), dim=-2):
        state: Any = 0
        for t in pyro.markov(range(series.size(1))):
            with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                state = pyro.sample(f"state_{t}", dist.Categorical(moves[state]), infer={"enumerate": "parallel"})
                with gauges:
                    pyro.sample(f"gauge_{t}", dist.Bernoulli(wet[state.squeeze(-1)]), obs=series[:, t])


def rain_model(series: Tensor, lengths: Tensor) -> None:
    moves = pyro.param("moves", STAY.clone(), constraint=dist.constraints.simplex)
    wet = pyro.param("wet", WET.clone(), constraint=dist.constraints.unit_interval)
    hidden_states(series, lengths, moves, wet)


def rain_guide(series: Tensor, lengths: Tensor) -> None:
    """Nothing is left for it: the parameters are points, and the states are summed."""


def rain() -> Made:
    return Made(rain_model, rain_guide, weather())


def rain_evidence(series: Tensor, lengths: Tensor) -> Tensor:
    """By the forward recursion, (B,), in nats."""
    emitted = dist.Bernoulli(WET).log_prob(series.unsqueeze(-2)).sum(-1)  # (B, T, states)
    at_start = STAY[0].log() + emitted[:, 0]  # the state before the first is 0
    found = []
    for one, length in zip(range(len(series)), lengths.tolist(), strict=True):
        forward = at_start[one]
        for t in range(1, length):
            forward = (forward.unsqueeze(-1) + STAY.log()).logsumexp(0) + emitted[one, t]
        found.append(forward.logsumexp(0))
    return torch.stack(found)


def climate_model(series: Tensor, lengths: Tensor, include_prior: bool = True) -> None:
    with poutine.mask(mask=include_prior):
        moves = pyro.sample("moves", dist.Dirichlet(4 * torch.eye(2) + 1).to_event(1))
        wet = pyro.sample("wet", dist.Beta(2.0, 3.0).expand([2, 3]).to_event(2))
    hidden_states(series, lengths, moves, wet)


def climate(**prior: bool) -> Made:
    guide = AutoDelta(poutine.block(climate_model, expose=["moves", "wet"]))
    return Made(climate_model, guide, weather(), prior)


STATES = tuple(f"state_{t}" for t in range(5))


def score(num_particles: int) -> REINFORCE:
    return REINFORCE(num_particles=num_particles, baseline="none")


CASES = [
    Case(
        "objects_in_a_loop",
        "examples/air/air.py: torch.cat([h, z], 1), masks, discrete sites in a loop",
        objects,
        num_data=7,
        ours=score,
        repeats=40,
        looped=True,
    ),
    Case(
        "melodies",
        "examples/dmm/dmm.py: masks, a PackedSequence as an argument, annealing by poutine.scale; plate 'minibatch'",
        lambda: melodies(0, annealing=0.5),
        num_data=6,
        repeats=40,
        broken=FLOAT32,
    ),
    Case(
        "melodies_iaf",
        "examples/dmm/dmm.py --num-iafs 1: inverse autoregressive flows as masked guide sites",
        lambda: melodies(1),
        num_data=6,
        repeats=40,
        broken=FLOAT32,
    ),
    Case(
        "rain",
        "examples/hmm.py: pyro.markov, states summed, series masked in a plate at dim -2; nothing in the guide",
        rain,
        num_data=4,
        log_evidence=rain_evidence,
        stock=TraceEnum_ELBO(max_plate_nesting=2),
        summed=STATES,
        repeats=4,
        compiled=True,
    ),
    Case(
        "climate",
        "examples/hmm.py: Dirichlet and Beta latents of all series in an AutoDelta of a blocked model",
        climate,
        weights="global",
        num_data=4,
        stock=TraceEnum_ELBO(max_plate_nesting=2),
        summed=STATES,
        repeats=4,
        looped=True,
        broken=FLOAT32,
    ),
    Case(
        "climate_without_prior",
        "examples/hmm.py: poutine.mask(mask=False) around the priors (maximum likelihood)",
        lambda: climate(include_prior=False),
        weights="global",
        num_data=4,
        stock=TraceEnum_ELBO(max_plate_nesting=2),
        summed=STATES,
        repeats=4,
        looped=True,
        broken=FLOAT32,
    ),
]
