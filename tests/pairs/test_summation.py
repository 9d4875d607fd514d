"""Latents that the model marks for enumeration: sums by hand, and Pyro's, in value and gradient, together and apart."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO, config_enumerate
from torch import Tensor

import ppgen
from ppgen.errors import UsageError
from ppgen.inference import ELBO, IWELBO, Enumerate
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.pair import Pair
from ppgen.pairs.summation import _same
from ppgen.pairs.tracing import Program, run_particles

WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
LOCS = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
SUMMED: Any = {"enumerate": "parallel"}


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def data(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def mixture(x: Tensor) -> None:
    locs = pyro.param("locs", LOCS.clone())
    with pyro.plate("cells", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUMMED)
        pyro.sample("x", dist.Normal(locs[c], 0.8), obs=x)


def nothing(*batch: Any) -> None:
    """The guide of a model whose latents are all summed."""


def mixture_evidence(x: Tensor) -> Tensor:
    """log sum_c w_c N(x; mu_c, 0.64), (B,)."""
    evidence: Tensor = (WEIGHTS.log() + dist.Normal(LOCS, 0.8).log_prob(x[:, None])).logsumexp(-1)
    return evidence


def continuous(x: Tensor) -> None:
    """c, then z | c ~ N(mu_c, 1), x | z ~ N(z, 0.5^2)."""
    locs = pyro.param("locs", LOCS.clone())
    with pyro.plate("cells", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUMMED)
        z = pyro.sample("z", dist.Normal(locs[c], 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def continuous_guide(x: Tensor) -> None:
    slope, scale = pyro.param("slope", torch.tensor(0.7)), pyro.param("scale", torch.tensor(0.6))
    with pyro.plate("cells", len(x)):
        pyro.sample("z", dist.Normal(slope * x, scale))


MOVES = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)


def chain(x: Tensor) -> None:
    """Three steps of a hidden Markov chain that starts in state 0; x is (B, 3)."""
    spread = pyro.param("spread", torch.tensor(1.1))
    with pyro.plate("series", len(x)):
        state: Any = torch.tensor(0)
        for t in pyro.markov(range(3)):
            state = pyro.sample(f"state_{t}", dist.Categorical(MOVES[state]), infer=SUMMED)
            pyro.sample(f"x_{t}", dist.Normal(2.0 * state, spread), obs=x[:, t])


def chain_evidence(x: Tensor) -> Tensor:
    """All eight paths, (B,)."""
    paths = torch.cartesian_prod(*[torch.arange(2)] * 3)  # (8, 3)
    start = torch.cat([torch.zeros(8, 1, dtype=torch.long), paths[:, :-1]], 1)
    prior = MOVES[start, paths].log().sum(-1)  # (8,)
    seen = dist.Normal(2.0 * paths, 1.1).log_prob(x[:, None]).sum(-1)  # (B, 8)
    evidence: Tensor = (prior + seen).logsumexp(-1)
    return evidence


@pytest.mark.parametrize(
    ("model", "x", "evidence"),
    [(mixture, data(6), mixture_evidence), (chain, data(5, 3), chain_evidence)],
    ids=["mixture", "chain"],
)
@pytest.mark.parametrize("vectorized", [True, False])
def test_log_weights_are_the_evidence_where_every_latent_is_summed(
    model: Callable[..., None], x: Tensor, evidence: Callable[[Tensor], Tensor], vectorized: bool
) -> None:
    log_w = ppgen.log_weights(pair_from(model, nothing, vectorized=vectorized), (x,), num_particles=3)
    torch.testing.assert_close(log_w, evidence(x).expand(3, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("vectorized", [True, False])
def test_a_mixture_over_a_continuous_latent_is_summed_at_each_particle(vectorized: bool) -> None:
    x, pair = data(6), pair_from(continuous, continuous_guide, vectorized=vectorized)
    run = run_particles(Program(pair.model, pair.guide), (x,), 4)
    z = run.guide_sites["z"]["value"]  # (4, 6)
    prior = (WEIGHTS.log() + dist.Normal(LOCS, 1.0).log_prob(z[..., None])).logsumexp(-1)
    likelihood = dist.Normal(z, 0.5).log_prob(x)
    torch.testing.assert_close(run.log_p, prior + likelihood, rtol=0, atol=1e-10)
    torch.testing.assert_close(run.log_likelihood, likelihood, rtol=0, atol=1e-10)
    torch.testing.assert_close(run.log_prior, prior, rtol=0, atol=1e-10)
    assert run.summed == ["c"]
    assert run.latents == ["z"]


def gradients(elbo: Any, model: Any, guide: Any, *batch: Any) -> tuple[float, dict[str, Tensor]]:
    pyro.clear_param_store()
    pyro.set_rng_seed(4)
    loss = elbo.loss_and_grads(model, guide, *batch)
    found = {}
    for name, value in pyro.get_param_store().named_parameters():
        found[name] = torch.zeros_like(value) if value.grad is None else value.grad
    return loss, found


@pytest.mark.parametrize(
    ("model", "guide", "x"),
    [(mixture, nothing, data(6)), (chain, nothing, data(5, 3)), (continuous, continuous_guide, data(6))],
    ids=["mixture", "chain", "continuous"],
)
def test_value_and_gradient_are_those_of_pyro(model: Any, guide: Any, x: Tensor) -> None:
    loss, found = gradients(ELBO(), model, guide, x)
    expected, wanted = gradients(TraceEnum_ELBO(max_plate_nesting=1), model, guide, x)
    assert math.isclose(loss, expected, rel_tol=1e-9)
    assert found.keys() == wanted.keys() != set()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("data_first", [True, False])
def test_a_sum_over_data_and_latents_is_the_datas_in_whichever_order_they_come(data_first: bool) -> None:
    def both(x: Tensor) -> None:
        with pyro.plate("cells", len(x)):
            c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUMMED)
            for name in ("x", "z") if data_first else ("z", "x"):
                pyro.sample(name, dist.Normal(LOCS[c], 0.8), obs=x if name == "x" else None)

    x = data(6)
    run = run_particles(Program(both, continuous_guide), (x,), 1)
    normals = dist.Normal(LOCS, 0.8)
    each = [normals.log_prob(value[..., None]) for value in (x, run.guide_sites["z"]["value"])]
    torch.testing.assert_close(run.log_likelihood, (WEIGHTS.log() + each[0] + each[1]).logsumexp(-1).reshape(1, 6))
    assert not run.log_prior.any()


@pytest.mark.parametrize("scale", [3.0, torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0, 1.0], dtype=torch.float64)])
def test_a_scale_stands_outside_the_sum(scale: Any) -> None:
    x = data(6)
    scaled = poutine.scale(mixture, scale=scale)
    expected = (scale * mixture_evidence(x)).sum()
    assert math.isclose(-ELBO().loss(scaled, nothing, x), float(expected), rel_tol=1e-9)


def test_the_scale_of_a_subsampled_plate_is_outside_the_bound() -> None:
    def part(x: Tensor) -> None:
        with pyro.plate("cells", 24, subsample=torch.arange(6)):
            c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUMMED)
            pyro.sample("x", dist.Normal(LOCS[c], 0.8), obs=x)

    x = data(6)
    expected = 4 * mixture_evidence(x).sum()
    assert math.isclose(-IWELBO(num_particles=3).loss(part, nothing, x), float(expected), rel_tol=1e-9)


def test_a_latent_of_all_data_is_summed_with_all_of_them() -> None:
    def shared(x: Tensor, size: int) -> None:
        g = pyro.sample("g", dist.Categorical(WEIGHTS), infer=SUMMED)
        with pyro.plate("cells", size, subsample=torch.arange(len(x))):
            pyro.sample("x", dist.Normal(LOCS[g], 0.8), obs=x)

    x = data(6)
    together = (WEIGHTS.log() + dist.Normal(LOCS, 0.8).log_prob(x[:, None]).sum(0)).logsumexp(0)
    for size in (6, 24):  # of a part of the data, N / B times what the part has
        assert math.isclose(-ELBO().loss(shared, nothing, x, size), float(size / 6 * together), rel_tol=1e-9)


def test_sites_scaled_apart_are_refused_by_name() -> None:
    def apart(x: Tensor) -> None:
        with pyro.plate("cells", len(x)):
            c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUMMED)
            with poutine.scale(scale=2.0):
                pyro.sample("x", dist.Normal(LOCS[c], 0.8), obs=x)

    with pytest.raises(UsageError, match=r"sites 'c' and 'x' are scaled differently, and site 'c' is summed over both"):
        ELBO().loss(apart, nothing, data(6))


def test_draws_of_a_summed_latent_follow_its_posterior() -> None:
    """20,000 draws a datum of a class with three states: each frequency within 5 standard errors, one in 10^5."""
    x, num = data(4), 20_000
    idata = ppgen.to_inference_data(pair_from(mixture, nothing), (x,), num_samples=num)
    drawn = torch.as_tensor(idata.posterior["c"].values[0])  # (S, B)
    truth = (WEIGHTS.log() + dist.Normal(LOCS, 0.8).log_prob(x[:, None])).softmax(-1)  # (B, 3)
    found = torch.stack([(drawn == c).double().mean(0) for c in range(3)], -1)
    assert ((found - truth).abs() < 5 * (truth * (1 - truth) / num).sqrt()).all()
    log_p = torch.as_tensor(idata.log_likelihood["x"].values[0, 0])
    torch.testing.assert_close(log_p, mixture_evidence(x))


class Labelled(Pair):
    """y ~ Categorical, z | y in the guide, both unseen: the sum over labels beside a reparameterized latent."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(0.4))
        self.slope = torch.nn.Parameter(torch.tensor([0.1, -0.3, 0.6]))

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            y = pyro.sample("y", dist.Categorical(WEIGHTS))
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(self.shift * z + y.to(x), 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            y = pyro.sample("y", dist.Categorical(logits=self.slope * x[:, None]))
            pyro.sample("z", dist.Normal(0.3 * (x - y.to(x)), 0.9))


def test_labels_of_the_guide_are_summed_as_pyro_sums_them() -> None:
    """Means over 60 draws at 25 copies of the data are within 6 standard errors: five numbers, one alarm in 10^6."""
    pair, x = Labelled(), data(5).repeat(25)
    enumerated = config_enumerate(pair.guide)

    def moments(elbo: Any, guide: Any) -> tuple[Tensor, Tensor]:
        rows = []
        for _ in range(60):
            pair.zero_grad()
            loss = elbo.differentiable_loss(pair.model, guide, x)
            loss.backward()
            rows.append(torch.cat([loss.detach()[None], pair.shift.grad[None], pair.slope.grad]))  # type: ignore[index, list-item]
        found = torch.stack(rows)
        return found.mean(0), found.var(0) / len(found)

    (ours, our_error), (pyros, error) = (
        moments(Enumerate(), pair.guide),
        moments(TraceEnum_ELBO(max_plate_nesting=1), enumerated),
    )
    assert ((ours - pyros).abs() < 6 * (our_error + error).sqrt()).all()


def test_what_is_unmarked_is_not_summed() -> None:
    def unmarked(x: Tensor) -> None:
        with pyro.plate("cells", len(x)):
            c = pyro.sample("c", dist.Categorical(WEIGHTS))
            pyro.sample("x", dist.Normal(LOCS[c], 0.8), obs=x)

    with pytest.raises(UsageError, match=r"site 'c' is latent in the model and missing in the guide .*enumerate"):
        ELBO().loss(unmarked, nothing, data(6))


def test_a_number_and_a_tensor_are_the_same_scale_to_rounding() -> None:
    assert _same(2.0, torch.tensor(2.0 * (1 + 2e-7)))
    assert not _same(2.0, torch.tensor(2.1))
    assert not _same(1.0, torch.ones(3))
