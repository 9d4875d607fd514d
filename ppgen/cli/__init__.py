"""The command line: ``ppgen list | train | evaluate | sample | compare | sweep | check | report | reproduce``.

Results go to standard output, everything else (progress, warnings, errors) to standard error. Exit codes: 0; 1 when
``check`` finds a broken rule or no run of a ``sweep`` is done; 2 for bad input, with one sentence on standard error;
130 after Ctrl-C; 70 for a defect of ppgen's own.

To add a command: 1. write its function in a file of its own, with the options of ``ppgen.cli.options``; 2. enter it in
``ppgen.cli.app``; 3. describe it in docs/cli.md.
"""

from __future__ import annotations

from ppgen.cli.app import app, main

__all__ = ["app", "main"]
