"""The tracing core: a pair run with K particles on a batch of B data gives log-weights.

    log w = log p(x, z) - log q(z | x),    z ~ q(z | x),    shape (K, B), in nats.

One vectorized run of the guide and one of the model, under a plate of K particles to the left of the pair's own
plates, serve objectives, evaluation and diagnostics alike. The scale N / B of a subsampled ``data`` plate is kept
*beside* the weights and never enters them: inside a log-mean-exp it would no longer give a bound. Sites outside
the data plate (global latents) have weights of their own, shape (K, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ppgen.discrete import family_of
from ppgen.errors import UsageError
from ppgen.memories import Forgetting
from ppgen.pair import Pair
from ppgen.parameters import detached, isolated, owner, swapped
from ppgen.sites import (
    Site,
    check_given,
    check_log_prob,
    check_observed,
    check_plates,
    check_same_latents,
    data_frame,
    is_latent,
)
from ppgen.transformed import log_prob_at

__all__ = ["Draw", "Particles", "Program", "run_particles"]

Batch = tuple[Tensor, ...]

Draw: TypeAlias = Callable[[Site], Tensor | None]
"""What a latent site takes instead of a sample of its distribution; None: a sample."""


@dataclass(frozen=True)
class Program:
    """What an objective works on: a model, a guide, and the objective's own module (a critic, baselines) if any."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    own: nn.Module | None = None

    @property
    def plate(self) -> str:
        """Name of the plate whose elements are the data."""
        return getattr(owner(self.model), "plate_name", "data")


@dataclass(frozen=True)
class Particles:
    """K particles of a program at a batch, with their log-probabilities.

    ``log_p``, ``log_q``, ``log_w`` have shape (K, B): B the size of the data plate, or 1 for the sites outside it
    and for a program without one. Gradients flow through parameters and, where sites are reparameterized, through
    latents; :meth:`with_fixed` cuts one of these routes and leaves all values as they are.
    """

    program: Program
    batch: Batch
    num_particles: int
    particle_dim: int
    guide_sites: Mapping[str, Site] = field(repr=False)
    model_sites: Mapping[str, Site] = field(repr=False)
    inside: bool = True
    """Whether the sites counted are those inside the data plate (or all, without one), or those outside it."""
    extended: frozenset[str] = frozenset()
    """Names of the discrete latents whose values may lie between states; see ``draw`` of :func:`run_particles`."""

    @cached_property
    def log_p(self) -> Tensor:
        """log p(x, z), shape (K, B), in nats."""
        return self._total(self.model_sites)

    @cached_property
    def log_q(self) -> Tensor:
        """log q(z | x), shape (K, B), in nats."""
        return self._total(self.guide_sites)

    @cached_property
    def log_w(self) -> Tensor:
        """log p(x, z) - log q(z | x), shape (K, B), in nats."""
        return self.log_p - self.log_q

    @property
    def log_likelihood(self) -> Tensor:
        """log p(x | z): the observed sites alone, shape (K, B), in nats."""
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

    def log_q_of(self, names: Iterable[str]) -> Tensor:
        """log q of some of the latents, each given those before it, shape (K, B); zeros (K, 1) for none of them."""
        return self._total({name: self.guide_sites[name] for name in names})

    @property
    def scale(self) -> float:
        """N / B of the data plate: 1 unless it is subsampled; 1 outside it."""
        frame = next((f for s in self.model_sites.values() if (f := data_frame(s, self.program.plate))), None)
        return frame.full_size / frame.size if frame is not None and self.inside else 1.0

    @cached_property
    def outside(self) -> Particles | None:
        """The same particles, counting the sites outside the data plate; None when there are none."""
        globals_ = replace(self, inside=False)
        every = [*self.model_sites.values(), *self.guide_sites.values()]
        return globals_ if any(globals_._counts(site) for site in every) else None

    def held(self, num: int) -> dict[str, Tensor]:
        """The first particle's draws outside the data plate, for ``num`` particles: to be given to further runs.

        Those that latents are made of (an autoguide's) are among them.
        """
        sites = {} if self.outside is None else self.guide_sites
        drawn = {name: site for name, site in sites.items() if not (site["is_observed"] or site_is_subsample(site))}
        values = {n: s["value"][:1].detach() for n, s in drawn.items() if data_frame(s, self.program.plate) is None}
        return {name: value.expand(num, *value.shape[1:]) for name, value in values.items()}

    def log_prob(self, name: str, sites: Mapping[str, Site] | None = None) -> Tensor:
        """Log-probability of one site under the model (or under ``sites``), shape (K, B)."""
        site = (self.model_sites if sites is None else sites)[name]
        check_observed(site, self.particle_dim)
        if name in self.extended:
            return self.reduced(site, family_of(site, "a relaxed value").log_prob(site["fn"], site["value"]))
        if "scored" in site:
            return self.reduced(site, site["scored"])
        return self.reduced(site, site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]))

    def reduced(self, site: Site, log_prob: Tensor) -> Tensor:
        """A site's log-probability (or KL) of its batch shape, summed to (K, B), with mask and scale less N / B."""
        frame = data_frame(site, self.program.plate)
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
        given = {n: s["value"] for n, s in self.guide_sites.items() if not s["is_observed"]}
        given = {n: v.detach() for n, v in given.items()} if latents else given
        sites: dict[str, Any] = {"guide_sites": self.guide_sites, "model_sites": self.model_sites}
        for kind, fixed in (("guide", guide), ("model", model)):
            if fixed or latents:
                function, before = getattr(self.program, kind), sites[f"{kind}_sites"]
                with detached(function) if fixed else nullcontext():
                    found = _run(function, self.batch, self._plate(), _Given(given), Forgetting(function))
                    for name, site in found.items():
                        if not site_is_subsample(site) and name not in self.extended:
                            check_observed(site, self.particle_dim)
                            site["scored"] = log_prob_at(site, before.get(name))
                sites[f"{kind}_sites"] = found
        return replace(self, **sites)

    def _plate(self) -> pyro.plate:
        return pyro.plate("particles", self.num_particles, dim=self.particle_dim)

    def _counts(self, site: Site) -> bool:
        if site_is_subsample(site):
            return False
        within = data_frame(site, self.program.plate) is not None or not self._has_data_plate
        return within == self.inside

    @cached_property
    def _has_data_plate(self) -> bool:
        every = [*self.model_sites.values(), *self.guide_sites.values()]
        return any(data_frame(site, self.program.plate) is not None for site in every)

    def _total(self, sites: Mapping[str, Site]) -> Tensor:
        terms = [self.log_prob(name, sites) for name, site in sites.items() if self._counts(site)]
        if not terms:
            return next(v for v in self.batch if torch.is_floating_point(v)).new_zeros(self.num_particles, 1)
        return sum(terms[1:], terms[0])


def run_particles(
    program: Program,
    batch: Batch,
    num_particles: int,
    given: Mapping[str, Tensor] | None = None,
    draw: Draw | None = None,
) -> Particles:
    """Draw ``num_particles`` from the guide at ``batch`` and score them under model and guide.

    Args:
        program: the model and the guide.
        batch: what the data set yields, ``(x,)``, ``(x, y)``, ...
        num_particles: K.
        given: latents to score instead of drawing them, by site name, each (K, B, ...): states to enumerate, draws
            of a chain.
        draw: called with each other latent site of the guide, in order; gives the value the site takes, such as a
            relaxed one or a mean, or None for a sample. A discrete site's value may lie between its states: its
            log-probability under guide and model is then the multilinear extension of :mod:`ppgen.discrete`, so
            that log-weights have a gradient in the value.

    Raises:
        UsageError: guide and model disagree on their latents, a site's shape fits no plate, or a discrete site that
            ``draw`` gave a value has no extension; the site is named.
    """
    if num_particles < 1:
        raise UsageError(f"num_particles must be at least 1, got {num_particles}.")
    for function in (program.model, program.guide):
        if isinstance(pair := owner(function), Pair):
            pair.prepare(*batch)
    dim = -1 - max(_nesting(program.model, batch), _nesting(program.guide, batch))
    plate = pyro.plate("particles", num_particles, dim=dim)
    giver, forgetting = _Given(given or {}, draw), Forgetting(program.model, program.guide)
    guide_sites = _run(program.guide, batch, plate, giver, forgetting)
    values = {name: site["value"] for name, site in guide_sites.items() if not site["is_observed"]}
    model_sites = _run(program.model, batch, plate, _Given(values), forgetting)
    check_same_latents(model_sites, guide_sites)
    extended = frozenset(name for name in giver.drawn if not guide_sites[name]["fn"].has_rsample)
    return Particles(program, batch, num_particles, dim, guide_sites, model_sites, extended=extended)


class _Given(Messenger):
    """Gives latent sites the values at hand, or what ``draw`` makes of the site; sites without either are sampled."""

    def __init__(self, values: Mapping[str, Tensor], draw: Draw | None = None) -> None:
        super().__init__()
        self.values = values
        self.draw = draw
        self.drawn: list[str] = []

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        value = None if msg["is_observed"] else self._value(msg)
        if value is not None:
            check_given(msg, value)
            msg["value"], msg["done"] = value, True

    def _value(self, msg: dict[str, Any]) -> Tensor | None:
        name = msg["name"]
        if name in self.values or self.draw is None or not is_latent(msg):
            return self.values.get(name)
        value = self.draw(msg)
        self.drawn += [name] if value is not None else []
        return value


def _run(
    function: Callable[..., Any], batch: Batch, plate: pyro.plate, given: _Given, forgetting: Forgetting
) -> dict[str, Site]:
    """Sample sites of one run, in order, subsampling sites included."""
    with forgetting, poutine.trace() as tracer, given, plate:
        function(*batch)
    return {name: site for name, site in tracer.trace.nodes.items() if site["type"] == "sample"}


_NESTING: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()


def _nesting(function: Callable[..., Any], batch: Batch) -> int:
    """How many dims the function's own plates take, found by one run the first time the function is seen."""
    module = owner(function)
    known = _NESTING.setdefault(function if module is None else module, {})
    name = getattr(function, "__name__", "")
    if name not in known:
        buffers = {} if module is None else {n: b.clone() for n, b in module.named_buffers()}
        unchanged = nullcontext() if module is None else swapped(module, buffers)
        with (
            unchanged,
            torch.random.fork_rng(),
            torch.no_grad(),
            isolated(),
            poutine.block(),
            poutine.trace() as tracer,
        ):
            function(*batch)
        for site in tracer.trace.nodes.values():
            if site["type"] == "sample" and not site_is_subsample(site):
                check_plates(site)
        known[name] = max((-frame.dim for frame in _frames(tracer.trace)), default=0)
    return known[name]


def _frames(trace: poutine.Trace) -> Iterator[Any]:
    sites = (site for site in trace.nodes.values() if site["type"] == "sample")
    return (frame for site in sites for frame in site["cond_indep_stack"] if frame.vectorized)
