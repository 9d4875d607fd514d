"""One particle as Pyro runs it; K together where a plate of particles leaves the pair as it is, else one by one."""

import warnings
from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal
from pyro.nn import PyroModule, PyroSample
from torch import Tensor, nn

import ppgen
from ppgen.chains.unconstrained import FreeLatents
from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, REINFORCE, RWS, STL, VIMCO
from ppgen.objectives.objective import Objective
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.pair import Pair
from ppgen.pairs.structure import runner_of
from ppgen.pairs.tracing import Program, run_particles

SLOWER = "particles of this pair are run one after another, because a plate of particles changes it"


class Rotated(Pair):
    """A decoder whose softmax is over dim 1, the features of a run without particles."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim
        self.encoder, self.decoder = nn.Linear(4, 3).double(), nn.Linear(3, 4).double()

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            mean = torch.softmax(self.decoder(z), dim=self.dim)
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.7).to_event(1))


class Flattened(Rotated):
    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            mean = self.decoder(z.view(len(x), -1))
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)


class Normed(Rotated):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4).double()

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.norm(self.decoder(z)), 0.5).to_event(1), obs=x)


class Joined(Rotated):
    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            mean = self.decoder(torch.cat([z, 0 * x], 1)[:, :3])
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)


class Looked(Rotated):
    """A table that is looked up by a discrete latent."""

    def __init__(self) -> None:
        super().__init__()
        self.locs = nn.Parameter(torch.tensor([[0.0, 1.0, 2.0, 0.5], [1.0, -1.0, 0.3, 0.2]], dtype=torch.float64))
        self.logit = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            b = pyro.sample("b", dist.Bernoulli(x.new_tensor(0.4)))
            chosen = [self.locs[int(i)] for i in b.tolist()]  # value by value: no plate of particles can pass
            pyro.sample("x", dist.Normal(torch.stack(chosen), 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("b", dist.Bernoulli(logits=self.logit * x[:, 0]))


def data() -> Tensor:
    return torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=SLOWER)
        yield


@pytest.mark.parametrize("kind", [Rotated, Flattened, Normed, Joined])
def test_one_particle_has_pyros_loss(kind: type[Rotated]) -> None:
    pair, x = kind(), data()
    losses = []
    for elbo in (Trace_ELBO(), IWELBO(num_particles=1)):
        pyro.set_rng_seed(2)
        losses.append(elbo.loss(pair.model, pair.guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("kind", [Rotated, Flattened, Normed, Joined, Looked])
def test_several_particles_weigh_what_each_weighs_alone(kind: type[Rotated]) -> None:
    pair, x = kind(), data()
    run = run_particles(Program(pair.model, pair.guide), (x,), 5)
    assert not run.runner.together
    for k in range(5):
        given = {name: site["value"][k : k + 1] for name, site in run.guide_sites.items() if name in run.latents}
        alone = run_particles(Program(pair.model, pair.guide), (x,), 1, given)
        torch.testing.assert_close(run.log_w[k : k + 1], alone.log_w, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Rotated, r"site 'x', test_running.py:\d+, `pyro.sample\(\"x\""),
        (Joined, r"test_running.py:\d+, `mean = self.decoder\(torch.cat"),
        (Looked, r"test_running.py:\d+, `chosen = "),
    ],
)
def test_it_is_said_once_with_the_line(kind: type[Rotated], line: str) -> None:
    pair, x = kind(), data()
    with pytest.warns(UserWarning, match=f"(?s){SLOWER}.*{line}"):
        ppgen.log_weights(pair, (x,), num_particles=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ppgen.log_weights(pair, (x,), num_particles=3).shape == (3, 6)


def test_a_pair_that_counts_from_the_right_is_run_together() -> None:
    pair = Rotated(dim=-1)
    assert runner_of(Program(pair.model, pair.guide), (data(),), 4).together
    assert not runner_of(Program(pair.model, pair.guide), (data(),), 1).together


def test_the_pairs_word_comes_before_comparing() -> None:
    one_by_one = pair_from(Rotated(dim=-1).model, Rotated(dim=-1).guide, vectorized=False)
    together = Rotated()
    together.vectorized = True
    assert not runner_of(Program(one_by_one.model, one_by_one.guide), (data(),), 4).together
    assert runner_of(Program(together.model, together.guide), (data(),), 4).together


def test_dropout_is_no_difference() -> None:
    class Dropped(Rotated):
        def __init__(self) -> None:
            super().__init__(dim=-1)
            self.decoder = nn.Sequential(self.decoder, nn.Dropout(0.5))  # type: ignore[assignment]

    pair = Dropped()
    assert pair.training
    assert runner_of(Program(pair.model, pair.guide), (data(),), 2).together
    assert pair.decoder[1].training  # type: ignore[index]


def test_looking_leaves_batch_statistics_and_random_numbers_alone() -> None:
    pair, x = Normed(), data()
    before, state = pair.norm.running_mean.clone(), torch.get_rng_state()  # type: ignore[union-attr]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner_of(Program(pair.model, pair.guide), (x,), 2)
    assert torch.equal(pair.norm.running_mean, before)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize("objective", [ELBO(num_particles=3), IWELBO(num_particles=3), STL(num_particles=3)], ids=str)
def test_the_gradient_one_by_one_is_that_of_particles_together(objective: Any) -> None:
    """At the same noise: z = loc + 0.7 e."""
    pair, x = Rotated(dim=-1), data()
    noise = torch.randn(3, 6, 3, dtype=torch.float64)
    found = []
    for vectorized in (True, False):
        pair.vectorized = vectorized
        pair.zero_grad()
        run = run_particles(Program(pair.model, pair.guide), (x,), 3, draw=lambda site: site["fn"].mean + 0.7 * noise)
        assert run.runner.together == vectorized
        value = objective.estimate(run)
        value.sum().backward()
        found.append([value.detach(), *(p.grad.clone() for p in pair.parameters())])  # type: ignore[union-attr]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("num_particles", [1, 3])
def test_what_is_drawn_in_place_of_a_sample_is_drawn_in_one_run_of_the_guide(num_particles: int) -> None:
    """A site is shown with its particles, however many; what is None is a sample."""
    runs, shown = 0, dict[str, tuple[int, ...]]()

    def model(x: Tensor) -> None:
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            y = pyro.sample("y", dist.Normal(z[..., 0], 1.0))
            pyro.sample("x", dist.Normal(y, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        nonlocal runs
        runs += 1
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(x[:, None].expand(-1, 2), 1.0).to_event(1))
            pyro.sample("y", dist.Normal(z.sum(-1), 1e-9))

    def draw(site: Any) -> Tensor | None:
        shown[site["name"]] = tuple(site["fn"].shape())
        return site["fn"].mean + 1 if site["name"] == "z" else None

    x, program = torch.arange(4.0), Program(model, guide)
    runner_of(program, (x,), num_particles)  # looks at the pair
    runs = 0
    found = run_particles(program, (x,), num_particles, draw=draw)
    assert (runs, shown) == (1, {"z": (num_particles, 4, 2), "y": (num_particles, 4)})
    assert found.extended == frozenset()
    torch.testing.assert_close(found.guide_sites["z"]["value"], (x + 1)[:, None].expand(num_particles, 4, 2))
    torch.testing.assert_close(found.guide_sites["y"]["value"], (2 * x + 2).expand(num_particles, 4))


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize(("layers", "guide_runs"), [(1, 0), (2, 1)])
def test_a_guide_is_scored_elsewhere_without_a_run_where_it_has_one_site(
    layers: int, guide_runs: int, num_particles: int
) -> None:
    """Log q at other values is that of the densities as they are written."""
    x, runs = torch.arange(4.0), 0

    def model(x: Tensor) -> None:
        with pyro.plate("data", 4):
            z = [pyro.sample(f"z{i}", dist.Normal(0.0, 1.0)) for i in range(layers)]
            pyro.sample("x", dist.Normal(sum(z), 1.0), obs=x)

    def guide(x: Tensor) -> None:
        nonlocal runs
        runs += 1
        loc = x
        with pyro.plate("data", 4):
            for i in range(layers):
                loc = pyro.sample(f"z{i}", dist.Normal(loc, 0.7))

    found = run_particles(Program(model, guide), (x,), num_particles)
    other = [torch.randn(num_particles, 4) for _ in range(layers)]
    runs = 0
    free = FreeLatents(found, "a test")
    moved = free.slope(torch.stack(other, -1), torch.tensor(0.0))  # of log q alone
    assert runs == guide_runs
    points = [value.requires_grad_() for value in other]
    log_q = sum(dist.Normal(loc, 0.7).log_prob(z).sum() for loc, z in zip([x, *points], points, strict=False))
    torch.testing.assert_close(moved, torch.stack(torch.autograd.grad(log_q, points), -1))


@pytest.mark.usefixtures("quietly")
@pytest.mark.parametrize(
    "objective", [REINFORCE(num_particles=3), VIMCO(num_particles=3), RWS(num_particles=3, sleep=0.0)], ids=str
)
def test_discrete_estimators_take_a_pair_that_no_plate_can_pass(objective: Objective) -> None:
    pair, x = Looked(), data()
    objective.loss_and_grads(pair.model, pair.guide, x)
    assert pair.logit.grad is not None
    assert pair.logit.grad.abs() > 0


@pytest.mark.usefixtures("quietly", "graphs_as_they_are")
def test_a_pair_run_one_by_one_compiles_to_the_same_numbers() -> None:
    x = data()
    runs = []
    for eager in (True, False):
        torch.manual_seed(0)
        pair = Rotated()
        runs.append(ppgen.fit(pair, x, IWELBO(num_particles=2), steps=5, eager=eager))
    for a, b in zip(runs[0].pair.parameters(), runs[1].pair.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("quietly")
def test_a_site_that_is_drawn_sometimes_is_refused_side_by_side_and_taken_alone() -> None:
    def model() -> None:
        if pyro.sample("coin", dist.Bernoulli(0.5)):
            pyro.sample("extra", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.tensor(0.3))

    program = Program(model, model)
    assert run_particles(program, (), 1).log_w.shape == (1, 1)
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="site 'extra' is drawn in some runs"):
        run_particles(program, (), 12)


def test_weights_that_are_latent_are_run_one_by_one() -> None:
    class Regression(PyroModule):
        def __init__(self) -> None:
            super().__init__()
            self.linear = PyroModule[nn.Linear](2, 1)  # type: ignore[call-arg, arg-type]  # made at run time
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))

        def forward(self, x: Tensor, y: Tensor) -> None:
            mean = self.linear(x).squeeze(-1)
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.Normal(mean, 0.3), obs=y)

    torch.manual_seed(0)
    model = Regression()
    guide = AutoDiagonalNormal(model)
    x, y = torch.randn(7, 2), torch.randn(7)
    guide(x, y)
    with pytest.warns(UserWarning, match=SLOWER):
        several = ELBO(num_particles=200).loss(model, guide, x, y)
    many = torch.tensor([Trace_ELBO().loss(model, guide, x, y) for _ in range(200)])
    # two means of 200 losses: 6 standard errors of their difference, one false alarm in 10^8
    assert abs(several - float(many.mean())) < 6 * float(many.std()) * (2 / 200) ** 0.5
