"""Gradients along the path through a flow, with and without an inverse."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from ppgen.errors import UsageError
from ppgen.inference import ELBO, STL, DReG
from ppgen.pairs.memories import forget
from ppgen.pairs.pair import Pair
from ppgen.pairs.parameters import isolated
from ppgen.pairs.stacking import alone
from ppgen.pairs.tracing import Program, run_particles
from ppgen.pairs.transformed import log_prob_at
from tests.flows import (
    FLOWS,
    INVERTIBLE,
    WIDTH,
    FlowGuide,
    OwnPrior,
    flow,
    flow_data,
    site_of,
)
from tests.marks import thorough


def _gradient(pair: Pair, objective: Any, x: Tensor, seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    named = {name: p for name, p in pair.named_parameters() if not name.startswith("prior")}
    loss = objective.differentiable_loss(pair.model, pair.guide, x)
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("objective", [STL(num_particles=4), DReG(num_particles=4)], ids=["stl", "dreg"])
@pytest.mark.parametrize("name", INVERTIBLE)
def test_at_the_exact_posterior_every_parameter_of_the_guide_has_zero_gradient(name: str, objective: Any) -> None:
    pair, x = OwnPrior(name, shared=False), flow_data(5).double()
    score = _gradient(pair, ELBO(num_particles=4), x)
    assert max(float(g.abs().max()) for g in score.values()) > 0.1
    found = _gradient(pair, objective, x)
    # zeros up to roundings of float64 in terms of the score's size, over the slopes of splines
    assert max(float(g.abs().max()) for g in found.values()) < 1e-10


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", FLOWS)
def test_at_the_exact_posterior_no_gradient_comes_along_the_path(name: str) -> None:
    """Also where only the flow itself, shared by model and guide, can score its draws."""
    pair, x = OwnPrior(name, shared=True), flow_data(5).double()
    with isolated():
        run = run_particles(Program(pair.model, pair.guide), (x,), 3)
        log_w = run.with_fixed(model=True, guide=True).log_w
    torch.testing.assert_close(log_w, run.log_w)
    found = torch.autograd.grad(log_w.sum(), list(pair.parameters()), allow_unused=True, materialize_grads=True)
    assert max(float(g.abs().max()) for g in found) < 1e-10  # as above


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", ["radial", *thorough(["affine autoregressive", "quadratic spline", "planar"])])
def test_away_from_the_posterior_sticking_the_landing_has_the_mean_of_the_pathwise_gradient(name: str) -> None:
    """Along one random direction, paired draws, each of five copies of three data.

    False alarm once in 1,000,000 (5.5 standard errors, at 59 degrees of freedom).
    """
    pair, x = FlowGuide(name).double(), flow_data(3).double().repeat(5, 1)
    direction = {n: torch.randn(p.shape) for n, p in pair.named_parameters()}
    differences = []
    for seed in range(60):
        pathwise, sticking = (_gradient(pair, o, x, seed) for o in (ELBO(num_particles=4), STL(num_particles=4)))
        differences.append(sum(float(((pathwise[n] - sticking[n]) * direction[n]).sum()) for n in pathwise))
    each = torch.tensor(differences)
    assert each.std() > 1e-3  # the score is there
    assert abs(float(each.mean())) < 5.5 * float(each.std()) / math.sqrt(len(each))


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", ["affine coupling", "affine autoregressive", "quadratic spline"])
def test_sticking_the_landing_is_the_path_gradient_of_a_flow(name: str) -> None:
    """d/dz [ log p(x, z) - log q(z | x) ] dz/dphi (Vaitl et al. 2022), by a twin's densities at given z."""
    pair, twin, x = FlowGuide(name).double(), FlowGuide(name).double(), flow_data(5).double()
    torch.manual_seed(1)
    drawn = run_particles(Program(pair.model, pair.guide), (x,), 2).guide_sites["z"]["value"]
    z = drawn.detach().requires_grad_()  # (K, B, WIDTH)
    log_q = dist.TransformedDistribution(dist.Normal(twin.encoder(x), 1.0).to_event(1), [twin.flow]).log_prob(z)
    log_p = dist.Normal(0.0, 1.0).log_prob(z).sum(-1) + dist.Normal(twin.decoder(z), 1.0).log_prob(x).sum(-1)
    (slope,) = torch.autograd.grad((log_q - log_p).sum() / len(z), z)
    guide = {n: p for n, p in pair.named_parameters() if not n.startswith("decoder")}
    along = torch.autograd.grad(drawn, list(guide.values()), slope, allow_unused=True, materialize_grads=True)
    found = _gradient(pair, STL(num_particles=2), x)
    for each, by_hand in zip(guide, along, strict=True):
        torch.testing.assert_close(found[each], by_hand)
    assert max(float(g.abs().max()) for g in along) > 0.01


class _Chain(Pair):
    """z1 ~ q(z1), then z2 | z1 by a flow that z1 conditions, then one that it does not; nothing has an inverse."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.context = dist.transforms.conditional_planar(WIDTH, WIDTH, hidden_dims=[8])
        self.flow = flow("radial")

    def model(self, x: Tensor) -> None:
        with self.data_plate(x):
            first = pyro.sample("z1", dist.Normal(x.new_zeros(WIDTH), 1.0).to_event(1))
            pyro.sample("z2", dist.Normal(first, 1.0).to_event(1))

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            first = pyro.sample("z1", dist.Normal(x, 1.0).to_event(1))
            base = dist.Normal(torch.zeros_like(first), 1.0).to_event(1)
            flows = [self.context.condition(first), self.flow]
            pyro.sample("z2", dist.TransformedDistribution(base, flows))


@pytest.mark.usefixtures("doubles")
def test_the_path_through_an_earlier_latent_survives_in_a_chain_without_inverse() -> None:
    """d log q(z2 | z1)/dz1 at fixed z2 and phi, by the implicit function, against central differences.

    For the differences, the preimage at moved z1 is found by Newton's method from the draw.
    """
    pair, x, step = _Chain(), flow_data(2).double().requires_grad_(), 1e-5
    with isolated():
        run = run_particles(Program(pair.model, pair.guide), (x,), 1)
        fixed = run.with_fixed(guide=True)
    torch.testing.assert_close(fixed.log_q, run.log_q)
    first, second = (alone(run.guide_sites[name])["value"] for name in ("z1", "z2"))  # (B, WIDTH)
    log_q = fixed.log_prob("z2", fixed.guide_sites)  # (1, B)
    total, by_second = torch.autograd.grad(log_q.sum(), [first, second], retain_graph=True)
    slope = total - torch.autograd.grad(second, first, by_second)[0]  # less the path through z2
    ends = [_by_newton(pair, first.detach() + s * step, second.detach()) for s in (1, -1)]
    # rounding over the step, and its square
    torch.testing.assert_close(slope.sum(-1), (ends[0] - ends[1]).detach() / (2 * step), rtol=1e-6, atol=1e-6)


def _by_newton(pair: _Chain, first: Tensor, second: Tensor) -> Tensor:
    """log q(z2 | z1) from its definition, with the preimage of z2 at this z1, shape (B,)."""
    context = pair.context.condition(first)

    def called(at: Tensor) -> Tensor:
        forget(context)
        forget(pair.flow)
        y: Tensor = pair.flow(context(at))
        return y

    x = torch.zeros_like(second)
    for _ in range(50):
        full = torch.autograd.functional.jacobian(lambda at: called(at).sum(0), x)  # (D, B, D)
        jacobian = full.movedim(0, -2)
        x = x - torch.linalg.solve(jacobian, (called(x) - second).unsqueeze(-1)).squeeze(-1)
    assert (called(x) - second).abs().max() < 1e-12
    log_p: Tensor = dist.Normal(torch.zeros_like(x), 1.0).to_event(1).log_prob(x)
    log_q: Tensor = log_p - jacobian.slogdet().logabsdet
    return log_q


def test_a_value_that_a_flow_without_inverse_did_not_draw_is_refused_by_name() -> None:
    fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), [flow("planar")])
    with pytest.raises(UsageError, match="site 'z' is scored at a value that it did not draw, and its Planar has no"):
        log_prob_at(site_of(fn, torch.zeros(WIDTH)))
    drawn = fn.rsample()
    other = site_of(fn, drawn)
    fn.rsample()  # and remembers another
    with pytest.raises(UsageError, match="site 'z'"):
        log_prob_at(site_of(fn, drawn.clone()), other)


def test_a_transform_met_twice_in_a_chain_has_no_known_preimages() -> None:
    twice = flow("planar")
    fn = dist.TransformedDistribution(dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), [twice, twice])
    drawn = site_of(fn, fn.rsample())
    with pytest.raises(UsageError, match="site 'z'"):
        log_prob_at(site_of(fn, drawn["value"].clone()), drawn)
