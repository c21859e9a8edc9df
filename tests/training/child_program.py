"""A training process for the worker's tests: does what the job's parameters say, in the language of signals."""

import os
import sys
import time
from pathlib import Path

from maestro.training.backends import Attempt
from maestro.training.signals import log, send


def main() -> int:
    attempt = Attempt.model_validate_json((Path(sys.argv[1]) / "attempt.json").read_text())
    params = attempt.request.params
    with Path(str(params["pids"])).open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    log(f"attempt {attempt.attempt} fence {attempt.fence}")
    end = time.monotonic() + float(params.get("seconds", 0))
    while time.monotonic() < end:
        send("progress", {"fraction": 0.5, "message": "half-way"})
        time.sleep(0.05)
    if attempt.attempt <= int(params.get("failures", 0)):
        send(
            "error",
            {
                "type": "urn:maestro:problem:training-failed",
                "title": "Training failed",
                "status": 500,
                "detail": "on purpose",
            },
        )
        return 1
    send("result", {"run_id": f"run-{attempt.fence}", "metrics": {"f1": 0.5}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
