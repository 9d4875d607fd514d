"""The tracing core: log-weights of the right shape and value, plates, masks, globals, given and fixed latents."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from ppgen.errors import UsageError
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.pair import Pair
from ppgen.pairs.tracing import Particles, Program, run_particles
from tests.doubles import Chain, Line, Mixture, Shared, data


def particles_of(pair: Pair, size: int = 4, num_particles: int = 3, **given: Tensor) -> Particles:
    return run_particles(Program(pair.model, pair.guide), (data(size),), num_particles, given)


def test_log_weights_are_those_of_pyros_own_traces() -> None:
    pair, x = Chain(), data(4)
    particles = particles_of(pair)
    for k in range(3):
        z = {name: particles.guide_sites[name]["value"][k] for name in ("z1", "z2")}
        model = poutine.trace(poutine.condition(pair.model, z)).get_trace(x)
        guide = poutine.trace(poutine.condition(pair.guide, z)).get_trace(x)
        torch.testing.assert_close(particles.log_p[k].sum(), model.log_prob_sum())
        torch.testing.assert_close(particles.log_q[k].sum(), guide.log_prob_sum())
    torch.testing.assert_close(particles.log_w, particles.log_p - particles.log_q)
    assert particles.log_w.shape == (3, 4)


def test_the_likelihood_is_the_observed_part() -> None:
    particles = particles_of(Line())
    torch.testing.assert_close(particles.log_likelihood + particles.log_prob("z"), particles.log_p)
    torch.testing.assert_close(particles.log_likelihood, particles.log_prob("x"))
    assert particles.latents == ["z"]


def test_given_states_are_scored_and_enumerate_the_evidence() -> None:
    pair, x = Mixture(), data(4)
    particles = run_particles(Program(pair.model, pair.guide), (x,), 3, given=pair.states(x))
    torch.testing.assert_close(particles.log_p, pair.log_joint(x))
    torch.testing.assert_close(particles.log_q, pair.log_guide(x))
    torch.testing.assert_close(particles.log_p.logsumexp(0), pair.log_joint(x).logsumexp(0))


def test_the_same_seed_gives_the_same_weights() -> None:
    pair, draws = Line(), []
    for _ in range(2):
        torch.manual_seed(0)
        draws.append(particles_of(pair).log_w)
    assert torch.equal(*draws)


@pytest.mark.parametrize("data_size", [None, 40])
def test_the_scale_stands_beside_the_weights(data_size: int | None) -> None:
    torch.manual_seed(0)
    particles = particles_of(Line(data_size=data_size))
    torch.manual_seed(0)
    assert torch.equal(particles.log_w, particles_of(Line()).log_w)
    assert particles.scale == (1.0 if data_size is None else 10.0)


def test_global_latents_have_weights_of_their_own() -> None:
    particles = particles_of(pair := Shared(data_size=40))
    outside = particles.outside
    assert outside is not None
    assert (particles.latents, outside.latents) == (["z"], ["mean"])
    assert (particles.log_w.shape, outside.log_w.shape) == ((3, 4), (3, 1))
    assert (particles.scale, outside.scale) == (10.0, 1.0)
    mean = particles.guide_sites["mean"]["value"]  # (K, 1)
    expected = dist.Normal(0.0, 1.0).log_prob(mean) - dist.Normal(pair.at, pair.log_width.exp()).log_prob(mean)
    torch.testing.assert_close(outside.log_w, expected)
    assert particles_of(Line()).outside is None


class _Words(Pair):
    """A plate of words inside the data plate, with a mask, and a scale that is not the data plate's."""

    def model(self, x: Tensor, mask: Tensor) -> None:
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))  # (K, 1, B)
            with pyro.plate("words", x.shape[1], dim=-2), poutine.scale(scale=2.0):
                pyro.sample("x", dist.Normal(z, 1.0).mask(mask.T), obs=x.T)  # (words, B)

    def guide(self, x: Tensor, mask: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))


def test_inner_plates_are_summed_with_their_masks_and_scales() -> None:
    pair, x = _Words(data_size=20), torch.randn(5, 7, dtype=torch.float64)
    mask = torch.rand(5, 7) < 0.6
    particles = run_particles(Program(pair.model, pair.guide), (x, mask), 3)
    z = particles.guide_sites["z"]["value"].reshape(3, 5)
    expected = 2 * (dist.Normal(z[..., None], 1.0).log_prob(x) * mask).sum(-1)
    torch.testing.assert_close(particles.log_likelihood, expected)
    assert particles.scale == 4.0


@pytest.mark.parametrize("fixed", ["model", "guide", "latents"])
def test_holding_a_part_fixed_changes_no_value(fixed: str) -> None:
    particles = particles_of(Chain())
    held = particles.with_fixed(**{fixed: True})
    torch.testing.assert_close(held.log_w, particles.log_w)


def gradients(value: Tensor, pair: Pair) -> dict[str, Tensor | None]:
    found = torch.autograd.grad(value.sum(), list(pair.parameters()), allow_unused=True, retain_graph=True)
    return dict(zip((name for name, _ in pair.named_parameters()), found, strict=True))


MODEL, GUIDE = {"top", "log_spread", "bottom"}, {"slope1", "shift1", "log_scale1", "slope2", "shift2", "log_scale2"}


def reached(value: Tensor, pair: Pair) -> set[str]:
    return {name for name, gradient in gradients(value, pair).items() if gradient is not None}


def test_fixing_cuts_one_route_of_the_gradient() -> None:
    particles = particles_of(pair := Chain())
    assert reached(particles.log_w, pair) == MODEL | GUIDE
    assert reached(particles.with_fixed(model=True).log_w, pair) == GUIDE
    assert reached(particles.with_fixed(guide=True, latents=True).log_w, pair) == MODEL
    assert reached(particles.with_fixed(latents=True).log_p, pair) == MODEL
    assert reached(particles.with_fixed(latents=True).log_q, pair) == GUIDE
    assert reached(particles.with_fixed(guide=True, model=True).log_w, pair) == GUIDE  # along the latents


def test_with_the_guides_parameters_fixed_the_path_through_the_first_latent_survives() -> None:
    """d log q(z2 | z1) / d shift1: z1 moves the mean of z2's distribution, and z2 itself."""
    particles = particles_of(pair := Chain(), num_particles=1, size=1)
    held = particles.with_fixed(guide=True)
    found = gradients(held.log_prob("z2", held.guide_sites), pair)["shift1"]
    # z2 - slope2 z1 - shift2 does not change with z1: both ways cancel; with distributions detached they would not
    assert found is not None
    torch.testing.assert_close(found, torch.zeros_like(found))


@pytest.mark.parametrize("num_particles", [0, -1])
def test_less_than_one_particle_is_refused(num_particles: int) -> None:
    with pytest.raises(UsageError, match=f"num_particles must be at least 1, got {num_particles}"):
        particles_of(Line(), num_particles=num_particles)


def test_a_run_leaves_random_numbers_to_the_draws_alone() -> None:
    """The first run looks at the plates as well; the next ones do not: both draw the same."""
    pair = Line()
    torch.manual_seed(0)
    first = particles_of(pair).log_w
    torch.manual_seed(0)
    assert torch.equal(first, particles_of(pair).log_w)


class _Normalised(Line):
    """With statistics that each run of the guide moves."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm1d(1).double()

    def guide(self, x: Tensor) -> None:
        with self.data_plate(x):
            pyro.sample("z", dist.Normal(self.normalise(x)[:, 0], self.log_scale.exp()))


def test_looking_at_the_plates_leaves_batch_statistics_alone() -> None:
    pair, x = _Normalised(), data(4)
    particles_of(pair)
    expected = 0.1 * x.mean()  # one update, not two
    torch.testing.assert_close(pair.normalise.running_mean, expected.reshape(1))


def test_a_program_without_a_data_plate_is_one_datum() -> None:
    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=torch.float64)

    def model(y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(y.new_zeros(()), 5.0))
        with pyro.plate("schools", 8, dim=-1):
            effect = pyro.sample("effect", dist.Normal(mean, 3.0))
            pyro.sample("y", dist.Normal(effect, 10.0), obs=y)

    def guide(y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(y.new_ones(()), 2.0))
        with pyro.plate("schools", 8, dim=-1):
            pyro.sample("effect", dist.Normal(mean, 3.0))

    pair = pair_from(model, guide, data_plate="")
    particles = run_particles(Program(pair.model, pair.guide), (y,), 4)
    assert particles.outside is None
    assert particles.log_w.shape == (4, 1)
    means, effects = (particles.guide_sites[name]["value"] for name in ("mean", "effect"))  # (4, 1), (4, 8)
    prior = dist.Normal(0.0, 5.0).log_prob(means) - dist.Normal(1.0, 2.0).log_prob(means)
    assert torch.allclose(particles.log_w, prior + dist.Normal(effects, 10.0).log_prob(y).sum(-1, keepdim=True))


def test_latents_outside_the_plate_are_held_at_the_first_particles_draw_without_its_gradient() -> None:
    pair, x = Shared(), data(4)
    particles = run_particles(Program(pair.model, pair.guide), (x,), 3)
    assert list(particles.held) == ["mean"]
    further = run_particles(Program(pair.model, pair.guide), (x,), 5, particles.held)
    found, first = further.guide_sites["mean"]["value"], particles.guide_sites["mean"]["value"][:1]
    assert torch.equal(found, first.expand_as(found))
    assert len(found) == 5
    assert not found.requires_grad
