"""The pair, its trace, and its log-weights."""

from ppgen.pairs.energy import EnergyPair
from ppgen.pairs.function_pair import pair_from
from ppgen.pairs.pair import Pair
from ppgen.pairs.sites import Site
from ppgen.pairs.tracing import Batch, Particles, Program, run_particles

__all__ = [
    "Batch",
    "EnergyPair",
    "Pair",
    "Particles",
    "Program",
    "Site",
    "pair_from",
    "run_particles",
]
