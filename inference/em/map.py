"""The joint density at one point: latents are where the guide's mean is, and the guide learns to put it at their mode.

    L(x) = log p(x, z^),        z^ = E_q[z],        a function of the guide's parameters

No entropy, no draws: of parameters of the model it is maximum likelihood with z^ in place of z, and of latents outside
the data plate maximum a posteriori. L is below no log p(x): a density of z may be as high as one likes. What a guide
knows of scales is left as it is, unless its mean depends on them. Value and gradient have no noise.

With a guide of points (Pyro's ``AutoDelta``, the autoencoder's) it is ``elbo``. Where the mean lies outside the support
of the latent, as that of logarithms of shares does, it is taken there through the support's own coordinates. The mode
is that of the density of z as the model states it, and another one where z is stated in other units.

Murphy: Machine Learning, a Probabilistic Perspective, 2012, section 5.2.1 (and what is wrong with it, 5.2.1.4).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import biject_to

from ppgen.arguments import Count
from ppgen.errors import UsageError, shown
from ppgen.objectives.bounds import Bound
from ppgen.objectives.objective import Scheduled
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

    def drawn_by(self) -> Draw:
        return _mean

    def estimate(self, particles: Particles) -> Tensor:
        """log p(x, z^), (B,), in nats."""
        return particles.log_p.mean(0)

    def _look(self, program: Program, batch: Batch) -> None:
        run_particles(program, batch, 1, draw=_finite)
        super()._look(program, batch)


def _mean(site: Site) -> Tensor | None:
    fn = site["fn"]
    if not fn.has_rsample:  # which is refused
        return None
    try:
        coordinates = biject_to(fn.support)
        place: Tensor = coordinates(coordinates.inv(fn.mean.expand(fn.shape())))
    except NotImplementedError as error:
        raise UsageError(
            f"MAP puts latents at the guide's mean, and the {type(fn).__name__} of site {shown(site['name'])} states "
            "none: take another family in the guide, or 'elbo'."
        ) from error
    return place


def _finite(site: Site) -> Tensor | None:
    place = _mean(site)
    if place is not None and not bool(place.isfinite().all()):
        raise UsageError(
            f"MAP puts latents at the guide's mean, and that of site {shown(site['name'])} is not finite: take another "
            "family in the guide, or 'elbo'."
        )
    return place
