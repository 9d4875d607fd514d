"""Draws of a model with nothing observed: data, dreams, and what objectives read that need no density.

    x' = G(z),  z ~ p(z)        a run of the model with nothing observed, read at the site where x is observed

The gradient in the model's parameters is pathwise: it exists where x', and every latent whose distribution depends on
a parameter, has a reparameterized sample. A latent with a fixed prior may be discrete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppgen.distributions.wrappers import mean_of
from ppgen.errors import UsageError, shown
from ppgen.machine.seeds import manual_seed
from ppgen.pairs.memories import Forgetting
from ppgen.pairs.parameters import isolated, owner
from ppgen.pairs.plates import plate_of
from ppgen.pairs.rows import num_rows, x_of
from ppgen.pairs.sites import Site, data_frame, drawn_site, is_latent, is_point
from ppgen.pairs.structure import handled
from ppgen.pairs.traces import sites_of, unobserved
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = [
    "Draws",
    "check_generates",
    "check_normalised",
    "data_size",
    "depends_on_parameters",
    "drawn_latents",
    "draws_of",
    "dreamt",
    "generated",
    "global_draws",
    "has_latents",
    "local_latents",
    "mean_at",
    "prior_latents",
    "simulated",
    "unconditioned",
]


@dataclass(frozen=True)
class Draws:
    """Data made by a model, (B, D): ``x`` drawn from p(x | z), and p(x | z)'s ``mean`` (x where it has none).

    ``of_x`` and ``of_mean`` say of each how it was made, and ``drawn_from`` what from: the model, its prior, chains.

    >>> import ppgen
    >>> pair = ppgen.models.VAE(ppgen.DataSpec("bits", 4, "binary"), latent_dim=2, hidden=(3,))
    >>> draws = ppgen.draws.prior_samples(pair, (torch.zeros(1, 4),), 5)
    >>> draws.x.shape, draws.of_x, draws.of_mean
    (torch.Size([5, 4]), 'z ~ p(z), x ~ p(x | z)', 'Means of p(x | z), z ~ p(z)')
    """

    x: Tensor
    mean: Tensor
    of_x: str = ""
    of_mean: str = ""
    drawn_from: str = "model"


def generated(program: Program, batch: Batch) -> Tensor:
    """x' ~ p(x), one for each datum of the batch: (B, ...), the shape of x. Of x only its shape is used."""
    x: Tensor = drawn_site(unconditioned(program.model, batch), x_of(batch, "the objective"))["value"]
    return x


def data_size(program: Program, batch: Batch) -> float:
    """N, or B where the model does not know its data set's size: how many data a mean over the batch stands for."""
    return float(getattr(owner(program.model), "data_size", None) or num_rows(batch))


def check_generates(program: Program, batch: Batch, needed_by: str) -> None:
    """The model's draws of x have a gradient in its parameters.

    Raises:
        UsageError: it is unnormalised, so that it has no direct draws; x, or a latent whose distribution depends on
            parameters, is not reparameterizable (the site is named).
    """
    check_normalised(program.model, needed_by)
    with torch.enable_grad(), isolated():
        sites = unconditioned(program.model, batch)
        x = drawn_site(sites, x_of(batch, needed_by))
        for site in sites.values():
            if site is x or (is_latent(site) and depends_on_parameters(site)):
                _check_pathwise(site, needed_by)


def check_normalised(model: Callable[..., Any], needed_by: str) -> None:
    """The model can be drawn from, latents first.

    Raises:
        UsageError: it is unnormalised.
    """
    pair = owner(model)
    if not getattr(pair, "normalised", True):
        raise UsageError(
            f"{needed_by} reads direct draws of the model, and {type(pair).__name__} is unnormalised and has none: "
            "choose an objective for energy-based pairs, 'pcd'."
        )


def unconditioned(
    model: Callable[..., Any], batch: Batch, given: Mapping[str, Tensor] = MappingProxyType({})
) -> dict[str, Site]:
    """The sample sites of a run of the model with nothing observed, in its order; the latents ``given`` are held."""
    with Forgetting(model):
        return sites_of(poutine.condition(unobserved(model), data=dict(given)), *batch)


def has_latents(sites: Mapping[str, Site]) -> bool:
    """Whether an unconditioned model draws anything beside data: sites of its run."""
    return any(map(_is_hidden, sites.values()))


def local_latents(sites: Mapping[str, Site], plate: str | None) -> list[str]:
    """Names of the latents in the data plate, of an unconditioned model's sites, in its order."""
    return [name for name, site in sites.items() if _is_hidden(site) and data_frame(site, plate) is not None]


def _is_hidden(site: Site) -> bool:
    return is_latent(site) and not site["infer"].get("was_observed")


def drawn_latents(sites: Mapping[str, Site], plate: str | None) -> list[str]:
    """Those of :func:`local_latents` that chance has a part in: a point, such as the source of a translation, is
    given."""
    return [name for name in local_latents(sites, plate) if not is_point(sites[name])]


def draws_of(sites: Mapping[str, Site], x: Tensor, of_x: str = "", of_mean: str = "") -> Draws:
    """What a run of the unconditioned model gave at the site where x is observed.

    Raises:
        UsageError: no observed site has the shape of x.
    """
    site = drawn_site(sites, x)
    if (mean := mean_of(site["fn"])) is None:
        return Draws(site["value"], site["value"], of_x, of_x)
    return Draws(site["value"], mean.expand(x.shape), of_x, of_mean)


def mean_at(pair: Any, batch: Batch, latents: Mapping[str, Tensor], seed: int) -> Tensor:
    """The means of p(x | z) at these latents, by site name, (B, ...); others are drawn by the random numbers of a seed,
    so that they are the same wherever it is.

    Raises:
        UsageError: no observed site has the shape of x.
    """
    manual_seed(seed)
    return draws_of(unconditioned(pair.model, batch, latents), batch[0]).mean


def global_draws(pair: Any, batch: Batch) -> dict[str, Tensor]:
    """The guide's draw of the latents outside the data plate; none for a pair without such a plate."""
    sites = sites_of(pair.model, *batch)
    plate = plate_of(pair, sites)
    inside = {name for name, site in sites.items() if data_frame(site, plate) is not None}
    outside = {name for name, site in sites.items() if is_latent(site)} - inside
    if not inside or not outside:
        return {}
    return {name: site["value"] for name, site in sites_of(pair.guide, *batch).items() if name in outside}


def depends_on_parameters(site: Site) -> bool:
    """Whether a parameter has a part in the distribution of the site's value, as it was drawn; or in the value, a point
    whose density knows no slope."""
    log_prob: Tensor = site["fn"].log_prob(site["value"].detach())
    return log_prob.requires_grad or bool(site["value"].requires_grad)


def _check_pathwise(site: Site, needed_by: str) -> None:
    if not site["fn"].has_rsample:
        raise UsageError(
            f"site {shown(site['name'])} of the model is not reparameterized, and {needed_by} trains the model "
            "through its draws, whose gradient there would silently be zero: choose a model with continuous x, or an "
            "objective that reads densities, 'elbo'."
        )


def check_dreamable(particles: Particles, needed_by: str) -> None:
    """The guide draws each latent by itself: it can be asked for the probability of latents that it did not draw."""
    for name in particles.made_of:
        raise UsageError(
            f"{needed_by} asks the guide for the probability of dreamt latents, and it makes them of auxiliary site "
            f"{shown(name)}, which a dream has not: use a guide that draws each latent by itself, or an "
            "objective without a sleep phase ('rws' with sleep=0)."
        )
    for name in particles.latents:
        if is_point(particles.guide_sites[name]):
            raise UsageError(
                f"{needed_by} asks the guide for the probability of dreamt latents, and it holds {shown(name)} at one "
                "point, where nothing else has any: give the guide a scale, or take an objective without a sleep "
                "phase, 'elbo'."
            )


def dreamt(particles: Particles, needed_by: str) -> Particles:
    """(x', z') ~ p(x, z), one for each datum, as one particle at the batch x': its ``log_q`` is log q(z' | x'), (1, B).

    No gradient flows into the dream. What the batch holds beside x (labels) stays as it is.

    Raises:
        UsageError: the model observes what the batch does not hold as it is, so that the guide cannot be shown a dream.
    """
    batch, places = particles.batch, _places(particles.model_sites, particles.batch, needed_by)
    drawn = _sampled(particles, 1)
    dream = list(batch)
    for place, name in places.items():
        dream[place] = drawn[name].reshape(batch[place].shape)
    return run_particles(particles.program, tuple(dream), 1, {name: drawn[name] for name in _latents(particles)})


def simulated(particles: Particles, needed_by: str) -> tuple[Program, Batch]:
    """A data set x' ~ p(x, z | g) in the place of the batch's, g: the latents outside the data plate as they are.

    A program whose model observes x' at its sites, whatever it says that it observes (``obs=y[:, 0]``, ``obs=x > 0``);
    and a batch that holds x' where a tensor of it is observed as it is: there the guide sees it.

    Raises:
        UsageError: the guide infers latents of a datum, from data that the batch does not hold as they are observed.
    """
    program, batch = particles.program, list(particles.batch)
    drawn, seen = _sampled(particles, 1), {}
    for name, place in _observed(particles.model_sites, particles.batch).items():
        seen[name] = drawn[name].reshape(particles.model_sites[name]["value"].shape)
        if place is not None:
            batch[place] = seen[name]
        elif particles.latents:
            raise _not_held(name, needed_by)
    return replace(program, model=handled(_Observing(seen), program.model)), tuple(batch)


class _Observing(Messenger):
    """Other values are observed at some sites."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]


def prior_latents(particles: Particles) -> dict[str, Tensor]:
    """z ~ p(z), as many as there are particles, by site name, (K, B, ...), without gradients."""
    drawn = _sampled(particles, particles.num_particles)
    return {name: drawn[name] for name in _latents(particles)}


def _latents(particles: Particles) -> list[str]:
    return [name for name, site in particles.model_sites.items() if is_latent(site)]


def _sampled(particles: Particles, num: int) -> dict[str, Tensor]:
    """What ``num`` runs of the model with nothing observed draw at its sites, (num, ..., B, ...).

    Latents outside the data plate stay where the first ``num`` particles have them.
    """
    runner = particles.runner.anew(num)
    with torch.no_grad():
        sites = runner.at(
            unobserved(particles.program.model), {name: value[:num] for name, value in particles.shared.items()}
        )
    return {name: torch.as_tensor(sites[name]["value"]) for name in particles.model_sites}


def _places(sites: Mapping[str, Site], batch: Batch, needed_by: str) -> dict[int, str]:
    """Which tensor of the batch each observed site observes."""
    found = {}
    for name, place in _observed(sites, batch).items():
        if place is None:
            raise _not_held(name, needed_by)
        found[place] = name
    if not found:
        raise UsageError(
            f"{needed_by} shows the guide what the model dreams, and the model observes nothing: use an objective "
            "without a sleep phase ('rws' with sleep=0)."
        )
    return found


def _observed(sites: Mapping[str, Site], batch: Batch) -> dict[str, int | None]:
    """The observed sites, and which tensor of the batch each observes as it is; None: none of them."""
    names = [name for name, site in sites.items() if site["is_observed"] and not site["infer"].get("is_auxiliary")]
    return {name: next((i for i, x in enumerate(batch) if x is sites[name]["value"]), None) for name in names}


def _not_held(name: str, needed_by: str) -> UsageError:
    return UsageError(
        f"{needed_by} shows the guide what the model dreams, and site {shown(name)} observes a tensor that is not one "
        "of the batch's own: observe a tensor of the batch as it is, or use an objective without a sleep phase ('rws' "
        "with sleep=0)."
    )


def without_path(site: Any) -> Tensor | None:
    """A sample without a gradient, where the distribution's own would have one."""
    sample: Tensor | None = site["fn"].sample() if site["fn"].has_rsample else None
    return sample
