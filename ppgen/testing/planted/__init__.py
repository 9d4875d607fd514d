"""Faults of known size, planted in pairs whose truth is known: by which the questions of a diagnosis are judged."""

from ppgen.diagnostics.proof import Trial
from ppgen.testing.planted.bits import BitsPair
from ppgen.testing.planted.chains import machine
from ppgen.testing.planted.fault import FAULTS, Fault, Planted, plant, planted
from ppgen.testing.planted.linear import LinearPair
from ppgen.testing.planted.mixtures import OneSite
from ppgen.testing.planted.shared import SharedPair
from ppgen.testing.planted.trained import WrongFactor
from ppgen.testing.planted.trial import FIRST_SEED, trials, try_one

__all__ = [
    "FAULTS",
    "FIRST_SEED",
    "BitsPair",
    "Fault",
    "LinearPair",
    "OneSite",
    "Planted",
    "SharedPair",
    "Trial",
    "WrongFactor",
    "machine",
    "plant",
    "planted",
    "trials",
    "try_one",
]
