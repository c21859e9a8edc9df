"""Search for the most accurate model with Optuna: `python3 training/optuna/optuna-study-example.py --study-name S --experiment-name E --n-trials 50`."""

import sys

try:
    from maestro.cli.studies import example_main as main
except ModuleNotFoundError as error:
    print(f"{error}; activate the environment first: source .venv/bin/activate, or run make setup", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
