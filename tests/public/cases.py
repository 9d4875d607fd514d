"""All cases, by name."""

from tests.public import vaes
from tests.public.case import Case

__all__ = ["CASES"]

KINDS = (vaes,)

CASES: dict[str, Case] = {case.name: case for kind in KINDS for case in kind.CASES}
"""By name, in the order of their files."""
