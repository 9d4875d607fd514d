"""``python -m ppgen``: the command line."""

import sys

from ppgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
