"""Search for the model that is worth its training time: `python3 training/optuna/cost-aware-optimizer.py --study-name S --cost-weight 0.3 --time-budget 300`."""

import sys

try:
    from maestro.cli.studies import cost_aware_main as main
except ModuleNotFoundError as error:
    print(f"{error}; activate the environment first: source .venv/bin/activate, or run make setup", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
