"""The data plate is found, not named: by what it holds, with or without a size, and said where there is none."""

import math
import warnings
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import ClippedAdam
from torch import Tensor

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.pair import Pair
from ppgen.pairs.rows import is_divisible, num_rows, take_rows
from ppgen.pairs.tracing import Program, run_particles
from tests.doubles import Line, Shared
from tests.doubles import data as line_data

X = torch.tensor([0.2, -1.0, 0.7, 1.4])
JOINT = "all data together are one datum"


def named(plate: Any) -> tuple[Any, Any]:
    """z ~ N(0, 1), x | z ~ N(z, 0.25) under ``plate(x)``, and a guide that is not the posterior."""

    def model(x: Tensor) -> None:
        with plate(x):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x: Tensor) -> None:
        with plate(x):
            pyro.sample("z", dist.Normal(0.7 * x, 0.6))

    return model, guide


@pytest.mark.parametrize("name", ["documents", "cells", "obs_plate", "batch", "data"])
def test_a_bound_of_each_datum_whatever_the_plate_is_called(name: str) -> None:
    """IWELBO(5,000) of four data is within 0.05 nats of log p(x); joint, its 5,000 particles would lose nats."""
    model, guide = named(lambda x: pyro.plate(name, len(x)))
    exact = dist.Normal(0.0, 1.25**0.5).log_prob(X).sum()
    torch.manual_seed(0)
    assert abs(IWELBO(num_particles=5000).loss(model, guide, X) + float(exact)) < 0.05
    assert ppgen.log_weights(pair_from(model, guide), (X,), num_particles=3).shape == (3, 4)


def test_a_plate_without_a_size_takes_it_from_its_sites() -> None:
    sized, open_ = named(lambda x: pyro.plate("data", len(x))), named(lambda x: pyro.plate("data"))
    runs = []
    for model, guide in (sized, open_):
        torch.manual_seed(1)
        runs.append(run_particles(Program(model, guide), (X,), 3))
    torch.testing.assert_close(runs[0].log_w, runs[1].log_w)
    assert runs[1].scale == 1


def test_what_is_drawn_once_in_a_plate_without_a_size_stands_outside_it() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data"):
            m = pyro.sample("m", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(m * torch.ones(len(x)), 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data"):
            pyro.sample("m", dist.Normal(0.2, 0.5))

    losses = []
    for elbo in (Trace_ELBO(), ELBO()):
        torch.manual_seed(0)
        losses.append(elbo.loss(model, guide, X))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_outermost_of_nested_plates_is_the_datas() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("people", 2, dim=-2), pyro.plate("answers", 3, dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    assert run_particles(Program(model, poutine_guide), (torch.zeros(2, 3),), 4).log_w.shape == (4, 2)


def poutine_guide(x: Tensor) -> None:
    with pyro.plate("people", 2, dim=-2), pyro.plate("answers", 3, dim=-1):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def test_several_candidates_are_joint_and_said_once() -> None:
    def model(x: Tensor, y: Tensor) -> None:
        for name, value in (("x", x), ("y", y)):
            with pyro.plate(f"{name}s", len(value)):
                z = pyro.sample(f"z_{name}", dist.Normal(0.0, 1.0))
                pyro.sample(name, dist.Normal(z, 1.0), obs=value)

    def guide(x: Tensor, y: Tensor) -> None:
        for name, value in (("x", x), ("y", y)):
            with pyro.plate(f"{name}s", len(value)):
                pyro.sample(f"z_{name}", dist.Normal(0.5 * value, 0.7))

    pair = pair_from(model, guide)
    with pytest.warns(UserWarning, match=rf"{JOINT}.*several outermost plates \('xs', 'ys'\)"):
        assert ppgen.log_weights(pair, (X, X[:2]), num_particles=3).shape == (3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ppgen.log_weights(pair, (X, X[:2]), num_particles=3)
    named_pair = pair_from(model, guide, data_plate="xs")
    assert run_particles(Program(named_pair.model, named_pair.guide), (X, X[:2]), 3).log_w.shape == (3, 4)


def test_no_plate_is_joint_and_said_by_a_bound_of_each_datum_alone() -> None:
    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z[..., None] + x.new_zeros(4), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(0.3, 0.5))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ELBO().loss(model, guide, X)  # a mean is the same either way
    with pytest.warns(UserWarning, match=f"{JOINT}.*no plate holds its observed sites"):
        IWELBO(num_particles=2).loss(model, guide, X)


def test_the_plate_name_of_a_subclass_is_obeyed() -> None:
    class Renamed(Line):
        plate_name = "rows"

    pair = Renamed()
    run = run_particles(Program(pair.model, pair.guide), (line_data(4),), 3)
    assert run.plate == "rows"
    assert run.log_w.shape == (3, 4)
    pair.data_size = 40
    assert run_particles(Program(pair.model, pair.guide), run.batch, 3).scale == 10


def test_a_guide_may_call_the_plate_otherwise() -> None:
    model, _ = named(lambda x: pyro.plate("images", len(x)))
    _, guide = named(lambda x: pyro.plate("pictures", len(x)))
    same, twin = named(lambda x: pyro.plate("images", len(x)))
    found = []
    for pair in ((model, guide), (same, twin)):
        torch.manual_seed(0)
        found.append(run_particles(Program(*pair), (X,), 3).log_w)
    torch.testing.assert_close(found[0], found[1])


def test_a_latent_in_the_plate_of_one_and_outside_it_in_the_other_is_refused() -> None:
    model, _ = named(lambda x: pyro.plate("images", len(x)))

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(0.7 * x, 0.6).mask(torch.tensor(True)).to_event(1))

    with pytest.raises(UsageError, match="site 'z'"):
        run_particles(Program(model, guide), (X,), 1)


def test_a_plate_that_is_subsampled_inside_a_bound_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2), pyro.plate("words", 30, subsample=torch.arange(3), dim=-1):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pass

    x = torch.zeros(2, 3)
    assert ELBO().loss(model, guide, x) == pytest.approx(10 * 6 * 0.5 * math.log(2 * math.pi), rel=1e-6)
    with pytest.raises(UsageError, match="site 'x' stands in plate 'words', of which 3 of 30 are shown"):
        IWELBO(num_particles=2).loss(model, guide, x)


class Mean(Pair):
    """m ~ N(0, 10), x_i | m ~ N(m, 1) for the batch's data alone: the plate does not know N."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = torch.nn.Parameter(torch.tensor(0.0))
        self.log_scale = torch.nn.Parameter(torch.tensor(-1.0))

    def model(self, x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("m", dist.Normal(self.loc, self.log_scale.exp()))


@pytest.mark.usefixtures("graphs_as_they_are")
def test_training_in_minibatches_knows_how_many_data_a_latent_of_all_has() -> None:
    """N = 1,000 in batches of 20: the posterior's standard deviation is 1 / sqrt(1,000), and not 1 / sqrt(20)."""
    torch.manual_seed(0)
    x = 0.5 + torch.randn(1000)
    run = ppgen.fit(Mean(), x, ELBO(num_particles=4), epochs=20, batch_size=20, lr=5e-2, seed=0)
    assert run.pair.log_scale.exp().item() == pytest.approx(1000**-0.5, rel=0.3)
    assert run.pair.loc.item() == pytest.approx(float(x.mean()), abs=0.1)


def test_a_scale_of_the_users_own_is_left_alone() -> None:
    class Scaled(Mean):
        def model(self, x: Tensor) -> None:
            m = pyro.sample("m", dist.Normal(0.0, 10.0))
            with pyro.plate("data", len(x)), pyro.poutine.scale(scale=50.0):
                pyro.sample("x", dist.Normal(m, 1.0), obs=x)

        def guide(self, x: Tensor) -> None:
            super().guide(x)

    pair = Scaled()
    assert run_particles(Program(pair.model, pair.guide, data_size=200), (X,), 1).scale == 1
    plain = Mean()
    assert run_particles(Program(plain.model, plain.guide, data_size=200), (X,), 1).scale == 50


def test_rows_are_the_data_among_the_arguments() -> None:
    packed = torch.nn.utils.rnn.pack_sequence([torch.zeros(2), torch.zeros(1)])
    batch = (0.5, torch.arange(6.0).reshape(3, 2), None, torch.zeros(3), torch.zeros(7), "name")
    assert num_rows(batch) == 3
    assert [getattr(part, "shape", part) for part in take_rows(batch, slice(2))] == [
        0.5,
        (2, 2),
        None,
        (2,),
        (7,),
        "name",
    ]
    assert is_divisible(batch, 3)
    assert not is_divisible((*batch, packed), 3)
    assert not is_divisible((*batch, [1, 2, 3]), 3)
    assert num_rows(()) == 1


@pytest.mark.usefixtures("graphs_as_they_are")
@pytest.mark.parametrize("extra", [None, 0.5, [1.0, 2.0], {"a": 1}], ids=str)
def test_arguments_that_are_no_data_are_taken_everywhere(extra: Any) -> None:
    def model(x: Tensor, extra: Any) -> None:
        named_model(x)

    def guide(x: Tensor, extra: Any) -> None:
        named_guide(x)

    named_model, _ = named(lambda x: pyro.plate("images", len(x)))

    def named_guide(x: Tensor) -> None:
        slope = pyro.param("slope", torch.tensor(0.7))
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(slope * x, 0.6))

    pair = pair_from(model, guide)
    assert ppgen.log_weights(pair, (X, extra), num_particles=3).shape == (3, 4)
    assert not [r for r in ppgen.check_pair(pair, (X, extra)).broken if r.check != "check_precisions"]
    table = ppgen.compare(pair, (X, extra), [ELBO(), IWELBO(num_particles=3)], draws=40, eager=True)
    assert len(table.points[0].objectives) == 2
    assert SVI(model, guide, ClippedAdam({"lr": 0.01}), ELBO()).step(X, extra) > 0


def test_a_latent_of_all_data_is_outside_by_its_plates() -> None:
    pair = Shared()
    run = run_particles(Program(pair.model, pair.guide), (line_data(4),), 2)
    assert run.outside is not None
