"""The joint density at one point: latents are where the guide's mean is, and the guide learns to put it at their mode.

    L(x) = log p(x, z^),        z^ = E_q[z],        a function of the guide's parameters

No entropy, no draws: of parameters of the model it is maximum likelihood with z^ in place of z, and of latents outside
the data plate maximum a posteriori. L is below no log p(x): a density of z may be as high as one likes. What a guide
knows of scales is left as it is, unless its mean depends on them. Value and gradient have no noise.

With a guide of points (Pyro's ``AutoDelta``, the autoencoder's) it is ``elbo``. Where the mean lies outside the support
of the latent, as that of logarithms of shares does, it is taken there through the support's own coordinates. The mode
is that of the density of z as the model states it, and another one where z is stated in other units.

Parameters may have a prior too. A weight is an entry of a parameter of two axes or more; each is taken to be drawn
from p(w), Laplace's (its maximum has many weights at zero) or a Gaussian, of scale s:

    minimised        -sum_n L(x_n) - sum_w log p(w)

which for the Laplace distribution is an L1 penalty of 1 / (N s) for each datum, for a Gaussian an L2 penalty of
1 / (2 N s^2). The prior's normaliser is left out, and ``bound`` is L as without a prior.

Murphy: Machine Learning, a Probabilistic Perspective, 2012, section 5.2.1 (and what is wrong with it, 5.2.1.4), 13.3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor

from ppgen.arguments import Count, Positive
from ppgen.chains.unconstrained import unconstraining
from ppgen.distributions.wrappers import mean_of
from ppgen.errors import UsageError, shown
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Scheduled
from ppgen.objectives.turns import Outcome, State
from ppgen.pairs.parameters import owner
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Batch, Draw, Particles, Program, run_particles
from ppgen.registry import register_objective

__all__ = ["MAP"]


@register_objective(
    "map",
    summary="the joint density at the guide's mean: maximum a posteriori",
    reference="Murphy, Machine learning: a probabilistic perspective",
    year=2012,
    link="https://probml.github.io/pml-book/book0.html",
    tags=("point", "pathwise"),
    tiny=lambda: MAP(),
)
@dataclass(frozen=True, kw_only=True)
class MAP(Bound):
    """Maximum a posteriori; ``num_particles`` (K) average what else is drawn, such as masks of dropout.

    Args:
        num_particles: K.
        prior: of weights: ``"flat"``, ``"laplace"`` or ``"normal"``.
        scale: s, of the prior; of a flat one it is not read.

    Metrics: ``bound``, L, which is no bound.

    >>> import ppgen, torch
    >>> pair, x = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real")), torch.ones(4, 3)
    >>> pair.set_exact_guide()  # whose mean is the mode
    >>> gradients = torch.autograd.grad(MAP().differentiable_loss(pair.model, pair.guide, x), pair.guide_weight)
    >>> torch.allclose(gradients[0], torch.zeros(2, 3), atol=1e-4)
    True
    """

    is_bound = False
    needs_rsample = True
    trains_scales = False

    num_particles: Scheduled[Count] = 1
    prior: Literal["flat", "laplace", "normal"] = "flat"
    scale: Scheduled[Positive] = 1.0

    def drawn_by(self) -> Draw:
        return _mean

    def estimate(self, particles: Particles) -> Tensor:
        """log p(x, z^), (B,), in nats."""
        return particles.log_p.mean(0)

    def play(self, player: str, program: Program, batch: Batch, state: State) -> Outcome:
        outcome = super().play(player, program, batch, state)
        return outcome if self.prior == "flat" else replace(outcome, loss=outcome.loss + self._penalty(program))

    def _penalty(self, program: Program) -> Tensor:
        """-sum_w log p(w) without its normaliser, (), in nats."""
        module = owner(program.model) or torch.nn.Module()
        scale = cast(float, self.scale)
        scaled = [weights / scale for weights in module.parameters() if weights.dim() > 1]
        if self.prior == "laplace":
            return torch.stack([each.abs().sum() for each in scaled]).sum()
        return torch.stack([each.square().sum() / 2 for each in scaled]).sum()

    def _look(self, program: Program, batch: Batch) -> None:
        if self.prior != "flat":
            _check_weights(program)
        run_particles(program, batch, 1, draw=_finite)
        super()._look(program, batch)


def _mean(site: Site) -> Tensor | None:
    fn = site["fn"]
    if not fn.has_rsample:  # which is refused
        return None
    if (mean := mean_of(fn)) is None:
        raise UsageError(
            f"MAP puts latents at the guide's mean, and the {type(fn).__name__} of site {shown(site['name'])} states "
            "none: take another family in the guide, or 'elbo'."
        )
    coordinates = unconstraining(site, "MAP")
    place: Tensor = coordinates(coordinates.inv(mean.expand(fn.shape())))
    return place


def _finite(site: Site) -> Tensor | None:
    place = _mean(site)
    if place is not None and not bool(place.isfinite().all()):
        raise UsageError(
            f"MAP puts latents at the guide's mean, and that of site {shown(site['name'])} is not finite: take another "
            "family in the guide, or 'elbo'."
        )
    return place


def _check_weights(program: Program) -> None:
    module = owner(program.model)
    if module is None:
        raise UsageError(
            f"MAP has a prior for weights of a module, got the bare function {shown(program.model)}: wrap model and "
            "guide with ppgen.pair_from(model, guide)."
        )
    if all(parameter.dim() < 2 for parameter in module.parameters()):
        raise UsageError(
            f"MAP has a prior for weights, parameters of two axes or more, and {type(module).__name__} has none: say "
            "prior='flat'."
        )
