#!/usr/bin/env python3
"""Report on the SLOs: the same as `maestro sla report`."""

import sys

try:
    from maestro.cli.sla import main
except ModuleNotFoundError as error:
    print(f"{error.name} is not installed here: run `make setup`, then `source .venv/bin/activate`", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
