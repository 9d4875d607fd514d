"""A latent of one state that the model sums out says nothing, beside other latents, of however many particles."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import ppgen


class OneOfSome(ppgen.Pair):
    """z ~ N(0, 1); c ~ Categorical of so many states, alike; x ~ N(z + c, 1); none: without c."""

    def __init__(self, num_states: int) -> None:
        super().__init__(data_size=10)
        self.num_states = num_states

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            loc = pyro.sample("z", dist.Normal(0.0, 1.0))
            if self.num_states:
                logits = torch.zeros(self.num_states)
                c = pyro.sample("c", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})
                loc = loc + c.to(x)
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x / 2, 1.0))


@pytest.mark.parametrize("num_particles", [1, 3])
def test_one_state_is_none(num_particles: int) -> None:
    x, found = torch.linspace(-1, 2, 5), []
    for num_states in (0, 1):
        torch.manual_seed(0)
        found.append(ppgen.log_weights(OneOfSome(num_states), (x,), num_particles=num_particles))
    torch.testing.assert_close(found[1], found[0])


def test_the_loss_of_particles_is_that_without_the_latent() -> None:
    x, found = torch.linspace(-1, 2, 5), []
    for num_states in (0, 1):
        pair = OneOfSome(num_states)
        torch.manual_seed(0)
        found.append(ppgen.inference.ELBO(num_particles=3).loss(pair.model, pair.guide, x))
    assert found[1] == pytest.approx(found[0])
