"""A model run again at draws of its latents: what it says of the data there, and the data that it makes of them.

    log p(x_i | z_s)     of each observed site, without scale, not summed over plates
    x_s ~ p(x | z_s)     with nothing observed

and, without draws, the prior's. Under a plate of draws many are run at once; a model that was not written for one is
run at one draw at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.uncondition_messenger import UnconditionMessenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.progress import track
from ppgen.sites import Site, is_latent
from ppgen.variables import PARTICLES, Variable, own_dims

__all__ = ["Replay", "Scores", "Variables", "observations"]

Variables = dict[str, Variable]


@dataclass(frozen=True)
class Scores:
    """By site: the log-likelihood of each observation, data made anew, and what the model computes of its latents."""

    log_likelihood: Variables
    predictive: Variables
    deterministic: Variables


@dataclass(frozen=True)
class Replay:
    """A model at a batch.

    Args:
        model: a function of the batch.
        batch: its arguments.
        dim: of the plate of draws; None: one draw at a time.
        block: how many draws at a time under the plate.
        progress: show progress bars.
    """

    model: Callable[..., Any]
    batch: tuple[Any, ...]
    dim: int | None
    block: int
    progress: bool = False

    def scored(self, latents: Variables) -> Scores:
        """At draws of the latents, which those of other latents of the model follow."""
        parts: list[tuple[Variables, Variables, Variables]] = []
        num = len(next(iter(latents.values())).values)
        for start, size in self._blocks(num, "posterior predictive"):
            given = {name: z.values[start : start + size] for name, z in latents.items()}
            sites = self._run(size, given)
            data = {name: site for name, site in observations(sites).items() if name not in given}
            log_p = {name: self._log_prob(site, size) for name, site in data.items()}
            anew = self._run(size, given, _Unobserved())
            made = {name: self._values(site, size) for name, site in sites.items() if _is_computed(site)}
            parts.append((log_p, {name: self._values(anew[name], size) for name in data}, made))
        return Scores(*(_joined(part) for part in zip(*parts, strict=True)))

    def prior(self, num: int) -> tuple[Variables, Variables]:
        """``num`` draws of the latents from the prior, and of the data from the prior predictive."""
        parts: list[tuple[Variables, Variables]] = []
        for _, size in self._blocks(num, "prior predictive"):
            sites = self._run(size, {}, _Unobserved())
            wanted = {n: s for n, s in sites.items() if _is_computed(s) or (is_latent(s) and s["value"].numel())}
            drawn = {name: self._values(site, size) for name, site in wanted.items()}
            data = {name: drawn.pop(name) for name in wanted if sites[name]["infer"].get("was_observed")}
            parts.append((drawn, data))
        latents, data = (_joined(part) for part in zip(*parts, strict=True))
        return latents, data

    def _blocks(self, num: int, what: str) -> Iterator[tuple[int, int]]:
        """Where each block starts, and its size."""
        block = 1 if self.dim is None else self.block
        for start in track(range(0, num, block), what, self.progress):
            yield start, min(block, num - start)

    def _run(self, size: int, given: Mapping[str, Tensor], *inner: Any) -> dict[str, Site]:
        values = given if self.dim is not None else {name: value[0] for name, value in given.items()}
        with ExitStack() as stack:
            tracer = stack.enter_context(poutine.trace())
            stack.enter_context(poutine.condition(data=dict(values)))
            if self.dim is not None:
                stack.enter_context(pyro.plate(PARTICLES, size, dim=self.dim))
            for handler in inner:  # the innermost acts first: what it lets be sampled may still be given
                stack.enter_context(handler)
            self.model(*self.batch)
        return {name: site for name, site in tracer.trace.nodes.items() if site["type"] == "sample"}

    def _log_prob(self, site: Site, size: int) -> Variable:
        log_p = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
        return Variable.of(site, self._with_draws(scale_and_mask(log_p, mask=site["mask"]), 0, size), 0)

    def _values(self, site: Site, size: int) -> Variable:
        return Variable.of(site, self._with_draws(site["value"], own_dims(site), size))

    def _with_draws(self, value: Tensor, event_dim: int, size: int) -> Tensor:
        """The value with a first dim of draws, also where it does not depend on them."""
        if self.dim is None:
            return value[None]
        batch = value.shape[: value.dim() - event_dim]
        full = value.reshape(*(1,) * (-self.dim - len(batch)), *value.shape)
        return full.expand(size, *full.shape[1:])


def observations(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The sites where data are observed: not what a model computes, nor its factors, which have no value."""
    seen = {name: site for name, site in sites.items() if site["is_observed"] and not site_is_subsample(site)}
    return {name: site for name, site in seen.items() if not _is_computed(site) and site["value"].numel()}


def _is_computed(site: Site) -> bool:
    """Whether it is a ``pyro.deterministic``."""
    return bool(site["infer"].get("_deterministic"))


class _Unobserved(UnconditionMessenger):
    """Samples what is observed; what a model computes (``pyro.deterministic``) stays as it is."""

    def _pyro_sample(self, msg: Any) -> None:
        if not _is_computed(msg):
            super()._pyro_sample(msg)


def _joined(parts: tuple[Variables, ...]) -> Variables:
    return {name: Variable.joined([part[name] for part in parts]) for name in parts[0]}
