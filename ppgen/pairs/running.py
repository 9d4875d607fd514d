"""Runs of a program: K particles at once under a plate where the pair allows it, one after another where it does not.

One particle is run as Pyro runs it, without a plate of particles, so that whatever is right for ``Trace_ELBO()`` is
right here: ``softmax(dim=1)``, ``x.view(len(x), -1)``, batch normalisation. How a program is to be run,
:mod:`ppgen.pairs.structure` finds out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import pyro
import torch
from pyro.infer import infer_discrete
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from ppgen.errors import UsageError, shown
from ppgen.pairs.memories import Forgetting
from ppgen.pairs.parameters import owner
from ppgen.pairs.plates import data_plate
from ppgen.pairs.sites import PARTICLES, Site, check_given, is_chosen, is_summed
from ppgen.pairs.stacking import part_of_value, stacked_site, stacked_sites
from ppgen.pairs.summation import absorbing
from ppgen.pairs.traces import sites_of

__all__ = ["Batch", "Draw", "HowToRun", "Program", "Runner"]

Batch = tuple[Any, ...]
"""The arguments of a model and its guide; its tensors with the data's leading size are the data."""

Draw: TypeAlias = Callable[[Site], Tensor | None]
"""What a latent site takes instead of a sample of its distribution; None: a sample."""


class HowToRun(nn.Module):
    """What a module says of how its model and guide are run; every :class:`ppgen.Pair` does."""

    plate_name: str = "data"
    """The name of the data plate, where one has it; the engine finds the data plate by it, or by what it holds."""
    plate_required: bool = False
    """Whether a pair without a plate of that name is refused: its user named it."""
    vectorized: bool | None = None
    """Whether K particles may be run together, under a plate; None: found out by comparing."""

    def prepare(self, *batch: Any, **options: Any) -> None:
        """Create what only a first batch can tell (the parameters of a pair of functions); most pairs need nothing."""


@dataclass(frozen=True)
class Program:
    """What an objective works on: a model, a guide, and the objective's own module (a critic, baselines) if any.

    ``data_size``: N, where the caller knows it and the pair does not; it scales what stands in the data plate beside
    latents outside it.

    >>> import ppgen, torch
    >>> from ppgen.pairs import run_particles
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real", num_data=100))
    >>> run_particles(Program(pair.model, pair.guide), (torch.zeros(4, 3),), 5).log_w.shape
    torch.Size([5, 4])
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    own: nn.Module | None = None
    data_size: int | None = None

    @property
    def preferred_plate(self) -> str:
        """The name that the data plate has where a plate has it; see :func:`ppgen.pairs.plates.data_plate`."""
        return getattr(owner(self.model), "plate_name", "data")

    @property
    def plate_required(self) -> bool:
        """Whether there must be a plate of that name: the user named it."""
        return bool(getattr(owner(self.model), "plate_required", False))


@dataclass(frozen=True)
class Runner:
    """How ``num_particles`` of a program are run at a batch.

    ``dim``: of the particles (< 0), left of every plate. ``together``: under a plate, else one after another, and
    ``apart`` says why.
    """

    program: Program
    batch: Batch
    num_particles: int
    dim: int
    together: bool
    apart: str = ""
    forgetting: Forgetting = field(default_factory=Forgetting, compare=False, repr=False)

    def anew(self, num_particles: int | None = None) -> Runner:
        """The same for runs that know nothing of earlier ones, of as many particles or of another number."""
        num = self.num_particles if num_particles is None else num_particles
        forgetting = Forgetting(self.program.model, self.program.guide)
        return replace(self, num_particles=num, together=num > 1 and self.together, forgetting=forgetting)

    def guide(self, given: Mapping[str, Tensor], draw: Draw | None = None) -> tuple[dict[str, Site], list[str]]:
        """The guide's sites, each latent given (K, ...), drawn by ``draw``, or sampled; and the names that it drew."""
        given = self._of_all(given)
        if self.together:
            giver = self._given(given, draw)
            return self._run(self.program.guide, giver, summing=False), giver.drawn
        if draw is None:
            return self.each(self.program.guide, self._parts(given), summing=False), []
        return (self._drawn_in_turn if self.num_particles > 1 else self._drawn_in_one_run)(dict(given), draw)

    def model(self, guide_sites: Mapping[str, Site]) -> dict[str, Site]:
        """The model's sites at the guide's latents; those that it marks for enumeration and the guide lacks summed."""
        return self.again(self.program.model, guide_sites, summing=True)

    def again(
        self,
        function: Callable[..., Any],
        guide_sites: Mapping[str, Site],
        *,
        cut: bool = False,
        summing: bool = False,
    ) -> dict[str, Site]:
        """A run of model or guide at the guide's latents; ``cut``: without a gradient through them."""
        drawn = {name: site for name, site in guide_sites.items() if not site["is_observed"]}
        if self.together:
            values = {name: site["value"].detach() if cut else site["value"] for name, site in drawn.items()}
            return self._run(function, self._given(values), summing)
        raw = [
            {name: _value_of(site, particle, cut) for name, site in drawn.items()}
            for particle in range(self.num_particles)
        ]
        return self.each(function, raw, summing)

    def at(
        self, function: Callable[..., Any], given: Mapping[str, Tensor], *, summing: bool = False
    ) -> dict[str, Site]:
        """A run of any function of the batch, latents given (K, ...) or sampled; ``summing``: or summed out."""
        given = self._of_all(given)
        if self.together:
            return self._run(function, self._given(given), summing)
        return self.each(function, self._parts(given), summing)

    def summed_given(self, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """c ~ p(c | x, z) of the latents c that the model sums out, at the others z, by site name, (K, ...).

        By Pyro's ``infer_discrete``: filtering forward, sampling backward.
        """
        function = functools.partial(_inferred, self.program.model, self.dim - 1)
        runs = [latents] if self.together else self._parts(latents)
        found = [self._drawn_given(function, values) for values in runs]
        if self.together:
            return found[0]
        return {name: torch.stack([self._padded(run[name]) for run in found]) for name in found[0]}

    def _drawn_given(self, function: Callable[..., Any], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        plate = self._plate()
        with self.forgetting:
            sites = sites_of(function, self._given(values), plate, *self.batch)
        return {name: site["value"].expand(site["fn"].shape()) for name, site in sites.items() if is_summed(site)}

    def _padded(self, value: Tensor) -> Tensor:
        """A summed latent's value, which has no event dims, with a dim for each plate."""
        return value.reshape((1,) * (-1 - self.dim - value.dim()) + value.shape)

    def _of_all(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values given once for all particles, (1, ...), as those of each, (K, ...)."""
        num = self.num_particles
        return {n: v if num == 1 or len(v) != 1 else v.expand(num, *v.shape[1:]) for n, v in given.items()}

    def _parts(self, given: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        return [{name: part_of_value(value, k) for name, value in given.items()} for k in range(self.num_particles)]

    def _given(self, values: Mapping[str, Tensor], draw: Draw | None = None) -> _Given:
        dims = -self.dim if self.together else -1 - self.dim
        return _Given(values, dims, draw, alone=not self.together)

    def _plate(self) -> Any:
        return pyro.plate(PARTICLES, self.num_particles, dim=self.dim) if self.together else nullcontext()

    def _run(self, function: Callable[..., Any], giver: _Given, summing: bool) -> dict[str, Site]:
        enumerated = EnumMessenger(first_available_dim=self.dim - 1) if summing else nullcontext()
        plate = self._plate()  # before it is traced: it is no plate of the pair's

        def held(*batch: Any) -> None:
            with enumerated, giver, plate:
                function(*batch)

        with self.forgetting:
            sites = sites_of(held, *self.batch)
        if not any(map(is_summed, sites.values())):
            return sites
        own = {name: site for name, site in sites.items() if not site_is_subsample(site)}
        plate_name = data_plate(own, self.program.preferred_plate).name
        return sites | absorbing(own, plate_name)

    def each(
        self, function: Callable[..., Any], given: Sequence[Mapping[str, Tensor]], summing: bool
    ) -> dict[str, Site]:
        """A run for each particle, at its own latents; what subsamples a plate is one thing to all."""
        runs: list[dict[str, Site]] = []
        shared: dict[str, Tensor] = {}
        for values in given:
            runs.append(self._run(function, self._given({**shared, **values}), summing))
            shared = {name: site["value"] for name, site in runs[0].items() if site_is_subsample(site)}
            _check_same_names(runs[0], runs[-1])
        return stacked_sites(runs, self.dim)

    def _drawn_in_one_run(self, given: dict[str, Tensor], draw: Draw) -> tuple[dict[str, Site], list[str]]:
        """Each latent as the one particle comes to it: ``draw`` is shown a site of K = 1 particles."""

        def drawn(site: Site) -> Tensor | None:
            value: Tensor | None = part_of_value(draw(stacked_site([site], self.dim)), 0)
            return value

        giver = self._given(self._parts(given)[0], drawn)
        sites = self._run(self.program.guide, giver, summing=False)
        return stacked_sites([sites], self.dim), giver.drawn

    def _drawn_in_turn(self, given: dict[str, Tensor], draw: Draw) -> tuple[dict[str, Site], list[str]]:
        """One latent after another, of all particles: ``draw`` is shown a site of K particles, whose own are known."""
        drawn: list[str] = []
        while True:
            sites = self.each(self.program.guide, self._parts(given), summing=False)
            following = next((n for n, s in sites.items() if n not in given and is_chosen(s)), None)
            if following is None:
                return sites, drawn
            value = draw(sites[following])
            drawn += [following] if value is not None else []
            given[following] = sites[following]["value"] if value is None else value


def _inferred(model: Callable[..., Any], first_dim: int, giver: Any, plate: Any, *batch: Any) -> None:
    """One run of the model at given latents, in which what it enumerates is drawn from its posterior."""

    def held(*batch: Any) -> None:
        with giver, plate:
            model(*batch)

    infer_discrete(held, first_available_dim=first_dim, strict_enumeration_warning=False)(*batch)


class _Given(Messenger):
    """Gives latent sites the values at hand, or what ``draw`` makes of the site; sites without either are sampled.

    ``dims``: how many batch dims a site has at most, left of which there are enumerated ones. ``alone``: the values
    are of one particle, with the dims of size 1 that it has among others.
    """

    def __init__(
        self, values: Mapping[str, Tensor], dims: int, draw: Draw | None = None, *, alone: bool = False
    ) -> None:
        super().__init__()
        self.values = values
        self.dims = dims
        self.draw = draw
        self.alone = alone
        self.drawn: list[str] = []

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        value = None if msg["is_observed"] else self._value(msg)
        if value is not None:
            check_given(msg, value, self._shape(msg))
            msg["value"] = value
            msg["infer"] = {**msg["infer"], "enumerate": None}  # so that it is not enumerated

    def _value(self, msg: dict[str, Any]) -> Tensor | None:
        name = msg["name"]
        value = self.values.get(name)
        if value is None and self.draw is not None and is_chosen(msg):
            value = self.draw(msg)
            self.drawn += [name] if value is not None else []
        return _without_padding(value, self._shape(msg)) if self.alone and value is not None else value

    def _shape(self, site: Site) -> tuple[int, ...] | None:
        """The shape that a site's value has, without enumerated dims; None: of any (a subsample's)."""
        if site_is_subsample(site):
            return None
        batch, event = site["fn"].batch_shape, site["fn"].event_shape
        return (*batch[max(0, len(batch) - self.dims) :], *event)


def _without_padding(value: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """A value without the leading dims of size 1 that its site has not."""
    if shape is None:
        return value
    surplus = value.dim() - len(shape)
    return value.reshape(shape) if surplus > 0 and value.shape == (*(1,) * surplus, *shape) else value


def _value_of(site: Site, particle: int, cut: bool) -> Any:
    value = site["parts"][particle]["value"] if "parts" in site else site["value"]
    return value.detach() if cut and torch.is_tensor(value) else value


def _check_same_names(first: Mapping[str, Site], other: Mapping[str, Site]) -> None:
    for name in [*first, *other]:
        if (name in first) != (name in other):
            raise UsageError(
                f"site {shown(name)} is drawn in some runs and not in others, and particles cannot be set side by "
                "side: take num_particles = 1, or draw every site in each run and choose by value (torch.where, "
                "poutine.mask)."
            )
