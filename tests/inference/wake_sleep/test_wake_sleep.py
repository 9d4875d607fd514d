"""Wake and sleep phases: exact in expectation on pairs that are enumerated, for each datum by itself.

False-alarm rates as in ``discrete_truth.CRITICAL``, unless a test states its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, ReweightedWakeSleep
from pyro.optim import ClippedAdam
from torch import Tensor
from torch.distributions import Transform, constraints

from ppgen.errors import UsageError
from ppgen.inference import IWELBO, RWS, VIMCO, WakeSleep
from ppgen.models import CVAE, VAE
from ppgen.objectives.objective import Objective
from ppgen.pairs.pair import Pair
from ppgen.pairs.sampling import dreamt
from ppgen.pairs.tracing import Program, run_particles
from ppgen.registry import MODELS
from ppgen.testing.yardsticks import BernoulliYardstick, GaussianYardstick, SharedYardstick, data
from tests.discrete_doubles import Coin, TinyDeepSBN, TinySBN, exact_gradient, gradient_draws
from tests.doubles import Chain
from tests.inference.discrete.discrete_truth import CRITICAL, largest_z
from tests.inference.truth import elbo, iwelbo

COPIES = 40_000
SBNS = (TinySBN, TinyDeepSBN)
Sbn = type[TinySBN] | type[TinyDeepSBN]
by_name: Any = lambda double: double.__name__  # noqa: E731


def blocks(pair: Pair) -> tuple[list[str], list[str]]:
    """Names of the model's and of the guide's parameters."""
    guide = [name for name, _ in pair.named_parameters() if name.startswith(("slope", "offset"))]
    return [name for name, _ in pair.named_parameters() if name not in guide], guide


def part(gradients: Mapping[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    return {name: gradients[name] for name in names}


def exact_wake(pair: TinySBN | TinyDeepSBN, num_particles: int) -> dict[str, Tensor]:
    """E sum_k w~_k grad log q(z_k | x), summed over all tuples of states."""
    parameters = pair.parameters_once()
    mass, log_w = pair.atoms(parameters)
    tuples = torch.tensor(list(product(range(len(mass)), repeat=num_particles))).T  # (K, A^K)
    weights = log_w[tuples].softmax(0).detach() * mass[tuples].prod(0).detach()
    return gradients_of((weights * mass.log()[tuples]).sum(), parameters)


def exact_sleep(pair: TinySBN | TinyDeepSBN) -> dict[str, Tensor]:
    """E_p(x, z) grad log q(z | x): the states of z are those of ``atoms``, at each of the eight pictures x."""
    parameters = pair.parameters_once()
    total = torch.zeros(())
    for bits in product([0.0, 1.0], repeat=3):
        pair.datum = torch.tensor(bits)  # type: ignore[misc]  # of this instance
        mass, log_w = pair.atoms(parameters)
        total = total + ((mass * log_w.exp()).detach() * mass.log()).sum()  # q w = p(x, z)
    return gradients_of(total, parameters)


def gradients_of(value: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize("double", SBNS, ids=by_name)
def test_the_models_gradient_is_that_of_the_bound(double: Sbn) -> None:
    model, _ = blocks(double())
    for objective, reduce, particles in ((RWS(num_particles=2), iwelbo, 2), (WakeSleep(), elbo, 1)):
        draws = gradient_draws(objective, double(COPIES))
        assert largest_z(part(draws, model), exact_gradient(double(), reduce, particles)) < CRITICAL


@pytest.mark.parametrize("double", SBNS, ids=by_name)
def test_the_wake_phase_of_the_guide_is_the_self_normalised_sum(double: Sbn) -> None:
    _, guide = blocks(double())
    draws = gradient_draws(RWS(num_particles=2, sleep=0), double(COPIES))
    assert largest_z(part(draws, guide), exact_wake(double(), 2)) < CRITICAL


@pytest.mark.parametrize("double", SBNS, ids=by_name)
@pytest.mark.parametrize("objective", [RWS(num_particles=2, wake=0), WakeSleep()], ids=lambda o: type(o).__name__)
def test_the_sleep_phase_of_the_guide_is_the_score_at_the_models_own_data(
    objective: RWS | WakeSleep, double: Sbn
) -> None:
    _, guide = blocks(double())
    draws = gradient_draws(objective, double(COPIES))
    assert largest_z(part(draws, guide), exact_sleep(double())) < CRITICAL


def test_phases_are_added_by_their_weights_and_never_enter_the_value() -> None:
    pair = TinySBN()
    both, wake, sleep = (
        RWS(num_particles=3, wake=w, sleep=s).differentiable_loss for w, s in ((0.5, 2.0), (1.0, 0.0), (0.0, 1.0))
    )
    found, values = [], []
    for loss in (both, wake, sleep):
        torch.manual_seed(4)
        value = loss(pair.model, pair.guide, *pair.batch)
        values.append(float(value.detach()))
        found.append(torch.autograd.grad(value, [pair.slope, pair.offset]))
    assert values == pytest.approx([values[0]] * 3, rel=1e-12)
    for all_of_it, awake, asleep in zip(*found, strict=True):
        torch.testing.assert_close(all_of_it, 0.5 * awake + 2.0 * asleep)


def test_with_one_particle_and_no_wake_phase_it_is_wake_sleep() -> None:
    pair = TinySBN()
    found = []
    for objective in (RWS(num_particles=1, wake=0), WakeSleep()):
        torch.manual_seed(5)
        loss = objective.differentiable_loss(pair.model, pair.guide, *pair.batch)
        found.append(torch.autograd.grad(loss, list(pair.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_weights_are_normalised_for_each_datum_where_pyros_are_those_of_the_batch() -> None:
    """20 data, 200 particles: within 0.1 nats of the evidence, and Pyro's value more than 0.5 nats below it.

    Standard errors, from 20 draws, are below 0.02 and 0.1.
    """
    pair, (x,) = BernoulliYardstick(), data(20)
    theirs = ReweightedWakeSleep(
        num_particles=200, insomnia=1.0, model_has_params=True, vectorize_particles=True, max_plate_nesting=1
    )
    evidence = float(pair.log_evidence(x).sum())
    ours = [RWS(num_particles=200, sleep=0).loss(pair.model, pair.guide, x) for _ in range(20)]
    pyros = [theirs.loss(pair.model, pair.guide, x)[0] for _ in range(20)]
    assert abs(-sum(ours) / 20 - evidence) < 0.1
    assert -sum(pyros) / 20 < evidence - 0.5


def test_at_one_datum_the_gradient_has_the_expectation_of_pyros() -> None:
    """250 draws of both; |z| < 5 for 19 numbers: a false alarm once in 50,000 runs."""
    pair = TinySBN()
    theirs = ReweightedWakeSleep(
        num_particles=2, insomnia=1.0, model_has_params=True, vectorize_particles=True, max_plate_nesting=1
    )
    parameters, draws = list(pair.parameters()), []
    for objective in (RWS(num_particles=2, sleep=0), theirs):
        found = []
        for _ in range(250):
            pair.zero_grad()
            objective.loss_and_grads(pair.model, pair.guide, *pair.batch)
            found.append(torch.cat([torch.as_tensor(p.grad).flatten().clone() for p in parameters]))
        draws.append(torch.stack(found))
    error = ((draws[0].var(0) + draws[1].var(0)) / 250).sqrt().clamp_min(1e-12)
    assert float(((draws[0].mean(0) - draws[1].mean(0)) / error).abs().max()) < 5


def test_no_gradient_flows_through_a_reparameterized_latent_or_a_dream() -> None:
    """The model's parameters are reached by log p alone, the guide's by log q alone."""
    pair, (x,) = GaussianYardstick(), data(6)
    program = Program(pair.model, pair.guide)
    torch.manual_seed(6)
    loss = RWS(num_particles=3, wake=1, sleep=0).differentiable_loss(pair.model, pair.guide, x)
    found = torch.autograd.grad(loss, [pair.w, pair.a])
    torch.manual_seed(6)
    z = run_particles(program, (x,), 3).guide_sites["z"]["value"].detach()
    log_p = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(pair.w * z, 1.0).log_prob(x)
    log_q = dist.Normal(pair.a * x + pair.b, pair.log_s.exp()).log_prob(z)
    weight = (log_p - log_q).softmax(0).detach()
    expected = torch.autograd.grad(-(weight * (log_p + log_q)).sum(), [pair.w, pair.a])
    torch.testing.assert_close(found, expected)
    dreams = dreamt(run_particles(program, (x,), 3), "a test")
    (of_model,) = torch.autograd.grad(dreams.log_q.sum(), [pair.w], allow_unused=True)
    assert of_model is None


def test_a_dream_is_of_the_batchs_shape_and_keeps_what_the_model_does_not_observe() -> None:
    pair, batch = MODELS["cvae"].tiny()  # type: ignore[misc]
    assert isinstance(pair, CVAE)
    particles = run_particles(Program(pair.model, pair.guide), batch, 3)
    dreams = dreamt(particles, "a test")
    assert [part.shape for part in dreams.batch] == [part.shape for part in batch]
    assert not torch.equal(dreams.batch[0], batch[0])
    assert torch.equal(dreams.batch[1], batch[1])
    assert dreams.log_q.shape == (1, len(batch[0]))


@pytest.mark.parametrize("objective", [RWS(num_particles=4), WakeSleep(num_particles=4)], ids=lambda o: str(o))
@pytest.mark.parametrize("kind", [Chain, TinyDeepSBN], ids=by_name)
def test_it_trains_in_pyros_svi_towards_the_evidence(
    objective: RWS | WakeSleep, kind: type[Chain] | type[TinyDeepSBN]
) -> None:
    """On continuous and on discrete layers the importance-weighted bound of the end is above that of the start."""
    pair = kind()
    x = pair.batch[0].repeat(20, 1) if isinstance(pair, TinyDeepSBN) else torch.full((20, 1), 1.3).double()
    svi = SVI(pair.model, pair.guide, ClippedAdam({"lr": 0.05}), loss=objective)
    judge = IWELBO(num_particles=100)
    object.__setattr__(judge, "needs_rsample", False)
    before = judge.loss(pair.model, pair.guide, x)
    for _ in range(60):
        svi.step(x)
    assert judge.loss(pair.model, pair.guide, x) < before - 0.5  # 20 data; the noise of the judge is 0.1


class Halves(BernoulliYardstick):
    """Observes a part of the batch's tensor."""

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Bernoulli(logits=torch.zeros_like(self.w)))
            pyro.sample("x", dist.Normal(self.w * z, 1.0), obs=x * 1.0)


@pytest.mark.parametrize(
    ("pair", "batch", "sentence"),
    [
        (Halves(), data(4), "site 'x' observes a tensor that is not one of the batch's own"),
        (Coin(), (torch.zeros(4, 1).double(),), "the model observes nothing"),
        (SharedYardstick(), data(4), "'m' stands outside the data plate"),
    ],
    ids=["halves", "coin", "shared"],
)
def test_what_cannot_dream_is_refused(pair: Pair, batch: tuple[Tensor, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        RWS(num_particles=2).differentiable_loss(pair.model, pair.guide, *batch)


def gradients_of_the_model(pair: Pair, batch: tuple[Tensor, ...], *objectives: Objective) -> list[dict[str, Tensor]]:
    """Each objective's gradient in the parameters that the guide does not read, from the same random numbers."""
    found = []
    for objective in objectives:
        torch.manual_seed(0)
        run = run_particles(Program(pair.model, pair.guide), batch, 1)
        of_guide: tuple[Tensor | None, ...] = torch.autograd.grad(
            run.log_q.sum(), list(pair.parameters()), allow_unused=True
        )
        named = {name: p for (name, p), g in zip(pair.named_parameters(), of_guide, strict=True) if g is None}
        torch.manual_seed(1)
        loss = objective.differentiable_loss(pair.model, pair.guide, *batch)
        slopes = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
        found.append(dict(zip(named, slopes, strict=True)))
    return found


def test_a_pair_that_cannot_dream_has_its_wake_phase() -> None:
    wake, bound = gradients_of_the_model(Halves(), data(4), RWS(num_particles=2, sleep=0), VIMCO(num_particles=2))
    assert bool(wake["w"].any())
    torch.testing.assert_close(wake, bound)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: RWS(wake=0, sleep=0), "must not both be 0"),
        (lambda: RWS(sleep=-1.0), "sleep of RWS must be a number of at least 0"),
        (lambda: RWS(num_particles=0), "at least 1"),
    ],
)
def test_phases_that_cannot_be_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_it_trains_a_continuous_pair_with_all_its_options() -> None:
    pair, batch = MODELS["vae"].tiny()  # type: ignore[misc]
    assert isinstance(pair, VAE)
    loss = RWS(num_particles=3).differentiable_loss(pair.model, pair.guide, *batch)
    assert all(bool(g.any()) for g in torch.autograd.grad(loss, list(pair.parameters())))
    dreaming, bound = gradients_of_the_model(pair, batch, RWS(num_particles=3), IWELBO(num_particles=3))
    torch.testing.assert_close(dreaming, bound)


class OneWay(Transform):
    """y = x + x^3, whose inverse nobody wrote: torch's base class says so by NotImplementedError."""

    domain = codomain = constraints.real
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return x + x**3

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (1 + 3 * x**2).log()


def test_a_guide_whose_transform_has_no_inverse_cannot_be_taught_by_dreams() -> None:
    class Bent(GaussianYardstick):
        def guide(self, x: Tensor) -> None:
            with self.data_plate(x):
                pyro.sample("z", dist.TransformedDistribution(dist.Normal(x, 1.0), [OneWay(cache_size=1)]))

        def model(self, x: Tensor) -> None:
            with self.data_plate(x):
                z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    pair = Bent()
    with pytest.raises(UsageError, match="a transform of it has no inverse"):
        RWS(num_particles=2).differentiable_loss(pair.model, pair.guide, *data(4))
