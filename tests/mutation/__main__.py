"""Mutate the mathematics, one mistake at a time, and see which tests notice: ``make mutants``.

    python -m tests.mutation [FILE...]

One process imports the project, collects its quick tests, and forks: first for each file of tests, to learn how long
each test takes and which lines it reaches (remembered in ``.pytest_cache`` until the tests or the sources change); then
for each mutant, which runs the tests that reach it, the quickest first, until one fails. ``mutants.toml`` names the
files that are mutated, how many mutants each gives, their tests, the seconds of tests that a mutant must survive, and
the mutants that change nothing, each with its reason.

The exit code is 1 where a mutant survives that is not listed, or where the list is not true: an entry that fits no
mutant of its file, or that a test notices after all.
"""

from __future__ import annotations

import sys

from tests.mutation.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
