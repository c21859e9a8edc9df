"""Write the weekly CO2 series as the file that a forecast job reads."""

import sys

try:
    from maestro.training.examples.series import main
except ModuleNotFoundError as error:
    print(f"{error}; activate the environment first: source .venv/bin/activate, or run make setup", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
