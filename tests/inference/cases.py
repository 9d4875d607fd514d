"""The objectives, each with the function of log-weights whose expectation it estimates and differentiates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from ppgen.inference import (
    CIWAE,
    DAIS,
    ELBO,
    IWELBO,
    JVI,
    MIWAE,
    SIVI,
    STL,
    AnalyticKL,
    Beta,
    DReG,
    FDivergence,
    GDReG,
    HamiltonianELBO,
    Renyi,
)
from ppgen.objectives.bounds import Bound
from tests.doubles import Chain, Line
from tests.inference.trajectories import Paths, annealed, tempered
from tests.inference.truth import (
    Parameters,
    Reduce,
    chain_log_w,
    ciwae,
    elbo,
    exact_gradient,
    expectation,
    iwelbo,
    jackknife,
    less_divergence,
    line_log_w,
    renyi,
)

__all__ = ["ONLY_ON_LINE", "UNBIASED", "Case"]


@dataclass(frozen=True)
class Case:
    """An objective, and the function of log-weights whose expectation it claims to differentiate."""

    objective: Bound
    reduce: Reduce
    particles: int = 1
    """How many log-weights that function takes."""
    beta: float = 1.0
    paths: Paths | None = None
    """What a log-weight is a function of, where it is one of a whole trajectory."""

    def __str__(self) -> str:
        return str(self.objective)

    def value(self, parameters: Parameters, **options: Any) -> Tensor:
        """The exact expectation on :class:`Line`, in nats."""
        if self.paths is not None:
            return self.paths.expected(self.paths.line, 1, self.reduce, parameters)
        log_w = partial(line_log_w, beta=self.beta)
        return expectation(log_w, self.reduce, parameters, particles=self.particles, **options)

    def on_line(self, **options: Any) -> dict[str, float]:
        """The exact gradient on :class:`Line`."""
        return exact_gradient(partial(self.value, **options), Line())

    def on_chain(self, **options: Any) -> dict[str, float]:
        """The exact gradient on :class:`Chain`."""
        if self.paths is not None:
            return exact_gradient(partial(self.paths.expected, self.paths.chain, 2, self.reduce), Chain())
        value = partial(expectation, chain_log_w, self.reduce, particles=self.particles, latents=2, **options)
        return exact_gradient(value, Chain())


UNBIASED = [
    Case(ELBO(num_particles=2), elbo),
    Case(AnalyticKL(num_particles=2), elbo),
    Case(Beta(num_particles=2), elbo),
    Case(STL(num_particles=2), elbo),
    Case(DReG(num_particles=2, bound="elbo"), elbo),
    Case(IWELBO(num_particles=2), iwelbo, 2),
    Case(DReG(num_particles=2), iwelbo, 2),
    Case(MIWAE(num_groups=2, num_particles=2), iwelbo, 2),
    Case(DReG(num_particles=2, bound=MIWAE(num_groups=2)), iwelbo, 2),
    Case(CIWAE(num_particles=2, beta=0.3), ciwae(0.3), 2),
    Case(DReG(num_particles=2, bound=CIWAE(beta=0.3)), ciwae(0.3), 2),
    Case(Renyi(num_particles=2, alpha=0.5), renyi(0.5), 2),
    Case(DReG(num_particles=2, bound=Renyi(alpha=0.5)), renyi(0.5), 2),
    Case(JVI(num_particles=2), jackknife(1), 2),
    Case(FDivergence(num_particles=2, f="forward_kl"), less_divergence("forward_kl"), 2),
    Case(GDReG(num_particles=2), iwelbo, 2),
    Case(SIVI(num_particles=2), elbo),
    Case(DAIS(num_temperatures=2, step_size=0.4, persistence=0.7), elbo, paths=annealed(2, 0.4, 0.7)),
    Case(HamiltonianELBO(num_leapfrogs=2, step_size=0.3), elbo, paths=tempered(2, 0.3, 0.5)),
]
ONLY_ON_LINE = [
    Case(Beta(num_particles=2, beta=3.0), elbo, 1, 3.0),
    Case(Renyi(num_particles=2, alpha=2.0), renyi(2.0), 2),
    Case(DReG(num_particles=2, bound=Renyi(alpha=2.0)), renyi(2.0), 2),
    Case(Renyi(num_particles=2, alpha=-0.5), renyi(-0.5), 2),
    Case(DReG(num_particles=3, bound=JVI()), jackknife(1), 3),
    Case(FDivergence(num_particles=2, f="chi2"), less_divergence("chi2"), 2),
    Case(DReG(num_particles=2, bound=FDivergence(f="jensen_shannon")), less_divergence("jensen_shannon"), 2),
]
