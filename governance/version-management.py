#!/usr/bin/env python3
"""Register, list, compare and promote model versions."""

import sys

try:
    from maestro.cli.versions import main
except ModuleNotFoundError as error:
    print(f"{error}. Activate the environment first: make setup && . .venv/bin/activate", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
