"""The Dirichlet process mixture against the enumerated partitions of the Chinese restaurant; its closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from math import lgamma, log, pi

import pytest
import torch
from torch import Tensor

import ppgen
from ppgen import DataSpec
from ppgen.errors import UsageError
from ppgen.inference import CAVI, EM, Gibbs
from ppgen.models import DPMixture
from ppgen.pairs import Program, run_particles

CRITICAL = 4.5
"""Standard errors: of 20 numbers one is further away in 7,000 runs."""
OPTIONS = {"concentration": 0.8, "scale": 0.7, "shape": 1.5, "mean_count": 0.3}


def mixture(x: Tensor, num_components: int, **options: float) -> DPMixture:
    spec = DataSpec("numbers", x.shape[1], "real", num_data=len(x), mean=x.mean(0))
    return DPMixture(spec, num_components, **{**OPTIONS, **options}).double()  # type: ignore[arg-type]


def clusters(num: int = 40) -> Tensor:
    torch.manual_seed(0)
    centres = torch.tensor([[-4.0, 0.0], [0.0, 3.0], [4.0, -1.0]], dtype=torch.float64)
    return centres[torch.arange(num) % 3] + 0.5 * torch.randn(num, 2, dtype=torch.float64)


def partitions(num: int) -> Iterator[tuple[int, ...]]:
    """Of so many data, as labels that are numbered in their order."""
    if num == 0:
        yield ()
        return
    for before in partitions(num - 1):
        for label in range(max(before, default=-1) + 2):
            yield (*before, label)


def log_marginal(x: Tensor, centre: Tensor) -> float:
    """log p(x), (n, D), of one cluster: a Normal-Gamma prior integrated out (Murphy 2007, eq. 95)."""
    a, k = OPTIONS["shape"], OPTIONS["mean_count"]
    n, mean, total = len(x), x.mean(0), 0.0
    for d in range(x.shape[1]):
        b = a * OPTIONS["scale"] ** 2
        spread = float((x[:, d] - mean[d]).square().sum())
        later = b + spread / 2 + k * n * float(mean[d] - centre[d]) ** 2 / (2 * (k + n))
        total += lgamma(a + n / 2) - lgamma(a) + a * log(b) - (a + n / 2) * log(later)
        total += log(k / (k + n)) / 2 - n / 2 * log(2 * pi)
    return total


def together(labels: Tensor) -> Tensor:
    """Which pairs of data share a cluster, of labels (..., N): (..., N (N - 1) / 2)."""
    i, j = torch.triu_indices(labels.shape[-1], labels.shape[-1], 1)
    return (labels[..., i] == labels[..., j]).double()


def restaurant(x: Tensor) -> tuple[Tensor, Tensor]:
    """All partitions of data x as labels, and their posterior under the Chinese restaurant process."""
    every, log_p = list(partitions(len(x))), []
    for labels in every:
        groups = [x[torch.tensor(labels) == label] for label in range(max(labels) + 1)]
        prior = sum(log(OPTIONS["concentration"]) + lgamma(len(group)) for group in groups)
        log_p.append(prior + sum(log_marginal(group, x.mean(0)) for group in groups))
    return torch.tensor(every), torch.tensor(log_p, dtype=torch.float64).softmax(0)


@pytest.mark.thorough
def test_gibbs_visits_partitions_as_the_chinese_restaurant_has_them() -> None:
    """52 partitions of 5 data; 14 sticks share them as endlessly many do but for 2e-6. Errors by means of 25 blocks."""
    x = torch.tensor([[-1.0], [-0.6], [0.2], [0.9], [1.4]], dtype=torch.float64)
    every, posterior = restaurant(x)
    pair = mixture(x, 14)
    torch.manual_seed(0)
    state, _ = pair.gibbs_start(x)
    seen = []
    for _ in range(5_000):
        state, _, _ = pair.gibbs_sweep(state, x, learn_prior=False)
        seen.append(state["c"])
    labels = torch.stack(seen)
    number = (labels[:, :, None] == torch.arange(14)).any(1).sum(1)
    found = torch.cat([together(labels), (number[:, None] == torch.arange(1, 6)).double()], 1)
    numbers = (every.amax(1)[:, None] + 1 == torch.arange(1, 6)).double()
    expected = posterior @ torch.cat([together(every), numbers], 1)
    blocks = found.unflatten(0, (25, -1)).mean(1)
    scores = (blocks.mean(0) - expected) / (blocks.std(0) / 5)
    assert float(scores.abs().max()) < CRITICAL
    assert float((blocks.std(0) / 5).max()) < 0.02  # so that an error of a tenth would be seen


def test_where_cavi_ends_the_bound_has_no_slope() -> None:
    x = clusters()
    pair = mixture(x, 4)
    ppgen.fit(pair, x, CAVI(), epochs=150, batch_size=40, seed=0, progress=False)
    slopes = torch.autograd.grad(CAVI().differentiable_loss(pair.model, pair.guide, x), list(pair.parameters()))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-6
    with torch.no_grad():
        pair.means.add_(0.01)
    moved = torch.autograd.grad(CAVI().differentiable_loss(pair.model, pair.guide, x), list(pair.parameters()))
    assert max(float(slope.abs().max()) for slope in moved) > 0.1


def test_the_bound_never_falls_whatever_the_batches() -> None:
    x = clusters()
    torch.manual_seed(1)
    pair, before = mixture(x, 5), -float("inf")
    for epoch in range(15):
        ppgen.fit(pair, x, CAVI(), epochs=1, batch_size=40 if epoch % 2 else 7, seed=0, progress=False)
        bound = -CAVI().loss(pair.model, pair.guide, x)
        assert bound >= before - 1e-9
        before = bound


@torch.no_grad()
def test_its_closed_forms_are_the_means_over_the_guides_draws() -> None:
    """The divergence, and E log p(x, c | v, mu, tau) of each component."""
    x = clusters(4)
    torch.manual_seed(2)
    pair, num = mixture(x, 3), 20_000
    particles = run_particles(Program(pair.model, pair.guide), (x,), num)
    assert particles.outside is not None
    weights = -particles.outside.log_w.squeeze(1)
    assert abs(float(weights.mean() - pair.divergence())) < CRITICAL * float(weights.std()) / num**0.5
    sites = {name: site["value"].flatten(0, 1) for name, site in particles.guide_sites.items()}
    rest = torch.nn.functional.pad((1 - sites["sticks"]).log(), (1, 0)).cumsum(-1)
    log_w = torch.nn.functional.pad(sites["sticks"].log(), (0, 1)) + rest  # (K, T)
    each = torch.distributions.Normal(sites["locs"][:, None], sites["precisions"][:, None].rsqrt())
    table = log_w[:, None] + each.log_prob(x[:, None]).sum(-1)  # (K, B, T)
    expected = pair.responsibilities(x).log() + pair.local_bound(x)[:, None]
    assert float(((table.mean(0) - expected) / (table.std(0) / num**0.5)).abs().max()) < CRITICAL


def test_online_steps_come_near_to_where_cavi_ends() -> None:
    """They begin 0.75 nats below, and end within 0.021 for three seeds, this one within 0.006."""
    x = clusters(120)
    bounds = []
    for objective, batch_size in ((CAVI(), 120), (CAVI(decay=0.7), 30)):
        pair = mixture(x, 4)
        pair.start_at(x[:4])
        ppgen.fit(pair, x, objective, epochs=60, batch_size=batch_size, seed=0, progress=False)
        bounds.append(-CAVI().loss(pair.model, pair.guide, x) / 120)
    assert bounds[1] == pytest.approx(bounds[0], abs=0.02)


def test_it_finds_the_number_of_clusters() -> None:
    """Three, of eight components that start at data; which data are together is found, too."""
    x = clusters(60)
    pair = mixture(x, 8, mean_count=0.05)
    pair.start_at(x[:8])
    ppgen.fit(pair, x, CAVI(), steps=200, batch_size=60, seed=0, progress=False)
    assert pair.num_clusters(x) == 3
    found = pair.responsibilities(x).argmax(-1)
    assert torch.equal(together(found), together(torch.arange(60) % 3))
    assert float(pair.weights.detach().sum()) == pytest.approx(1.0)


def test_gibbs_leaves_the_guide_at_its_sums() -> None:
    """Of one sweep they are whole numbers of data, of four their mean."""
    x = clusters(30)
    for steps, parts in ((2, 1), (5, 4)):
        pair = mixture(x, 4)
        ppgen.fit(pair, x, Gibbs(burn_in=1), steps=steps, batch_size=30, seed=0, progress=False)
        counts = parts * (pair.log_counts.detach().exp() - OPTIONS["mean_count"])
        torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-9)
        assert float(counts.sum()) == pytest.approx(30 * parts)


@torch.no_grad()
def test_its_predictive_density_is_one() -> None:
    x = clusters(4)[:, :1]
    grid = torch.linspace(-300, 300, 60_001, dtype=torch.float64)[:, None]
    pair = mixture(x, 3)
    assert float(pair.log_predictive(grid).exp().sum() * 0.01) == pytest.approx(1.0, abs=1e-3)


def test_what_it_cannot_do_is_said() -> None:
    x = clusters(6)
    pair = mixture(x, 3)
    with pytest.raises(UsageError, match="EM takes both steps in closed form"):
        ppgen.fit(pair, x, EM(), epochs=1, progress=False)
    with pytest.raises(UsageError, match="CAVI climbs by the closed forms of a conjugate pair, got GMM"):
        ppgen.fit(ppgen.models.GMM(DataSpec("numbers", 2, "real"), 2), x.float(), CAVI(), epochs=1, progress=False)
    with pytest.raises(UsageError, match=r"means must have the shape \(3, 2\)"):
        pair.start_at(x)
    with pytest.raises(UsageError, match="must be at least 2, got 1"):
        mixture(x, 1)
    with pytest.raises(UsageError, match="needs real data"):
        DPMixture(DataSpec("bits", 2, "binary"))
