#!/usr/bin/env python3
"""Submit, list, approve and refuse versions: submit --model-name M --model-version 1."""

import sys

try:
    from maestro.cli.approval import main
except ModuleNotFoundError as error:
    print(f"{error}. Activate the environment first: make setup && . .venv/bin/activate", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
