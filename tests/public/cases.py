"""All cases, by name."""

from tests.public import calls, conditional, flows, guides, mixtures, regressions, sequences, vaes
from tests.public.case import Case

__all__ = ["CASES"]

KINDS = (vaes, conditional, sequences, mixtures, regressions, guides, flows, calls)

CASES: dict[str, Case] = {case.name: case for kind in KINDS for case in kind.CASES}
"""By name, in the order of their files."""
