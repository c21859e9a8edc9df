"""The feature repository for Feast's own command line; it is defined once, in `maestro.training.feature_definitions`."""

import sys

try:
    from maestro.training.feature_definitions import feast_definitions
except ModuleNotFoundError as error:
    print(f"{error}; activate the environment first: source .venv/bin/activate, or run make setup", file=sys.stderr)
    sys.exit(2)

globals().update(feast_definitions())
