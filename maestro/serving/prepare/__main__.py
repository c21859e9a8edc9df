"""The `prepare` process: `python -m maestro.serving.prepare --files FOLDER --digest DIGEST --plans FOLDER`. Prints the plan."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from maestro.core.errors import MaestroError
from maestro.serving.loading import CONTRACT, read_contract
from maestro.serving.prepare.run import prepare
from maestro.serving.runtimes.plan import PlanStore


def main(arguments: list[str] | None = None) -> int:
    """Prepare one version; the exit status. What is being done goes to standard error, a fraction and a message a line."""
    parser = argparse.ArgumentParser(prog="python -m maestro.serving.prepare", description=__doc__)
    parser.add_argument("--files", type=Path, required=True, help="the version's verified private files")
    parser.add_argument("--digest", required=True, help="the version's digest")
    parser.add_argument("--plans", type=Path, required=True, help="where plans lie; only the server's user may read it")
    parser.add_argument("--private", type=Path, action="append", default=[], help="what the model must not read")
    parser.add_argument("--again", action="store_true", help="even when a plan holds")
    given = parser.parse_args(arguments)
    try:
        plan = prepare(
            given.files,
            read_contract(given.files / CONTRACT),
            given.digest,
            PlanStore(given.plans),
            private=given.private,
            again=given.again,
            say=lambda fraction, message: print(f"{fraction:.2f} {message}", file=sys.stderr, flush=True),
        )
    except MaestroError as error:
        print(json.dumps(error.problem()) if error.field else error.detail, file=sys.stderr)
        return error.exit_code
    print(plan.model_dump_json(by_alias=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
