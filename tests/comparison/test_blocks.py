"""Which parameters are the model's, the guide's, both or a named part's."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen import Pair, UsageError, pair_from
from ppgen.comparison.blocks import chosen_blocks, parameter_blocks
from ppgen.pairs.function_pair import as_pair
from ppgen.registry import MODELS
from tests.doubles import Chain, Mixture, Shared

X = torch.tensor([[1.3], [0.2]], dtype=torch.float64)


class Tied(Pair):
    """A scale that model and guide share, a network of the guide's, and a parameter that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.loc = nn.Parameter(torch.tensor(0.1))
        self.networks = nn.ModuleList([nn.Linear(1, 1)])
        self.idle = nn.Parameter(torch.zeros(2))
        self.frozen = nn.Parameter(torch.zeros(()), requires_grad=False)

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(self.loc + self.frozen, 1.0))
            pyro.sample("x", dist.Normal(z, self.scale), obs=x[:, 0])

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.networks[0](x)[:, 0], self.scale))


class Point(Pair):
    """The guide is a point: its parameter reaches log p through the latent alone."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(0.2))
        self.loc = nn.Parameter(torch.tensor(0.1))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(self.loc, 1.0).expand([len(x)]))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Delta(self.at).expand([len(x)]))


def test_model_guide_and_shared_are_disjoint_and_parts_follow() -> None:
    blocks = parameter_blocks(Tied(), (X.float(),))
    network = ("networks.0.weight", "networks.0.bias")
    assert blocks == {
        "model": ("loc",),
        "guide": network,
        "shared": ("scale",),
        "scale": ("scale",),
        "loc": ("loc",),
        "networks.0": network,
        "idle": ("idle",),
    }
    assert list(blocks)[:3] == ["model", "guide", "shared"]


def test_a_parameter_that_acts_through_the_latents_alone_is_the_guides() -> None:
    blocks = parameter_blocks(Point(), (X.float(),))
    assert (blocks["model"], blocks["guide"]) == (("loc",), ("at",))


@pytest.mark.parametrize("pair", [Mixture(), Chain(), Shared()], ids=lambda pair: type(pair).__name__)
def test_every_parameter_of_a_pair_is_in_exactly_one_of_the_first_blocks(pair: Pair) -> None:
    blocks = parameter_blocks(pair, (X,))
    members = [name for block in ("model", "guide", "shared") for name in blocks.get(block, ())]
    assert sorted(members) == sorted(name for name, _ in pair.named_parameters())


def test_the_global_random_state_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    parameter_blocks(Mixture(), (X,))
    assert torch.equal(torch.get_rng_state(), before)


def test_parts_of_a_pair_of_functions_are_those_of_its_modules() -> None:
    encoder, decoder = nn.Linear(1, 1), nn.Linear(1, 1)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(decoder(z[..., None])[..., 0], 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x)[:, 0], 1.0))

    blocks = parameter_blocks(pair_from(model, guide), (X.float(),))
    assert len(blocks["model"]) == len(blocks["guide"]) == 2
    assert list(chosen_blocks(blocks)) == ["model", "guide"]


class Plain(nn.Module):
    """A module of Pyro's users, with its model and guide as methods."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(1, 1), nn.Linear(1, 1)
        self.loc = nn.Parameter(torch.zeros(()))

    def model(self, x: Tensor) -> None:
        pyro.module("plain", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.loc.expand(len(x)), 1.0))
            pyro.sample("x", dist.Normal(self.decoder(z[..., None])[..., 0], 1.0), obs=x[:, 0])

    def guide(self, x: Tensor) -> None:
        pyro.module("plain", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x)[:, 0], 1.0))


def test_parts_of_a_plain_module_have_the_names_that_it_gives_them() -> None:
    assert set(parameter_blocks(as_pair(Plain()), (X.float(),))) == {"model", "guide", "encoder", "decoder", "loc"}


def test_all_blocks_are_chosen_without_doubles() -> None:
    tiny = MODELS["vae"].tiny
    assert tiny is not None
    pair, batch = tiny()
    blocks = parameter_blocks(pair, batch)
    assert set(blocks) == {"model", "guide", "encoder", "decoder"}
    assert list(chosen_blocks(blocks)) == ["model", "guide"]
    assert list(chosen_blocks(blocks, ["decoder"])) == ["decoder"]


@pytest.mark.parametrize(("chosen", "message"), [(["gide"], "did you mean 'guide'"), (["model", "model"], "twice")])
def test_an_unknown_or_repeated_block_is_refused_in_a_sentence(chosen: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        chosen_blocks({"model": ("a",), "guide": ("b",)}, chosen)
