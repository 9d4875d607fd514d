"""All cases, by name."""

from tests.public import conditional, mixtures, sequences, vaes
from tests.public.case import Case

__all__ = ["CASES"]

KINDS = (vaes, conditional, sequences, mixtures)

CASES: dict[str, Case] = {case.name: case for kind in KINDS for case in kind.CASES}
"""By name, in the order of their files."""
