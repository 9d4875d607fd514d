"""Sparse coding with spikes and slabs: its guide, bounds and log p(x) against sums over all spikes, and a known W."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from scipy.linalg import hadamard
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import CAVI, ELBO, EM, REINFORCE
from ppgen.layers.sparse_codes import fitted_dictionary
from ppgen.models import SparseCoding
from ppgen.testing import PAIR_CHECKS, NotApplicable

D, H, NUM = 4, 6, 12


def small_pair(latent_dim: int = H, **options: Any) -> SparseCoding:
    torch.manual_seed(0)
    options = {"active": 0.3, "slab": 1.5, "noise": 0.5, "iterations": 20_000} | options
    spec = DataSpec("numbers", D, "real", num_data=NUM, mean=torch.linspace(-1, 1, D))
    return SparseCoding(spec, latent_dim, prior="spike_and_slab", **options).double()


def data() -> Tensor:
    torch.manual_seed(1)
    return torch.linspace(-1, 1, D).double() + 1.5 * torch.randn(NUM, D).double()


def orthogonal(pair: SparseCoding) -> SparseCoding:
    """Columns that do not explain each other away: p(h, z | x) is a product, and q is exact."""
    torch.manual_seed(2)
    with torch.no_grad():
        pair.weight.copy_(torch.linalg.qr(torch.randn(D, D).double()).Q * torch.tensor([1.0, 0.9, 0.8, 0.5]))
    return pair


def all_states(number: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=number))).double()


def all_spikes(pair: SparseCoding, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x, h) by the covariance of x given h, (B, S); E z and E z z' given h and x, (B, S, H) and (S, H, H)."""
    W, v, t2 = pair.dictionary.detach(), 0.5**2, 1.5**2
    joint, means, seconds = [], [], []
    for h in all_states(pair.latent_dim):
        used = W * h
        covariance = v * torch.eye(D).double() + t2 * used @ used.T
        prior = math.log(0.3) * h.sum() + math.log(0.7) * (1 - h).sum()
        joint.append(dist.MultivariateNormal(pair.loc, covariance).log_prob(x) + prior)
        gain = t2 * used.T @ torch.linalg.inv(covariance)
        means.append((x - pair.loc) @ gain.T)
        seconds.append(t2 * torch.eye(len(h)).double() - t2 * gain @ used)
    return torch.stack(joint, -1), torch.stack(means, 1), torch.stack(seconds)


@torch.no_grad()
def test_log_p_of_x_is_the_sum_over_all_spikes_and_both_bounds_are_below_it() -> None:
    pair, x = small_pair(), data()
    joint = all_spikes(pair, x)[0]
    torch.testing.assert_close(pair.summed_evidence(x), joint.logsumexp(-1))
    q = dist.Bernoulli(logits=pair.inferred(x).logits.unsqueeze(1)).to_event(1)
    log_q = q.log_prob(all_states(H))  # (B, S)
    bound = (log_q.exp() * (joint - log_q)).sum(-1)  # of slabs drawn together
    assert bool((pair.local_bound(x) < bound).all())
    assert bool((bound < joint.logsumexp(-1)).all())
    log_w = ppgen.log_weights(pair, (x,), num_particles=2_000)
    assert bool(((log_w.mean(0) - bound).abs() < 5 * log_w.std(0) / 2_000**0.5).all())  # a false alarm in a million


@torch.no_grad()
@pytest.mark.parametrize("guide", ["full", "mean_field"])
def test_where_columns_are_orthogonal_the_guide_is_the_posterior(guide: Any) -> None:
    pair, x = orthogonal(small_pair(D, guide=guide)), data()
    joint, means, variances = all_spikes(pair, x)
    exact, weights = joint.logsumexp(-1), joint.softmax(-1)
    torch.testing.assert_close(pair.local_bound(x), exact)
    torch.testing.assert_close(ppgen.log_weights(pair, (x,), num_particles=7), exact.expand(7, NUM))
    h = all_states(D)
    torch.testing.assert_close(pair.inferred(x).logits.sigmoid(), weights @ h)
    torch.testing.assert_close(pair.encode(x), (weights.unsqueeze(-1) * h * means).sum(1))
    outer = means.unsqueeze(-1) * means.unsqueeze(-2) + variances
    second = (weights[..., None, None] * h[:, :, None] * h[:, None] * outer).sum((0, 1))
    torch.testing.assert_close(pair.expected_statistics(x)["zz"], second)


@torch.no_grad()
def test_slabs_given_spikes_are_drawn_from_their_posterior() -> None:
    pair, x = small_pair(), data()
    _, means, variances = all_spikes(pair, x)
    assert pair.spikes is not None
    found = pair.spikes.slabs(all_states(H)[:, None], x - pair.loc, pair.dictionary)  # (S, B)
    torch.testing.assert_close(found.loc.transpose(0, 1), means)
    torch.testing.assert_close(found.covariance_matrix[:, 0], variances)


@torch.no_grad()
def test_averaged_weights_are_log_p_of_x() -> None:
    pair, x = small_pair(noise=1.5), data()  # with less, draws of q miss what else explains a datum
    log_w = ppgen.log_weights(pair, (x,), num_particles=5_000)
    estimate = log_w.logsumexp(0) - math.log(5_000)
    error = (log_w - estimate).exp().std(0) / 5_000**0.5
    assert bool((error < 0.01).all())
    assert bool(((estimate - pair.summed_evidence(x)).abs() < 5 * error).all())  # a false alarm in a million a datum


def test_the_bound_is_stationary_in_the_guide_and_its_gradient_whole_in_w() -> None:
    pair, x = small_pair(), data()
    q = pair.inferred(x)
    free = [value.clone().requires_grad_() for value in q]
    assert pair.spikes is not None
    bound = pair.spikes.bound(x - pair.loc, pair.dictionary, type(q)(*free)).sum()
    slopes = torch.autograd.grad(bound, free[:2])
    assert all(float(slope.abs().max()) < 1e-5 for slope in slopes)
    with torch.no_grad():
        pair.weight.mul_(torch.linspace(0.55, 1.5, H))  # at a length of one there is an edge
    (gradient,) = torch.autograd.grad(pair.local_bound(x).sum(), pair.weight)
    ways, values = torch.randn_like(pair.weight), []
    for step in (1e-4, -1e-4):
        with torch.no_grad():
            pair.weight.add_(step * ways)
            values.append(float(pair.local_bound(x).sum()))
            pair.weight.sub_(step * ways)
    assert (values[0] - values[1]) / 2e-4 == pytest.approx(float((gradient * ways).sum()), rel=1e-4)


@torch.no_grad()
def test_a_sweep_lowers_no_bound_and_a_datum_is_inferred_by_itself() -> None:
    pair, x = small_pair(), data()
    bounds = [pair_of.local_bound(x) for pair_of in (small_pair(iterations=5 * k) for k in range(1, 5))]
    assert all(bool((after >= before - 1e-9).all()) for before, after in itertools.pairwise(bounds))
    together = pair.inferred(x)
    alone = torch.cat([pair.inferred(one[None]).logits for one in x])
    torch.testing.assert_close(together.logits, alone)
    torch.testing.assert_close(pair.encode(x.reshape(3, 4, D)), together.mean.reshape(3, 4, H))


@torch.no_grad()
def test_the_m_step_is_where_the_bound_at_q_is_greatest() -> None:
    pair, x = small_pair(), data()
    assert pair.spikes is not None
    q, W = pair.inferred(x), pair.dictionary
    W_next = fitted_dictionary(W, pair.expected_statistics(x))
    for _ in range(20):
        W_next = fitted_dictionary(W_next, pair.expected_statistics(x))
    best = pair.spikes.bound(x - pair.loc, W_next, q).sum()
    assert best > pair.spikes.bound(x - pair.loc, W, q).sum() + 0.1
    for _ in range(20):
        near = W_next + 0.01 * torch.randn_like(W_next)
        assert pair.spikes.bound(x - pair.loc, near / near.norm(dim=0).clamp_min(1), q).sum() < best


def known_dictionary() -> tuple[Tensor, Tensor]:
    """Single numbers and four waves over all of them, and sums of few of these."""
    torch.manual_seed(1)
    W = torch.cat([torch.eye(8), torch.from_numpy(hadamard(8)[:, :4]) / 8**0.5], 1).double()
    codes = torch.randn(400, 12).double() * (torch.rand(400, 12) < 0.1)
    return W, codes @ W.T + 0.05 * torch.randn(400, 8).double()


def alike(pair: SparseCoding, W: Tensor) -> Tensor:
    """The cosine of each column of W, (D, H), with the learnt one that is nearest, (H,)."""
    found = pair.dictionary.detach()
    cosines: Tensor = ((found / found.norm(dim=0)).T @ W).abs().amax(0)
    return cosines


def test_cavi_finds_a_known_dictionary() -> None:
    W, x = known_dictionary()
    torch.manual_seed(0)
    spec = DataSpec("numbers", 8, "real", num_data=400)
    pair = SparseCoding(spec, 12, prior="spike_and_slab", noise=0.2, iterations=40).double()
    assert float(alike(pair, W).min()) < 0.7
    ppgen.fit(pair, x, CAVI(), epochs=30, batch_size=400, seed=0, progress=False)
    assert float(alike(pair, W).min()) > 0.95


def test_objectives_that_fit_it_train_it_and_others_say_what_to_take() -> None:
    pair, x = small_pair(iterations=50), data()
    before = pair.local_bound(x).sum().detach()
    ppgen.fit(pair, x, REINFORCE(), steps=20, batch_size=NUM, lr=0.05, seed=0, progress=False, eager=True)
    assert pair.local_bound(x).sum().detach() > before + 1
    with pytest.raises(UsageError, match=r"EM .*, and SparseCoding .* choose 'cavi'"):
        ppgen.fit(pair, x, EM(), epochs=1, progress=False)
    with pytest.raises(UsageError, match="site 'h' of the guide"):
        ppgen.fit(pair, x, ELBO(), steps=1, progress=False)
    laplace = SparseCoding(DataSpec("numbers", D, "real", num_data=NUM), H).double()
    with pytest.raises(UsageError, match=r"CAVI climbs .* got SparseCoding"):
        ppgen.fit(laplace, x, CAVI(), epochs=1, progress=False)


def test_what_is_of_the_other_prior_is_refused() -> None:
    spec = DataSpec("numbers", D, "real", num_data=NUM)
    with pytest.raises(UsageError, match=r"local_bound .* its prior is laplace: give prior='spike_and_slab'"):
        SparseCoding(spec, H).double().local_bound(data())
    with pytest.raises(UsageError, match=r"log_joint is of the Laplace prior; .* local_bound"):
        small_pair().log_joint(data())
    wide = SparseCoding(DataSpec("wide", 100, "real"), 12, prior="spike_and_slab")
    with pytest.raises(UsageError, match=r"a sum over 2\^12 spikes of 100 numbers each"):
        wide.summed_evidence(torch.randn(2, 100))
    for wrong in (0.0, 1.0):
        with pytest.raises(UsageError, match="active"):
            SparseCoding(spec, H, prior="spike_and_slab", active=wrong)


@pytest.mark.parametrize("check", [check for check in PAIR_CHECKS.values() if not check.slow], ids=lambda one: one.name)
@pytest.mark.parametrize("guide", ["full", "mean_field"])
def test_it_keeps_the_rules_of_pairs(check: Any, guide: Any) -> None:
    pair = SparseCoding(DataSpec("tiny", D, "real", num_data=20), H, prior="spike_and_slab", noise=0.3, guide=guide)
    try:
        check.function(pair, (torch.randn(5, D),))
    except NotApplicable as reason:
        pytest.skip(str(reason))
