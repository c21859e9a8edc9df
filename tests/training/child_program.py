"""A training process for the worker's tests: does what the job's parameters say, in the language of signals."""

import os
import resource
import sys
import time
from pathlib import Path

from maestro.training.backends import Attempt
from maestro.training.signals import UNTOLD, log, send


def main() -> int:
    attempt = Attempt.model_validate_json((Path(sys.argv[1]) / "attempt.json").read_text())
    params = attempt.request.params
    with Path(str(params["pids"])).open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    if "file_bytes" in params:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(params["file_bytes"]), resource.RLIM_INFINITY))
    log(f"attempt {attempt.attempt} fence {attempt.fence}")
    for number in range(int(params.get("lines", 0))):
        log(f"line {number} " + "x" * 1000)
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
    return 0 if send("result", {"run_id": f"run-{attempt.fence}", "metrics": {"f1": 0.5}}) else UNTOLD


if __name__ == "__main__":
    sys.exit(main())
