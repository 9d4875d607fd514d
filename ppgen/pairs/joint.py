"""Data with their latents: as the model draws both, and as the guide infers the one from the other.

    (x', z') ~ p(x, z)        a run of the model with nothing observed
    (x, z),  z ~ q(z | x)     data of a batch, and a run of the guide at it

Latents are those of a datum, in the data plate; what stands outside it has no part here. Gradients flow through
reparameterized draws into the parameters of the model and of the guide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ppgen.errors import UsageError, shown
from ppgen.pairs.memories import Forgetting
from ppgen.pairs.parameters import isolated, owner
from ppgen.pairs.plates import data_plate
from ppgen.pairs.rows import num_rows, x_of
from ppgen.pairs.sampling import depends_on_parameters, local_latents, unconditioned
from ppgen.pairs.sites import Site, data_frame, drawn_site, is_latent, per_datum, raw_log_prob
from ppgen.pairs.traces import sites_of
from ppgen.pairs.tracing import Batch, Program

__all__ = [
    "Joint",
    "check_infers",
    "check_latent",
    "drawn_jointly",
    "generated_at",
    "inferred_jointly",
    "information",
    "latent_of",
    "remade",
]


@dataclass(frozen=True)
class Joint:
    """Data x, (B, ...), and the sites at which their latents stand, by name, in the order of ``names``.

    >>> import ppgen
    >>> pair = ppgen.models.LinearGaussian(ppgen.DataSpec("numbers", 3, "real"), 2)
    >>> joint = drawn_jointly(Program(pair.model, pair.guide), (torch.zeros(4, 3),))
    >>> joint.names, joint.numbers.shape, joint.side_by_side.shape
    (['z'], torch.Size([4, 2]), torch.Size([4, 5]))
    """

    x: Tensor
    sites: Mapping[str, Site]
    names: Sequence[str]
    plate: str | None

    @property
    def numbers(self) -> Tensor:
        """Every number of the latents of a datum, (B, F), in the type of x; a name of a class is the number it is."""
        each = [per_datum(self.sites[n], self.plate, self.sites[n]["value"][None])[0] for n in self.names]
        rows = num_rows((self.x,))
        return torch.cat([part.to(self.x.dtype).expand(rows, -1) for part in each], -1)

    @property
    def side_by_side(self) -> Tensor:
        """x and :attr:`numbers`, (B, D + F)."""
        return torch.cat([self.x.reshape(len(self.x), -1), self.numbers], -1)

    @property
    def values(self) -> dict[str, Tensor]:
        """Every latent that was drawn, by site name, with those outside the data plate."""
        drawn = {n: s for n, s in self.sites.items() if is_latent(s) and not s["infer"].get("was_observed")}
        return {name: site["value"] for name, site in drawn.items()}

    def log_prob(self, sites: Mapping[str, Site] | None = None) -> Tensor:
        """Log-probability of the latents of each datum, (B,), in nats; under ``sites`` at the same values."""
        rows = num_rows((self.x,))
        each = [_of_datum(site, self.plate) for site in map((sites or self.sites).__getitem__, self.names)]
        return torch.stack([term.expand(rows) for term in each]).sum(0)


def drawn_jointly(program: Program, batch: Batch) -> Joint:
    """(x', z') ~ p(x, z), one for each datum of the batch, of whose x only the shape is used."""
    sites = unconditioned(program.model, batch)
    plate = data_plate(sites, program.preferred_plate, required=program.plate_required).name
    x = drawn_site(sites, x_of(batch, "the objective"))["value"]
    return Joint(x, sites, local_latents(sites, plate), plate)


def inferred_jointly(program: Program, batch: Batch, like: Joint) -> Joint:
    """(x, z) of the batch, z ~ q(z | x); ``like``: draws of the model, in whose order latents stand."""
    with Forgetting(program.guide):
        sites = sites_of(program.guide, *batch)
    return Joint(x_of(batch, "the objective"), sites, like.names, like.plate)


def remade(program: Program, batch: Batch) -> Tensor:
    """x' ~ p(x | z), z ~ q(z | x): every datum of the batch made again from the latents that are inferred of it."""
    with Forgetting(program.guide):
        told = sites_of(program.guide, *batch)
    return generated_at(program, batch, {name: site["value"] for name, site in told.items() if is_latent(site)})


def generated_at(program: Program, batch: Batch, latents: Mapping[str, Tensor]) -> Tensor:
    """x' ~ p(x | z) of these latents, by site name, (B, ...); others are drawn from the prior."""
    x: Tensor = drawn_site(unconditioned(program.model, batch, latents), x_of(batch, "the objective"))["value"]
    return x


def latent_of(function: Callable[..., Any], batch: Batch, name: str) -> Tensor:
    """What one run of a model with nothing observed, or of a guide, draws at a site in the data plate, (B, ...)."""
    value: Tensor = unconditioned(function, batch)[name]["value"]
    return value


def check_latent(program: Program, batch: Batch, name: str, needed_by: str) -> None:
    """Model and guide both draw a latent of each datum of that name, real numbers, the model with a gradient.

    Raises:
        UsageError: one of them does not; the latents that both draw are listed.
    """
    with torch.enable_grad(), isolated():
        drawn = drawn_jointly(program, batch)
        told = inferred_jointly(program, batch, drawn).sites
        both = [n for n in drawn.names if n in told and drawn.sites[n]["value"].is_floating_point()]
        learns = name in both and depends_on_parameters(drawn.sites[name])
    if name not in both:
        raise UsageError(
            f"{needed_by} compares what model and guide draw at site={shown(name)}, and the real latents of a datum "
            f"that both draw are {', '.join(both) or 'none'}: name one of them, or leave site out, which compares x."
        )
    if not learns:
        raise UsageError(
            f"{needed_by} trains the model through what it draws at site={shown(name)}, which depends on none of its "
            "parameters: name a latent that it makes, or leave site out, which compares x."
        )


def information(program: Program, batch: Batch, drawn: Joint) -> Tensor:
    """log q(z' | x') - log p(z') of draws of the model, (B,), in nats.

    Its mean is H(z) + E log q(z | x), a lower bound of the mutual information I(z; x) under the model, by E KL(p(z | x)
    || q(z | x)) (Barber and Agakov 2003). A latent that the guide draws from the prior adds nothing, at any draw.
    """
    seen = (drawn.x, *batch[1:])
    with Forgetting(program.guide):
        told = sites_of(poutine.condition(program.guide, data=drawn.values), *seen)
    return drawn.log_prob(told) - drawn.log_prob()


def check_infers(program: Program, batch: Batch, needed_by: str) -> dict[str, Site]:
    """The latents of a datum that the guide learns to infer, by name.

    Raises:
        UsageError: none of them depends on a parameter; the guide does not draw some.
    """
    with torch.enable_grad(), isolated():
        joint = inferred_jointly(program, batch, drawn_jointly(program, batch))
        drawn = {name: joint.sites[name] for name in joint.names if name in joint.sites}
        learned = {name: site for name, site in drawn.items() if depends_on_parameters(site)}
    if lacking := [name for name in joint.names if name not in drawn]:
        raise UsageError(
            f"{needed_by} reads every latent of a datum as the guide draws it, and site {shown(lacking[0])} of "
            f"{type(owner(program.model)).__name__} is summed out: choose an objective that reads log-weights, 'elbo'."
        )
    if not learned:
        raise UsageError(
            f"{needed_by} trains the guide to infer latents from x, and none of the latents of "
            f"{type(owner(program.guide)).__name__}'s guide depends on a parameter: choose a pair with an encoder, "
            "such as 'bigan' or 'infogan', or an objective without one, such as 'nonsaturating'."
        )
    return learned


def _of_datum(site: Site, plate: str | None) -> Tensor:
    """A site's log-probability summed over all dims but that of the data plate: (B,), or (1,) outside it."""
    log_prob, frame = raw_log_prob(site), data_frame(site, plate)
    if frame is None:
        return log_prob.sum().reshape(1)
    others = [dim for dim in range(-log_prob.dim(), 0) if dim != frame.dim]
    return log_prob.sum(others) if others else log_prob
