"""Latent arithmetic: what is added, to whom, and the share that changes as meant."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from ppgen.data import DataSpec
from ppgen.draws import latent_arithmetic
from ppgen.errors import UsageError
from ppgen.models import RBM, VAE
from ppgen.pairs.pair import Pair
from tests.implicit import Push


class Line(Pair):
    """z ~ N(0, 1), x = z plus little noise; the guide is at x."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
            pyro.sample("x", dist.Normal(self.scale * z, 0.01).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x, 1e-4).to_event(1))


class Sphere(Line):
    """z on a sphere, the mean of x in three dimensions."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.ProjectedNormal(torch.ones(3)))
            pyro.sample("x", dist.Normal(self.scale * z, 0.01).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.ProjectedNormal(x))


def test_a_latent_without_coordinates_in_which_to_add_is_refused() -> None:
    x = torch.tensor([[-2.0, 0.1, 0.1], [0.1, 0.1, 0.1], [2.0, 0.1, 0.1]])
    with pytest.raises(UsageError, match=r"site 'z' is continuous on .*, to which torch has no bijection"):
        latent_arithmetic(Sphere(), (x,), thirds, plus=2, minus=0)


def thirds(x: Tensor) -> Tensor:
    """0 below -1, 1 up to 1, 2 beyond."""
    return (x[:, 0] > -1).long() + (x[:, 0] > 1).long()


def test_through_a_guide_the_difference_of_means_is_added_to_each_datum() -> None:
    x = torch.tensor([[-2.0], [-1.5], [0.0], [0.4], [1.5], [2.5]])
    found = latent_arithmetic(Line(), (x,), thirds, plus=2, minus=0)
    torch.testing.assert_close(found.before, x[:2], atol=1e-3, rtol=0)
    torch.testing.assert_close(found.after, x[:2] + 2.0 + 1.75, atol=2e-3, rtol=0)  # means 2 and -1.75
    assert found.classes.tolist() == [2, 2]
    assert (found.meant, found.share, found.group_sizes) == (2, 1.0, (2, 2, 2))


def test_a_third_group_is_moved_where_it_is_named_and_what_is_meant_is_said() -> None:
    x = torch.tensor([[-1.5], [0.9], [-0.9], [1.5]])
    found = latent_arithmetic(Line(), (x,), thirds, plus=2, minus=1, to=0, meant=1)
    torch.testing.assert_close(found.after, x[:1] + 1.5, atol=2e-3, rtol=0)
    assert found.share == 1.0
    with pytest.raises(UsageError, match="say what is meant"):
        latent_arithmetic(Line(), (x,), thirds, plus=2, minus=1, to=0)


def test_of_an_implicit_pair_the_latents_of_its_draws_are_known() -> None:
    """x = z uniform on (-1, 1), sides of zero: u = logit((z + 1) / 2) is logistic, E[u | u > 0] = 2 log 2, so that z is
    moved by 4 log 2 in u: P(u + 4 log 2 > 0 | u < 0) = 2 (1/2 - 1 / (1 + 2^4)); 4 standard errors of 2,000 draws, and
    the means' own."""
    pyro.set_rng_seed(0)
    pair = Push(DataSpec("line", 1, "real"), uniform=True)
    found = latent_arithmetic(pair, (torch.zeros(1, 1),), lambda x: (x[:, 0] > 0).long(), plus=1, minus=0, num=4000)
    truth = 2 * (0.5 - 1 / 17)
    assert found.share == pytest.approx(truth, abs=4 * math.sqrt(truth * (1 - truth) / 2000) + 0.01)
    assert found.standard_error == pytest.approx(math.sqrt(found.share * (1 - found.share) / len(found.classes)))
    assert bool((found.after.abs() < 1).all())
    assert bool((found.before < 0).all())


def test_what_cannot_be_added_is_refused() -> None:
    spec = DataSpec("bits", 4, "binary")
    x = torch.rand(6, 4).round()
    with pytest.raises(UsageError, match="none of 6 data is of class 7"):
        latent_arithmetic(VAE(spec, 2, hidden=(3,)), (x,), lambda x: torch.zeros(len(x)), plus=7, minus=0)
    with pytest.raises(UsageError, match="prior"):
        latent_arithmetic(RBM(spec, 3), (x,), lambda x: torch.zeros(len(x)), plus=1, minus=0)
