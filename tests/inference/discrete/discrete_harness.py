"""The moments of any discrete estimator's gradient on a pair of ``tests.discrete_doubles``, and what they tell.

Draws are taken until a factor of 1.02 in the model's or the guide's gradient would be seen. The statistic that sees it
best is the matched filter: with n draws of mean m and covariance S, and g the exact gradient of a block of parameters,

    z = sqrt(n) g' S^-1 (m - g) / sqrt(g' S^-1 g),

is standard normal for an unbiased estimator, and has mean 0.02 sqrt(n g' S^-1 g) for one that is 2 % too large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ppgen.comparison.blocks import parameter_blocks
from ppgen.errors import UsageError
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.sites import is_latent
from ppgen.pairs.tracing import Program, run_particles
from ppgen.registry import OBJECTIVES
from ppgen.training.learner import Learner
from ppgen.training.steps import player_step
from tests.discrete_doubles import DiscreteDouble
from tests.inference.discrete.discrete_truth import CRITICAL, total_variance

__all__ = [
    "COPIES",
    "ERROR",
    "Moments",
    "blocks_of",
    "learnt",
    "moments",
    "schooled",
    "serves",
    "takes",
    "unbiased",
    "with_bound",
]

COPIES = 20_000
"""Draws in a round."""

ERROR = 0.02
"""The share of a block's gradient that is to be seen."""


def with_bound(objective: Any, bound: str) -> Any:
    """The estimator for another bound, with two particles, or as many as it needs."""
    return replace(objective, bound=bound, num_particles=max(2, objective.min_particles))


def serves(objective: Any, bound: str) -> bool:
    """Whether the estimator must serve the bound, by what it says that it needs."""
    return not objective.needs_mean or bound == "elbo"


def unbiased() -> list[Any]:
    """The tiny case of every registered estimator for discrete latents that calls its gradient unbiased."""
    tiny = [spec.tiny() for spec in OBJECTIVES.values() if spec.tiny is not None]
    return [objective for objective in tiny if objective.needs_discrete and objective.unbiased_gradient]


def takes(objective: Any, double: type[DiscreteDouble]) -> bool:
    """Whether the estimator must take the pair, by what it says that it needs."""
    pair = double()
    sites = run_particles(Program(pair.model, pair.guide), pair.batch, 1).guide_sites.values()
    latents = [site for site in sites if is_latent(site)]
    scored = [site for site in latents if not site["fn"].has_rsample]
    if objective.needs_states and not all(_has_states(site) for site in scored):
        return False
    return not objective.needs_binary or all(family_of(site, "this test").binary for site in scored)


def blocks_of(double: type[DiscreteDouble]) -> dict[str, tuple[str, ...]]:
    """The parameters of the guide, and those of the model."""
    pair = double()
    blocks = parameter_blocks(pair, pair.batch)
    return {block: blocks[block] for block in ("guide", "model")}


def learnt(objective: Any, pair: DiscreteDouble) -> nn.Module:
    """The objective's own parameters, at values far from where they begin."""
    own: nn.Module = objective.parameters(pair, pair.batch)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        for parameter in own.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
    return own


def schooled(objective: Any, double: type[DiscreteDouble], guide: tuple[str, ...], steps: int = 300) -> list[float]:
    """The variance of the guide's gradient before and after so many steps in which the control variate alone learns."""
    torch.manual_seed(0)
    pair = double(500)
    learner = Learner(pair, objective.parameters(pair, pair.batch))
    (player,) = objective.players()
    owned, step = learner.owned_by(player), player_step(learner, objective, player)
    state, own = objective.initial_state(learner.program, pair.batch), dict(learner.objective.named_parameters())
    optimizer = torch.optim.Adam(own.values(), lr=0.05) if own else None
    seen: list[dict[str, Tensor]] = []
    for turn in range(steps + 20):
        gradients, _, state, _ = step(dict(owned), {}, state, {}, pair.batch)
        seen += [dict(zip(owned, gradients, strict=True))]
        if optimizer is not None and turn < steps:
            for name, parameter in own.items():
                parameter.grad = seen[-1][f"objective.{name}"]
            optimizer.step()
    ends = seen[:20], seen[-20:]
    return [total_variance({g: torch.cat([s[f"pair.{g}"] for s in end]) for g in guide}, guide) for end in ends]


@dataclass(frozen=True)
class Moments:
    """Sums over ``count`` draws of the numbers of a gradient's difference to ``exact``: ``total`` (P,), ``products``
    (P, P). ``names``: whose parameter each number is."""

    names: Sequence[str]
    exact: Tensor
    count: int
    total: Tensor
    products: Tensor

    def and_of(self, off: Tensor) -> Moments:
        """With more draws, (n, P)."""
        return replace(
            self, count=self.count + len(off), total=self.total + off.sum(0), products=self.products + off.T @ off
        )

    @property
    def mean(self) -> Tensor:
        """m - g, (P,)."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """S, (P, P)."""
        return self.products / self.count - torch.outer(self.mean, self.mean)

    @property
    def largest_z(self) -> float:
        """The largest |m - g| / standard error of single numbers; rounding bounds errors from below."""
        error = (self.covariance.diagonal().clamp_min(0) / self.count).sqrt().clamp_min(1e-12)
        return float((self.mean.abs() / error).max())

    def z_of(self, block: Sequence[str]) -> float:
        """The matched filter for the gradient of some parameters."""
        exact, off, inverse = self._within(block)
        return float(self.count**0.5 * (exact @ inverse @ off) / (exact @ inverse @ exact).sqrt())

    def sees(self, block: Sequence[str]) -> bool:
        """Whether a share ERROR of the block's gradient would be beyond CRITICAL but once in 4,000 times."""
        exact, _, inverse = self._within(block)
        return float(ERROR * (self.count * (exact @ inverse @ exact)).sqrt()) > CRITICAL + 3.5

    def times(self, factor: float, block: Sequence[str]) -> Moments:
        """Those of draws whose numbers in the block are ``factor`` times as large."""
        scale = torch.tensor([factor if name in block else 1.0 for name in self.names]).to(self.exact)
        shift = (scale - 1) * self.exact  # factor * draw - g = factor * (draw - g) + (factor - 1) * g
        total = scale * self.total + self.count * shift
        centred = torch.outer(scale, scale) * self.covariance * self.count
        return replace(self, total=total, products=centred + torch.outer(total, total) / self.count)

    def _within(self, block: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """g, m - g and S^-1 in the block, in the directions that have noise; without any, as if there were 1e-9."""
        inside = torch.tensor([name in block for name in self.names])
        variances, axes = torch.linalg.eigh(self.covariance[inside][:, inside])
        variances = variances.clamp_min(1e-18)
        inverse = (axes * (variances >= 1e-9 * variances.max()) / variances) @ axes.T
        return self.exact[inside], self.mean[inside], inverse


def moments(objective: Any, double: type[DiscreteDouble], exact: Mapping[str, Tensor], most: int = 1) -> Moments:
    """Of rounds of draws of the bound's gradient until both blocks are seen well enough, or there are ``most``.

    What the objective learns for itself is at random places, as its gradient must be right at all of them.
    """
    torch.manual_seed(0)
    pair, blocks = double(COPIES), blocks_of(double)
    own = objective.parameters(pair, pair.batch).requires_grad_(False)
    for parameter in own.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    program, (player, *_) = Program(pair.model, pair.guide, own), objective.players()
    flat = torch.cat([exact[name].flatten() for name, _ in pair.named_parameters()])
    names = [name for name, _ in pair.named_parameters() for _ in range(exact[name].numel())]
    found = Moments(names, flat, 0, torch.zeros_like(flat), torch.zeros(len(flat), len(flat)).to(flat))
    state = objective.initial_state(program, pair.batch)
    for _ in range(most):
        outcome = objective.play(player.name, program, pair.batch, state)
        gradients = torch.autograd.grad(
            -outcome.loss, list(pair.parameters()), allow_unused=True, materialize_grads=True
        )
        state = outcome.state
        found = found.and_of(torch.cat([gradient.flatten(1) for gradient in gradients], 1) - flat)
        if all(found.sees(block) for block in blocks.values()):
            break
    return found


def _has_states(site: Any) -> bool:
    try:
        return bool(family_of(site, "this test"))
    except UsageError:
        return False
