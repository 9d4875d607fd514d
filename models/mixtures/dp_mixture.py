"""The Dirichlet process mixture: as many clusters as the data ask for, of a stick that is broken without end.

    v_c       ~ Beta(1, alpha)                     c in 0..T-2, and v_{T-1} = 1: the stick is broken T - 1 times
    w_c       = v_c prod_{b < c} (1 - v_b)         w: (T,)
    tau_cd    ~ Gamma(a, b)                        precisions, (T, D); E tau = a / b = 1 / scale^2
    mu_cd     ~ N(m_d, 1 / (k tau_cd))             means, (T, D); m: the training mean
    c_n       ~ Categorical(w)
    x_n | c_n ~ N(mu_c, diag(tau_c)^-1)            x: (D,)

T, ``num_components``, is no number of clusters but a bound for it, which costs nothing where the prior expects fewer:
the first N data share T sticks as they do endlessly many but for about 4 N exp(-(T - 1) / alpha) in probability.
Partitions of the data then follow the Chinese restaurant process: one more datum joins a cluster of n with probability
proportional to n, and opens one with alpha.

    q = prod_c Beta(v_c | g_c, h_c)  prod_cd N(mu_cd | m_cd, 1 / (k_c tau_cd)) Gamma(tau_cd | a_c, b_cd)

Everything is conjugate: with r_nc = q(c_n), n_c = sum_n r_nc, and the weighted mean x_c and variance s_c of the data,

    g_c = 1 + n_c,   h_c = alpha + sum_{b > c} n_b,   k_c = k + n_c,   m_c = (k m + n_c x_c) / k_c,   a_c = a + n_c / 2,
    b_c = b + n_c s_c / 2 + k n_c (x_c - m)^2 / (2 k_c),
    log r_nc = E log w_c + sum_d [psi(a_c) - log b_cd - log 2 pi - 1 / k_c - (a_c / b_cd) (x_nd - m_cd)^2] / 2 + const

which ``cavi`` alternates. ``gibbs`` draws sticks, means and precisions at the assignments, and then all assignments at
them, side by side; at hard r the parameters above are those it draws from. ``elbo`` takes the guide's draws, with c
summed out. Where a run ends depends on where it starts: components are exchangeable but for their order in the stick.

References: Variational Inference for Dirichlet Process Mixtures, Blei and Jordan, 2006 (section 3); Gibbs Sampling
Methods for Stick-Breaking Priors, Ishwaran and James, 2001 (section 5, and theorem 2 of the truncation).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn.functional import one_hot

from ppgen.arguments import Count, Positive
from ppgen.data import DataSpec
from ppgen.distributions.components import Chosen, DiagonalGaussians
from ppgen.distributions.of_particles import of_particles
from ppgen.errors import UsageError, shown
from ppgen.pairs.pair import Pair
from ppgen.pairs.starting import DataStart, Start
from ppgen.registry import Recommended, register_model

__all__ = ["DPMixture"]


def _tiny() -> tuple[Pair, tuple[Tensor, ...]]:
    """A seconds-fast case for the tests: the pair and a batch of five data."""
    spec = DataSpec("tiny", 2, "real", num_data=20)
    return DPMixture(spec, 3), (torch.randn(5, 2),)


@register_model(
    "dp_mixture",
    summary="Dirichlet process mixture of Gaussians: a truncated stick, conjugate components, assignments summed out",
    reference="Blei and Jordan, Variational inference for Dirichlet process mixtures",
    year=2006,
    link="https://doi.org/10.1214/06-BA104",
    tags=("discrete", "mixture", "nonparametric"),
    tiny=_tiny,
    recommended=Recommended("cavi", training={"epochs": 100, "batch_size": 500}),
)
class DPMixture(Pair):
    """Dirichlet process mixture. One batch is ``(x,)``, x of shape (B, D).

    Sites:
        sticks: (T - 1,), in (0, 1), global: v
        precisions: (T, D), positive, global: tau
        locs: (T, D), real, global: mu
        c: (), an index 0..T-1, in the plate ``data``; the model's alone, marked for parallel enumeration
        x: (D,), observed, in the plate ``data``

    Parameters, in the symbols above, of the guide: ``log_ones`` log g and ``log_rest`` log h, (T - 1,); ``log_counts``
    log k_c and ``log_shapes`` log a_c, (T,); ``means`` m_c and ``log_rates`` log b_c, (T, D).

    Args:
        spec: what one datum is: real.
        num_components: T, at least 2.
        concentration: alpha: the prior expects about alpha log(1 + N / alpha) clusters of N data.
        scale: the standard deviation that the prior expects of a component.
        shape: a: it expects it as 2 a data would.
        mean_count: k: a component's mean is known a priori as k data would tell it.
        start: ``"mean"``, components start at draws of the prior; ``"data"``, at training data drawn at random, or
            ``"kmeans++"``, at data far from one another (:mod:`ppgen.pairs.starting`).

    Raises:
        UsageError: the data are not real, or a size or a number is not positive.

    >>> pair = DPMixture(DataSpec("numbers", 1, "real"), num_components=3)
    >>> pair.responsibilities(torch.zeros(2, 1)).shape, pair.log_predictive(torch.zeros(2, 1)).shape
    (torch.Size([2, 3]), torch.Size([2]))
    """

    prior_mean: Tensor

    def __init__(
        self,
        spec: DataSpec,
        num_components: Count = 20,
        *,
        concentration: Positive = 1.0,
        scale: Positive = 1.0,
        shape: Positive = 1.0,
        mean_count: Positive = 0.05,
        start: Start = "mean",
    ) -> None:
        super().__init__(data_size=spec.num_data)
        if spec.observation != "real":
            raise UsageError(f"DPMixture needs real data, but data {shown(spec.name)} are {spec.in_words}.")
        if num_components < 2:
            raise UsageError(
                f"num_components of DPMixture must be at least 2, got {num_components}: a stick is broken."
            )
        self.num_components, self.concentration, self.scale = num_components, float(concentration), float(scale)
        self.shape, self.rate, self.mean_count = float(shape), shape * scale**2, float(mean_count)
        self.register_buffer("prior_mean", spec.centre)
        size = (num_components, spec.num_features)
        self.log_ones, self.log_rest = (nn.Parameter(torch.zeros(num_components - 1)) for _ in range(2))
        self.log_counts, self.log_shapes = (nn.Parameter(torch.zeros(num_components)) for _ in range(2))
        self.means, self.log_rates = (nn.Parameter(torch.zeros(size)) for _ in range(2))
        self.start = DataStart(start)
        self._put(self.prior_mean + scale / mean_count**0.5 * torch.randn(size))

    def model(self, x: Tensor) -> None:
        one = torch.ones_like(self.log_ones)
        sticks = pyro.sample("sticks", dist.Beta(one, self.concentration * one).to_event(1))  # (T-1,), or (K, 1, T-1)
        prior = dist.Gamma(torch.full_like(self.means, self.shape), self.rate).to_event(2)
        precisions = pyro.sample("precisions", prior)  # (T, D), or (K, 1, T, D)
        around = dist.Normal(self.prior_mean, (self.mean_count * precisions).rsqrt()).to_event(2)
        locs = pyro.sample("locs", around)  # (T, D), or (K, 1, T, D)
        components = DiagonalGaussians(of_particles(locs), of_particles(precisions).rsqrt())
        with self.data_plate(x):
            c = pyro.sample("c", dist.Categorical(logits=_log_weights(sticks)), infer={"enumerate": "parallel"})
            pyro.sample("x", Chosen(components, c), obs=x)  # (B, D)

    def guide(self, x: Tensor) -> None:
        pyro.sample("sticks", self._sticks().to_event(1))  # (T-1,), or (K, 1, T-1)
        precisions = pyro.sample("precisions", self._precisions().to_event(2))  # (T, D), or (K, 1, T, D)
        scales = (self.log_counts.exp()[:, None] * precisions).rsqrt()
        pyro.sample("locs", dist.Normal(self.means, scales).to_event(2))  # (T, D), or (K, 1, T, D)

    @property
    def weights(self) -> Tensor:
        """E[w] under the guide, (T,)."""
        return _log_weights(self._sticks().mean).exp()

    @property
    def covariances(self) -> Tensor:
        """1 / E[tau] under the guide, variances (T, D)."""
        return (self.log_rates - self.log_shapes[:, None]).exp()

    def responsibilities(self, x: Tensor) -> Tensor:
        """q(c | x) at the guide, (B, D) to (B, T)."""
        return self._expected_log_joint(x).softmax(-1)

    category_probs = responsibilities

    def num_clusters(self, x: Tensor) -> int:
        """How many components are the most probable one of some of the data x, (N, D)."""
        return len(self.responsibilities(x).argmax(-1).unique())

    def log_predictive(self, x: Tensor) -> Tensor:
        """log sum_c E[w_c] E[N(x | mu_c, tau_c)] under the guide, (B, D) to (B,), in nats: of Student's t."""
        counts, shapes = self.log_counts.exp()[:, None], self.log_shapes.exp()[:, None]
        scales = (self.log_rates.exp() * (counts + 1) / (shapes * counts)).sqrt()  # (T, D)
        each = dist.StudentT(2 * shapes, self.means, scales).log_prob(x.unsqueeze(-2)).sum(-1)  # (B, T)
        found: Tensor = (self.weights.log() + each).logsumexp(-1)
        return found

    def local_bound(self, x: Tensor) -> Tensor:
        """log sum_c exp E log p(x, c | v, mu, tau) under the guide, (B, D) to (B,), in nats."""
        return self._expected_log_joint(x).logsumexp(-1)

    def divergence(self) -> Tensor:
        """KL of the guide from the prior of sticks, means and precisions, (), in nats."""
        one = torch.ones_like(self.log_ones)
        of_sticks = kl_divergence(self._sticks(), dist.Beta(one, self.concentration * one)).sum()
        precisions = self._precisions()
        prior = dist.Gamma(torch.full_like(self.means, self.shape), self.rate)
        share = self.mean_count / self.log_counts.exp()[:, None]  # k / k_c
        away = self.mean_count * precisions.mean * (self.means - self.prior_mean).square()
        of_means = (share - 1 - share.log() + away).sum() / 2
        total: Tensor = of_sticks + of_means + kl_divergence(precisions, prior).sum()
        return total

    def expected_statistics(self, x: Tensor) -> dict[str, Tensor]:
        """Sums over data x, (B, D), of r, ``weights`` (T,), r x and r x^2, ``first`` and ``second`` (T, D), float64."""
        return self._statistics(x, self.responsibilities(x))

    def maximised(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The guide's parameters, each the prior's and a sum over data."""
        n, first, second = (statistics[name] for name in ("weights", "first", "second"))
        prior, counts = self.prior_mean.to(n), self.mean_count + n  # k_c, (T,)
        means = (self.mean_count * prior + first) / counts[:, None]
        squares = second + self.mean_count * prior.square() - counts[:, None] * means.square()
        later = n.sum() - n.cumsum(0)  # sum_{b > c} n_b
        found = {
            "log_ones": (1 + n[:-1]).log(),
            "log_rest": (self.concentration + later[:-1].clamp_min(0)).log(),
            "log_counts": counts.log(),
            "log_shapes": (self.shape + n / 2).log(),
            "means": means,
            "log_rates": (self.rate + squares.clamp_min(0) / 2).log(),
        }
        return {name: value.to(self.means) for name, value in found.items()}

    def start_at(self, means: Any) -> None:
        """Put the components' means there, (T, D), each as if an equal share of the data had told it.

        Raises:
            UsageError: the shape differs.
        """
        given = torch.as_tensor(means).to(self.means)
        if given.shape != self.means.shape:
            expected, got = tuple(self.means.shape), tuple(given.shape)
            raise UsageError(f"means must have the shape {expected}, (components, numbers of x), got {got}.")
        self._put(given)
        self.start.end()

    @property
    def waits_for_data(self) -> bool:
        """Whether ``start`` asks for data, and there were none yet."""
        return self.start.waits

    def start_from(self, x: Tensor, *, seed: int) -> None:
        """Put the means at data of x, (N, D), as ``start`` says.

        Raises:
            UsageError: there are fewer different data than components.
        """
        self._put(self.start.chosen(x, self.num_components, seed=seed))

    @torch.no_grad()
    def _put(self, given: Tensor) -> None:
        share = torch.full_like(self.log_counts, (self.data_size or self.num_components) / self.num_components)
        second = share[:, None] * (given.square() + self.scale**2)
        statistics = {"weights": share.double(), "first": share[:, None] * given, "second": second}
        values = self.maximised({name: value.double() for name, value in statistics.items()})
        for name, value in {**values, "means": given}.items():
            self.get_parameter(name).copy_(value)

    def gibbs_start(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Assignments, (N,), drawn from the guide, and their sums; see :mod:`ppgen.inference.sampling.gibbs`."""
        c = dist.Categorical(logits=self._expected_log_joint(x)).sample()
        return {"c": c}, self._sums(x, c)

    def gibbs_sweep(
        self, state: Mapping[str, Tensor], x: Tensor, *, learn_prior: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Sticks, precisions and means at the assignments, and all assignments at these; log p(x_n | these), (N,).

        The prior has no parameters that are learnt: alpha, the scale and the counts stay, whatever ``learn_prior``.
        """
        at = self.maximised(self._sums(x, state["c"]))
        sticks = dist.Beta(at["log_ones"].exp(), at["log_rest"].exp()).sample()  # (T-1,)
        precisions = dist.Gamma(at["log_shapes"].exp()[:, None], at["log_rates"].exp()).sample()  # (T, D)
        locs = dist.Normal(at["means"], (at["log_counts"].exp()[:, None] * precisions).rsqrt()).sample()
        table = _log_weights(sticks) + DiagonalGaussians(locs, precisions.rsqrt()).table(x)  # (N, T)
        c = dist.Categorical(logits=table).sample()
        return {"c": c}, self._sums(x, c), table.logsumexp(-1)

    def gibbs_parameters(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the guide at these sums: where labels stay with their clusters, near the mean over sweeps."""
        return self.maximised(statistics)

    def _sums(self, x: Tensor, c: Tensor) -> dict[str, Tensor]:
        found = self._statistics(x, one_hot(c, self.num_components))
        return {name: found[name] for name in ("weights", "first", "second")}

    def _statistics(self, x: Tensor, r: Tensor) -> dict[str, Tensor]:
        x, r = x.double(), r.double()
        sums = {"weights": r.sum(0), **DiagonalGaussians.statistics(x, r)}
        return {"count": r.new_full((), len(x)), **sums}

    def _expected_log_joint(self, x: Tensor) -> Tensor:
        """E log p(x, c | v, mu, tau), (B, D) to (B, T)."""
        ones, rest = self.log_ones.exp(), self.log_rest.exp()
        broken, kept = ones.digamma() - (ones + rest).digamma(), rest.digamma() - (ones + rest).digamma()
        log_weights = nn.functional.pad(broken, (0, 1)) + nn.functional.pad(kept, (1, 0)).cumsum(0)  # (T,)
        shapes = self.log_shapes.exp()[:, None]
        log_precisions = (shapes.digamma() - self.log_rates - (-self.log_counts).exp()[:, None]).sum(-1)  # (T,)
        precisions = shapes / self.log_rates.exp()
        squares = ((x.unsqueeze(-2) - self.means).square() * precisions).sum(-1)  # (B, T)
        return log_weights + (log_precisions - x.shape[-1] * math.log(2 * math.pi) - squares) / 2

    def _sticks(self) -> Any:
        return dist.Beta(self.log_ones.exp(), self.log_rest.exp())

    def _precisions(self) -> Any:
        return dist.Gamma(self.log_shapes.exp()[:, None].expand_as(self.log_rates), self.log_rates.exp())


def _log_weights(sticks: Tensor) -> Tensor:
    """log w of v, (..., T - 1) to (..., T)."""
    tiny = torch.finfo(sticks.dtype).tiny
    broken = nn.functional.pad(sticks.clamp_min(tiny).log(), (0, 1))
    kept = nn.functional.pad((1 - sticks).clamp_min(tiny).log(), (1, 0))
    return broken + kept.cumsum(-1)
