#!/usr/bin/env python3
"""Record, print and draw lineage: track | get --run-id R | visualize --run-id R."""

import sys

try:
    from maestro.cli.lineage import main
except ModuleNotFoundError as error:
    print(f"{error}. Activate the environment first: make setup && . .venv/bin/activate", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
