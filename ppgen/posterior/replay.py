"""A model run again at draws of its latents: what it says of the data there, and the data that it makes of them.

    log p(x_i | z_s)     of each observed site, without scale, not summed over plates
    c_s ~ p(c | x, z_s)  of latents c that the model sums out; p(x_i | z_s) is then the sum over them
    x_s ~ p(x | z_s)     with nothing observed, at c_s where there is one

and, without draws, the prior's. Many draws are run at once where the pair allows it, else one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppgen.machine.progress import track
from ppgen.pairs.running import Runner
from ppgen.pairs.sites import Site, is_computed, is_latent, own_dims
from ppgen.pairs.stacking import log_prob_of
from ppgen.pairs.summation import is_absorbed
from ppgen.pairs.traces import unobserved
from ppgen.posterior.variables import Variable

__all__ = ["Replay", "Scores", "Variables", "observations"]

Variables = dict[str, Variable]


@dataclass(frozen=True)
class Scores:
    """By site: the log-likelihood of each observation, data made anew, what the model computes of its latents, and
    draws of the latents that it sums out."""

    log_likelihood: Variables = field(default_factory=dict)
    predictive: Variables = field(default_factory=dict)
    deterministic: Variables = field(default_factory=dict)
    summed: Variables = field(default_factory=dict)


@dataclass(frozen=True)
class Replay:
    """A model at a batch.

    Args:
        runner: of two particles of the model's program.
        summed: whether the model sums latents out.
        block: how many draws at a time.
        progress: show progress bars.
    """

    runner: Runner
    summed: bool
    block: int
    progress: bool = False

    def scored(self, latents: Variables, num: int) -> Scores:
        """At ``num`` draws of the latents, which those of other latents of the model follow."""
        parts: list[tuple[Variables, Variables, Variables, Variables]] = []
        for start, size in self._blocks(num, "posterior predictive"):
            runner = self.runner.anew(size)
            given = {name: z.values[start : start + size] for name, z in latents.items()}
            sites = runner.at(runner.program.model, given, summing=self.summed)
            data = {name: site for name, site in observations(sites).items() if name not in given}
            log_p = {n: self._log_prob(site, size) for n, site in data.items() if not is_absorbed(site)}
            summed = runner.summed_given(given) if self.summed else {}
            anew = runner.at(unobserved(runner.program.model), {**given, **summed})
            made = {name: self._values(site, size) for name, site in anew.items() if is_computed(site)}
            drawn = {name: self._values(anew[name], size) for name in summed}
            parts.append((log_p, {name: self._values(anew[name], size) for name in data}, made, drawn))
        return Scores(*(_joined(part) for part in zip(*parts, strict=True)))

    def prior(self, num: int) -> tuple[Variables, Variables]:
        """``num`` draws of the latents from the prior, and of the data from the prior predictive."""
        parts: list[tuple[Variables, Variables]] = []
        for _, size in self._blocks(num, "prior predictive"):
            runner = self.runner.anew(size)
            sites = runner.at(unobserved(runner.program.model), {})
            wanted = {n: s for n, s in sites.items() if is_computed(s) or (is_latent(s) and s["value"].numel())}
            drawn = {name: self._values(site, size) for name, site in wanted.items()}
            data = {name: drawn.pop(name) for name in wanted if sites[name]["infer"].get("was_observed")}
            parts.append((drawn, data))
        latents, data = (_joined(part) for part in zip(*parts, strict=True))
        return latents, data

    def _blocks(self, num: int, what: str) -> Iterator[tuple[int, int]]:
        """Where each block starts, and its size."""
        for start in track(range(0, num, self.block), what, self.progress):
            yield start, min(self.block, num - start)

    def _log_prob(self, site: Site, size: int) -> Variable:
        log_p = scale_and_mask(log_prob_of(site), mask=site["mask"])
        return Variable.of(site, self._with_draws(log_p, 0, size), 0)

    def _values(self, site: Site, size: int) -> Variable:
        return Variable.of(site, self._with_draws(site["value"], own_dims(site), size))

    def _with_draws(self, value: Tensor, event_dim: int, size: int) -> Tensor:
        """The value with a first dim of draws, also where it does not depend on them."""
        batch = value.shape[: value.dim() - event_dim]
        full = value.reshape(*(1,) * (-self.runner.dim - len(batch)), *value.shape)
        return full.expand(size, *full.shape[1:])


def observations(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The sites where data are observed: not what a model computes, nor its factors, which have no value."""
    seen = {name: site for name, site in sites.items() if site["is_observed"] and not site_is_subsample(site)}
    return {name: site for name, site in seen.items() if not is_computed(site) and site["value"].numel()}


def _joined(parts: tuple[Variables, ...]) -> Variables:
    return {name: Variable.joined([part[name] for part in parts]) for name in parts[0]}
