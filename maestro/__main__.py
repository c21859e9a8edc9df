"""`python -m maestro`: the same as the `maestro` command."""

from maestro.cli.main import run

if __name__ == "__main__":
    run()
