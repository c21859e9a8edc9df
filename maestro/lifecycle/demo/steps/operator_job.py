"""A step of a cluster: a program of one's own as a PyTorchJob, which the training operator turns into pods."""

from __future__ import annotations

import time
from typing import Any

from maestro.core.errors import NegativeVerdict
from maestro.lifecycle.demo.jobs import submit, wait_ended
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.places.cluster import in_cluster
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage

_NAMESPACE = "kubeflow-training"
PROGRAM = """
import json, os, pathlib
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
images, digits = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(images / 16, digits, test_size=0.3, random_state=0)
model = LogisticRegression(max_iter=200).fit(x, y)
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], flush=True)
pathlib.Path(os.environ["MAESTRO_OUTPUT"], "metrics.json").write_text(json.dumps({"accuracy": model.score(x_test, y_test)}))
"""


def run(stage: Stage) -> Outcome:
    """Submit it to the queue as any job; see the operator's object, the pod, the log of its rank 0, the run in MLflow."""
    place = in_cluster(stage.place)
    body: dict[str, Any] = {
        "name": "digits", "model_type": "command", "backend": "kubeflow", "framework": "pytorch", "timeout_s": 600,
        "data": {"feature_service": "none"}, "params": {"command": ["python", "-c", PROGRAM]},
        "resources": {"cpu": 0.5, "memory": "1Gi"},
    }  # fmt: skip
    began = time.monotonic()
    job = submit(stage, body, register=False)

    def seen() -> str | None:
        words = ("get", "pytorchjobs", "-n", _NAMESPACE, "-l", f"maestro.dev/job-id={job}", "-o", "name")
        return place.kubectl.run(*words).strip() or None

    name = stage.wait_for("a PyTorchJob", seen, 60.0)
    ended = wait_ended(stage, [job])[0]
    took = time.monotonic() - began
    lines = [one["message"] for one in stage.api("submitter").get(f"/ai/training/jobs/{job}/logs")["items"]]
    told = next((line for line in lines if "rank 0 of" in line), None)
    if told is None:
        raise NegativeVerdict(f"the log of {name} does not say its rank", remedy=f"maestro train logs {job}")
    accuracy = ended["result"]["metrics"]["accuracy"]
    return Outcome(
        f"{name.rpartition('/')[2]} completed {took:.0f} s after it was submitted; accuracy {accuracy:.3f}; its log: {told}",
        accuracy > 0.9 and bool(ended["run_id"]),
        f"kubectl get pytorchjobs -n {_NAMESPACE}",
        sections=(html_table(("object", "MLflow run", "accuracy"), [(name, ended["run_id"], accuracy)]),),
        facts={"job": job, "accuracy": accuracy, "seconds": took},
    )
