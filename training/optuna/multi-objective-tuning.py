"""Search for several objectives at once: `python3 training/optuna/multi-objective-tuning.py --study-name S --selection-strategy balanced`."""

import sys

try:
    from maestro.cli.studies import multi_objective_main as main
except ModuleNotFoundError as error:
    print(f"{error}; activate the environment first: source .venv/bin/activate, or run make setup", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
