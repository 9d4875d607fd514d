"""The tracing core: a pair run with K particles on a batch of B data gives log-weights.

    log w = log p(x, z) - log q(z | x),    z ~ q(z | x),    shape (K, B), in nats.

The guide's run and the model's (:mod:`ppgen.pairs.running`) serve objectives, evaluation and diagnostics alike. The
data plate is found, not named: the one outermost plate that holds the observed sites. Its scale N / B is kept *beside*
the weights and never enters them: inside a log-mean-exp it would no longer give a bound. Sites outside it (global
latents) have weights of their own, shape (K, 1). What a guide observes is no latent and has no part in log q; a
``pyro.factor`` of its own has. Latents that the model marks for enumeration and the guide leaves out are summed out of
log p, for each datum (:mod:`ppgen.pairs.summation`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.effect import AutoMessenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.arguments import at_least
from ppgen.pairs.discrete_families import family_of
from ppgen.pairs.parameters import detached, owner
from ppgen.pairs.plates import DataPlate, data_plate, in_same_plate
from ppgen.pairs.rows import is_divisible, like_data, num_rows
from ppgen.pairs.running import Batch, Draw, Program, Runner
from ppgen.pairs.sites import (
    Site,
    check_log_prob,
    check_observed,
    check_same_latents,
    data_frame,
    is_computed,
    is_factor,
    is_latent,
    is_summed,
    unscaled,
)
from ppgen.pairs.stacking import log_prob_of
from ppgen.pairs.structure import Memory, known_of, runner_of, structure_key, untouched
from ppgen.pairs.summation import is_absorbed, is_carrier
from ppgen.pairs.transformed import log_prob_at

__all__ = [
    "Batch",
    "Draw",
    "Particles",
    "Program",
    "automatic_guides",
    "divides",
    "num_scored",
    "run_particles",
    "say_if_joint",
]


@dataclass(frozen=True)
class Particles:
    """K particles of a program at a batch, with their log-probabilities.

    ``log_p``, ``log_q``, ``log_w`` have shape (K, B): B the size of the data plate, or 1 for the sites outside it
    and for a program without one. Gradients flow through parameters and, where sites are reparameterized, through
    latents; :meth:`with_fixed` cuts one of these routes and leaves all values as they are.

    >>> import ppgen
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real", num_data=100))
    >>> particles = run_particles(Program(pair.model, pair.guide), (torch.zeros(4, 3),), 5)
    >>> particles.latents, particles.log_w.shape, particles.scale  # N / B
    (['z'], torch.Size([5, 4]), 25.0)
    """

    runner: Runner
    guide_sites: Mapping[str, Site] = field(repr=False)
    model_sites: Mapping[str, Site] = field(repr=False)
    inside: bool = True
    """Whether the sites counted are those inside the data plate (or all, without one), or those outside it."""
    extended: frozenset[str] = frozenset()
    """Names of the discrete latents whose values may lie between states; see ``draw`` of :func:`run_particles`."""

    @property
    def program(self) -> Program:
        """What was run."""
        return self.runner.program

    @property
    def batch(self) -> Batch:
        """On what."""
        return self.runner.batch

    @property
    def num_particles(self) -> int:
        """K."""
        return self.runner.num_particles

    @property
    def particle_dim(self) -> int:
        """The dim of particles, left of every plate (< 0)."""
        return self.runner.dim

    @cached_property
    def data_plate(self) -> DataPlate:
        """The plate whose elements are the data."""
        program = self.program
        return data_plate(self.model_sites, program.preferred_plate, required=program.plate_required)

    @property
    def plate(self) -> str | None:
        """Its name; None: the whole batch is one datum."""
        return self.data_plate.name

    @cached_property
    def log_p(self) -> Tensor:
        """log p(x, z), shape (K, B), in nats."""
        return self._total(self.model_sites)

    @cached_property
    def log_q(self) -> Tensor:
        """log q(z | x), shape (K, B), in nats; of the latents, not of what the guide observes."""
        return self._total(self._own_of_guide)

    @cached_property
    def log_w(self) -> Tensor:
        """log p(x, z) - log q(z | x), shape (K, B), in nats."""
        return self.log_p - self.log_q

    @property
    def log_likelihood(self) -> Tensor:
        """log p(x | z): the observed sites alone, latents of the model summed out, shape (K, B), in nats."""
        return self._total({name: site for name, site in self.model_sites.items() if site["is_observed"]})

    @property
    def log_prior(self) -> Tensor:
        """log p(z): the model's sites that are not observed, shape (K, B), in nats."""
        return self._total({name: site for name, site in self.model_sites.items() if not site["is_observed"]})

    @property
    def latents(self) -> list[str]:
        """Names of the latent sites counted here, in the guide's order."""
        return [name for name, site in self.guide_sites.items() if is_latent(site) and self._counts(site)]

    @property
    def scored(self) -> list[str]:
        """Those of the latents that have no reparameterized sample: no gradient flows through their values."""
        return [name for name in self.latents if not self.guide_sites[name]["fn"].has_rsample]

    @property
    def made_of(self) -> list[str]:
        """Names of the guide's auxiliary sites that latents are functions of (an autoguide's), not those masked out."""
        drawn = [site for site in self.guide_sites.values() if site["infer"].get("is_auxiliary")]
        return [site["name"] for site in drawn if not site["is_observed"] and site["mask"] is not False]

    @property
    def mixing(self) -> list[str]:
        """Names of the guide's auxiliary sites that are masked out: noise that latents depend on, a mixture of them."""
        drawn = [site for site in self.guide_sites.values() if site["infer"].get("is_auxiliary")]
        return [site["name"] for site in drawn if not site["is_observed"] and site["mask"] is False]

    def log_q_of(self, names: Iterable[str]) -> Tensor:
        """log q of some of the latents, each given those before it, shape (K, B); zeros (K, 1) for none of them.

        It is the logarithm of what their draws follow: a scale of the user's (``poutine.scale``), which is a weight of
        the site's terms in log w, has no part in it.
        """
        return self._total({name: unscaled(self.guide_sites[name], self.plate) for name in names})

    def read(self, tables: Callable[[Particles], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Several tables of these particles, each (K, B), of one run where they are run a few at a time."""
        return tables(self)

    @property
    def scale(self) -> float:
        """N / B of the data plate: 1 unless it is subsampled; 1 outside it."""
        frame = next((f for s in self.model_sites.values() if (f := data_frame(s, self.plate))), None)
        if frame is None or not self.inside:
            return 1.0
        known = self.program.data_size
        if known is not None and frame.full_size == frame.size and self.outside is not None and not self._is_scaled:
            return float(known / frame.size)
        return float(frame.full_size / frame.size)

    @property
    def _is_scaled(self) -> bool:
        """Whether the data have a scale of the user's own, who then knows N."""
        inside = (s for s in self.model_sites.values() if s["is_observed"] and data_frame(s, self.plate) is not None)
        return any(torch.is_tensor(site["scale"]) or site["scale"] != 1 for site in inside)

    @cached_property
    def outside(self) -> Particles | None:
        """The same particles, counting the sites outside the data plate; None when there are none."""
        globals_ = replace(self, inside=False)
        return globals_ if any(map(globals_._counts, self._every)) else None

    @property
    def summed(self) -> list[str]:
        """Names of the model's latents that are summed out."""
        return [name for name, site in self.model_sites.items() if is_summed(site)]

    @property
    def global_latents(self) -> list[str]:
        """Names of the latents outside the data plate, in the guide's order."""
        return [] if self.outside is None else self.outside.latents

    @property
    def shared(self) -> dict[str, Tensor]:
        """What the guide draws outside the data plate, (K, ...) without gradients, to be given to further runs.

        What latents are made of (an autoguide's auxiliary site) is among it.
        """
        sites = {} if self.outside is None else self.guide_sites
        drawn = {name: site for name, site in sites.items() if not (site["is_observed"] or site_is_subsample(site))}
        return {n: s["value"].detach() for n, s in drawn.items() if data_frame(s, self.plate) is None}

    @property
    def held(self) -> dict[str, Tensor]:
        """:attr:`shared` of the first particle, (1, ...): given to a run, it holds for all of its particles."""
        return {name: value[:1] for name, value in self.shared.items()}

    def log_prob(self, name: str, sites: Mapping[str, Site] | None = None) -> Tensor:
        """Log-probability of one site under the model (or under ``sites``), shape (K, B)."""
        site = (self.model_sites if sites is None else sites)[name]
        if is_carrier(site):
            return self.reduced(site, log_prob_of(site))
        check_observed(site, self.particle_dim)
        if name in self.extended:
            return self.reduced(site, family_of(site, "a relaxed value").log_prob(site["fn"], site["value"]))
        return self.reduced(site, log_prob_of(site))

    def reduced(self, site: Site, log_prob: Tensor) -> Tensor:
        """A site's log-probability (or KL) of its batch shape, summed to (K, B), with mask and scale less N / B."""
        frame = data_frame(site, self.plate)
        check_log_prob(site, log_prob)
        scale = site["scale"] if frame is None else site["scale"] * frame.size / frame.full_size
        log_prob = scale_and_mask(log_prob, scale, site["mask"])
        keep = {self.particle_dim} | (set() if frame is None else {frame.dim})
        log_prob = log_prob.expand(torch.broadcast_shapes(log_prob.shape, (1,) * -self.particle_dim))
        drop = [dim for dim in range(-log_prob.dim(), 0) if dim not in keep]
        log_prob = log_prob.sum(drop) if drop else log_prob
        return log_prob.unsqueeze(-1) if frame is None else log_prob  # (K, B)

    def with_fixed(self, *, model: bool = False, guide: bool = False, latents: bool = False) -> Particles:
        """The same particles, re-scored with no gradient through the model's or the guide's parameters, or the latents.

        With the guide's parameters fixed, a hierarchical guide q(z1|x) q(z2|z1) keeps the path through z1.
        """
        sites: dict[str, Any] = {"guide_sites": self.guide_sites, "model_sites": self.model_sites}
        for kind, fixed in (("guide", guide), ("model", model)):
            if fixed or latents:
                function, summing = getattr(self.program, kind), kind == "model"
                with detached(function) if fixed else nullcontext():
                    again = self.runner.anew().again(function, self.guide_sites, cut=latents, summing=summing)
                    sites[f"{kind}_sites"] = self._now(again, sites[f"{kind}_sites"])
        return replace(self, **sites)

    def scored_at(self, guide_sites: Mapping[str, Site]) -> Particles:
        """The pair's sites at other values of what the guide drew, with all gradients, in runs of their own.

        A guide of one site is not run: what it draws that from does not see it.
        """
        runner, own = self.runner.anew(), [s for s in guide_sites.values() if not site_is_subsample(s)]
        sites = dict(guide_sites) if len(own) == 1 else runner.again(self.program.guide, guide_sites)
        model_sites = runner.again(self.program.model, sites, summing=True)
        return replace(self, guide_sites=in_same_plate(sites, model_sites, self.plate), model_sites=model_sites)

    def _now(self, sites: Mapping[str, Site], before: Mapping[str, Site]) -> dict[str, Site]:
        """The sites with their log-probabilities taken under the parameters that are in force."""
        kept = {n for n, s in sites.items() if n in self.extended or site_is_subsample(s) or is_absorbed(s)}
        for name in sites.keys() - kept:
            if not is_carrier(sites[name]):
                check_observed(sites[name], self.particle_dim)
        return {name: site if name in kept else _scored(site, before.get(name)) for name, site in sites.items()}

    def _counts(self, site: Site) -> bool:
        if site_is_subsample(site) or is_absorbed(site) or is_computed(site):
            return False
        within = data_frame(site, self.plate) is not None or not self._has_data_plate
        return within == self.inside

    @cached_property
    def _has_data_plate(self) -> bool:
        return any(data_frame(site, self.plate) is not None for site in self._every)

    @property
    def _every(self) -> list[Site]:
        return [*self.model_sites.values(), *self._own_of_guide.values()]

    @property
    def _own_of_guide(self) -> dict[str, Site]:
        """The guide's sites without those that it observes; a factor that the model has not is the guide's own."""
        sites = self.guide_sites.items()
        return {n: s for n, s in sites if not s["is_observed"] or (is_factor(s) and n not in self.model_sites)}

    def _total(self, sites: Mapping[str, Site]) -> Tensor:
        terms = [self.log_prob(name, sites) for name, site in sites.items() if self._counts(site)]
        if not terms:
            return _like(self).new_zeros(self.num_particles, 1)
        return sum(terms[1:], terms[0])


def _scored(site: Site, before: Site | None) -> Site:
    """The site with its log-probability taken now, under the parameters that are in force; ``before``: at its draw."""
    if "parts" in site:
        drawn = (None,) * len(site["parts"]) if before is None else before["parts"]
        return {**site, "parts": tuple(_scored(*pair) for pair in zip(site["parts"], drawn, strict=True))}
    return site if "scored" in site else {**site, "scored": log_prob_at(site, before)}


def _like(particles: Particles) -> Tensor:
    """A floating-point tensor of the pair's kind: of the batch, of its parameters, or torch's default."""
    module = owner(particles.program.model)
    return like_data((*particles.batch, *(() if module is None else module.parameters())))


_SAID: WeakSet[Any] = WeakSet()


def say_if_joint(particles: Particles) -> None:
    """Say once that all data together are one datum, where no one plate was found to be theirs."""
    key = structure_key(particles.program.model)
    if particles.data_plate.why and key not in _SAID:
        _SAID.add(key)
        warnings.warn(
            f"all data together are one datum, with one log-weight a particle, because {particles.data_plate.why}: put "
            "them under one plate, name it (pair_from(model, guide, data_plate=...)), or say data_plate=''.",
            stacklevel=2,
        )


def automatic_guides(guide: Callable[..., Any]) -> list[Any]:
    """The autoguides among a guide's modules."""
    module = owner(guide)
    return [] if module is None else [m for m in module.modules() if isinstance(m, AutoGuide | AutoMessenger)]


def divides(one: Particles) -> bool:
    """Whether some of the batch's data can be given alone: not where the guide has parameters for each datum."""
    size = one.log_w.shape[1]
    if one.plate is None or not is_divisible(one.batch, size) or size != num_rows(one.batch):
        return False
    automatic = automatic_guides(one.program.guide)
    amortised = all(one.plate in getattr(module, "amortized_plates", ()) for module in automatic)
    return amortised or not one.latents


_SCORED: Memory = WeakKeyDictionary()


def num_scored(program: Program, batch: Batch) -> int:
    """How many latents of the guide have no reparameterized sample, found by one run the first time it is seen."""
    known, key = known_of(_SCORED, program, batch)
    if key not in known:
        with untouched(program):
            known[key] = len(run_particles(program, batch, 1).scored)
    return int(known[key])


def run_particles(
    program: Program,
    batch: Batch,
    num_particles: int,
    given: Mapping[str, Tensor] | None = None,
    draw: Draw | None = None,
    together: bool | None = None,
) -> Particles:
    """Draw ``num_particles`` from the guide at ``batch`` and score them under model and guide.

    Args:
        program: the model and the guide.
        batch: what the data set yields, ``(x,)``, ``(x, y)``, ...
        num_particles: K.
        given: latents to score instead of drawing them, by site name, each (K, B, ...), or (1, B, ...) for all
            particles: states to enumerate, draws of a chain.
        draw: called with each other latent site of the guide, in order; gives the value the site takes, such as a
            relaxed one or a mean, or None for a sample. A discrete site's value may lie between its states: its
            log-probability under guide and model is then the multilinear extension of
            :mod:`ppgen.pairs.discrete_families`, so that log-weights have a gradient in the value.
        together: whether the particles run under a plate or one after another; None: as the pair allows.

    Raises:
        UsageError: guide and model disagree on their latents, a site's shape fits no plate, or a discrete site that
            ``draw`` gave a value has no extension; the site is named.
    """
    at_least("num_particles", num_particles, 1)
    runner = runner_of(program, batch, num_particles, together)
    guide_sites, drawn = runner.guide(given or {}, draw)
    model_sites = runner.model(guide_sites)
    check_same_latents(model_sites, guide_sites)
    plate = data_plate(model_sites, program.preferred_plate, required=program.plate_required).name
    guide_sites = in_same_plate(guide_sites, model_sites, plate)
    extended = frozenset(name for name in drawn if not guide_sites[name]["fn"].has_rsample)
    return Particles(runner, guide_sites, model_sites, extended=extended)
