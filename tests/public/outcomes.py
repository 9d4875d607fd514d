"""The table of outcomes, law by case: ``python -m tests.public.outcomes [CASE]... [--quick] [--times]``.

Each cell is ``ok``, ``-`` (says nothing here), ``WRONG`` (an assertion: a number, shape or verdict), ``refused`` (a
``UsageError``) or ``RAW`` (any other error); below the table stands the first line of each that is not ok.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import pyro

from ppgen.errors import UsageError
from tests.public import laws_of_numbers, laws_of_use
from tests.public.case import Case
from tests.public.cases import CASES
from tests.public.laws import LAWS, Law, NotApplicable, judge

__all__ = ["main", "outcome"]

LOADED = (laws_of_numbers, laws_of_use)


def outcome(case: Case, law: Law) -> tuple[str, str]:
    """The cell, and what was said."""
    try:
        with pyro.validation_enabled(True):
            judge(case, law)
    except NotApplicable as reason:
        return "-", str(reason)
    except AssertionError as error:
        return "WRONG", _first(error)
    except UsageError as error:
        return "refused", str(error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "RAW", f"{type(error).__name__}: {_first(error)}"
    return "ok", ""


def main(arguments: Sequence[str]) -> None:
    """Print the table of the cases named, or of all."""
    names = [name for name in arguments if not name.startswith("-")] or list(CASES)
    laws = [law for law in LAWS.values() if not (law.slow and "--quick" in arguments)]
    print("| case |", " | ".join(law.name for law in laws), "|")
    print("| --- |", " | ".join("---" for _ in laws), "|")
    said = []
    for name in names:
        print(f"| {name} |", end="", flush=True)
        for law in laws:
            started = time.perf_counter()
            cell, text = outcome(CASES[name], law)
            seconds = f" {time.perf_counter() - started:.1f}" if "--times" in arguments else ""
            print(f" {cell}{seconds} |", end="", flush=True)
            said += [f"{name}-{law.name}: {cell}: {text[:300]}"] if cell not in ("ok", "-") else []
        print()
    print("\n" + "\n".join(said))


def _first(error: BaseException) -> str:
    return " ".join(" ".join(str(error).split("\n")[:3]).split()) or repr(error)


if __name__ == "__main__":
    main(sys.argv[1:])
