"""What lights and verdicts are worth: faults of known size planted, and diagnosed: ``make proof``.

    python -m tests.proof                               # seven of each fault and as many sound pairs, and the mutants
    python -m tests.proof --minutes 25 --quick          # what fits; without the questions that take seconds
    python -m tests.proof --first 0 --each 2 --dry      # with seeds for choosing thresholds; nothing is kept

Every trial is kept in ``ppgen/diagnostics/proof.json`` as it comes, and one that is there is not made again; the tables
of docs/diagnostics.md and docs/compare.md are made of it by ``python -m ppgen.tables``.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from ppgen.diagnostics.proof import Trial, by_fault, by_question, keep, kept
from ppgen.testing.planted import FAULTS, FIRST_SEED, trials
from tests.proof.verdicts import verdicts

QUICK = ("gaps", "sandwich", "reference", "global_importance", "global_calibration")
"""Questions that take seconds of a pair however small: left out by ``--quick``."""


def main(arguments: Sequence[str]) -> int:
    """Run the proof; the exit code."""
    options = _options(arguments)
    begin, document = time.monotonic(), {"trials": [], "compare": [], "run": {}} if options.dry else kept()
    document["run"] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": platform.machine(),
        "first_seed": options.first,
    }
    chosen = [one for one in FAULTS.values() if not options.only or one.family in options.only]
    seeds = range(options.first, options.first + options.each)
    done = {(row["family"], row["fault"], row["seed"]) for row in document["trials"]}
    for one in trials(seeds, chosen, left_out=QUICK if options.quick else (), done=done):
        document["trials"].append(one.to_json())
        print(_said(one), flush=True)
        if not options.dry:
            keep(document)
        if time.monotonic() - begin > 60 * options.minutes:
            break
    for row in verdicts(options.first, options.verdicts, document["compare"]) if options.verdicts else ():
        document["compare"].append(row)
        print(row, flush=True)
        if not options.dry:
            keep(document)
    every = [Trial(**row) for row in document["trials"]]
    print(f"\n{by_question(every)}\n{by_fault(every)}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--each", type=int, default=7, help="of each fault")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed")
    parser.add_argument("--verdicts", type=int, default=5, help="comparisons of each estimator; 0: none")
    parser.add_argument("--minutes", type=float, default=60, help="of diagnoses, at most")
    parser.add_argument("--only", nargs="*", default=(), help="families")
    parser.add_argument("--quick", action="store_true", help="without the questions that take seconds")
    parser.add_argument("--dry", action="store_true", help="keep nothing")
    return parser.parse_args(arguments)


def _said(one: Trial) -> str:
    lights = ", ".join(f"{name} {status}" for name, status in one.answers.items() if status != "good") or "good"
    return f"{one.family}: {one.fault}, seed {one.seed}, cost {one.cost:.2f}, {one.seconds:g} s: {lights}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
