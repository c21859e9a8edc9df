#!/usr/bin/env python3
"""Plan, start, follow and roll back deployments."""

import sys

try:
    from maestro.cli.deploy import main
except ModuleNotFoundError as error:
    print(f"{error}. Activate the environment first: make setup && . .venv/bin/activate", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
