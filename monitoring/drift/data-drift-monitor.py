#!/usr/bin/env python3
"""Compare current data with a reference: the same as `maestro drift run`."""

import sys

try:
    from maestro.cli.drift import main
except ModuleNotFoundError as error:
    print(f"{error.name} is not installed here: run `make setup`, then `source .venv/bin/activate`", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
