"""The training examples really train on the node, by `kubectl` and the real training operator; a replica killed in mid-run costs the steps since the last checkpoint."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import yaml

from maestro.clients.kubernetes.objects import Cluster, Ref
from tests.cluster.platform_stage import ROOT, TRAINING, kubectl, until
from tests.node.installation import Installation
from tests.node.reaching import run_of

pytestmark = [pytest.mark.node, pytest.mark.door, pytest.mark.timeout(900)]

EXAMPLES = {
    "cifar10-pytorch": ("PyTorchJob", "master", ["--epochs", "2", "--batch-size", "64", "--checkpoint-steps", "10"]),
    "mnist-tensorflow": ("TFJob", "chief", ["--epochs", "10", "--batch-size", "64", "--checkpoint-steps", "20"]),
}
"""Kind, leading replica, and how little is trained here: the small pictures that scikit-learn brings, on a part of two cores."""


class Example:
    """One of the examples of the small overlay."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self.kind, leader, self._flags = EXAMPLES[name]
        self.name = f"{name}-training"
        self.leader, self.worker = f"{self.name}-{leader}-0", f"{self.name}-worker-0"

    def start(self) -> None:
        """Apply it, with a claim and pods of its own."""
        self.end()
        self.apply()

    def apply(self) -> None:
        """Apply it; what its claim holds, it goes on from."""
        bodies = list(yaml.safe_load_all(kubectl("kustomize", "infrastructure/minikube/examples")))
        wanted = [body for body in bodies if body["metadata"]["name"] == self.name]
        for body in wanted:
            for replica in body["spec"].get("tfReplicaSpecs", body["spec"].get("pytorchReplicaSpecs", {})).values():
                replica["template"]["spec"]["containers"][0]["args"] += self._flags  # the last word counts
        kubectl("apply", "-f", "-", given=yaml.safe_dump_all(wanted))

    def end(self) -> None:
        """Take it away, its checkpoints too."""
        kubectl("delete", self.kind, self.name, "-n", TRAINING, "--ignore-not-found", "--wait=true")
        until(lambda: not self.pods(), "its pods do not go", 90)
        kubectl("delete", "pvc", self.name, "-n", TRAINING, "--ignore-not-found", "--wait=true")

    def pods(self) -> dict[str, dict[str, Any]]:
        labels = f"training.kubeflow.org/job-name={self.name}"
        return {pod["metadata"]["name"]: pod for pod in self._cluster.list("v1", "Pod", TRAINING, labels=labels)}

    def log(self) -> str:
        """What the leader has printed since its container started."""
        return kubectl("logs", "-n", TRAINING, self.leader, check=False)

    def checkpoints(self) -> list[int]:
        """The steps that checkpoints were kept of, as the leader sees them."""
        listed = kubectl("exec", "-n", TRAINING, self.leader, "--", "ls", "/checkpoints", check=False)
        return [int(found[1]) for found in re.finditer(r"(?m)^(\d+)-\d+\.ckpt$", listed)]

    def conditions(self) -> set[str]:
        """The types of those that hold."""
        found = self._cluster.get(Ref("kubeflow.org/v1", self.kind, self.name, TRAINING)).get("status") or {}
        return {one["type"] for one in found.get("conditions") or [] if one["status"] == "True"}

    def goes_on(self, within_s: float = 300) -> bool:
        """Wait until it trains again after a kill; whether it had to be applied again.

        The operator counts a TFJob's pod that is being deleted as failed, where it sees it in time, and ends the job; a PyTorchJob it restarts.
        """
        until(
            lambda: "going on from" in self.log() or "Failed" in self.conditions(),
            f"it does not go on: {self.log()[-2000:]}", within_s,
        )  # fmt: skip
        if "Failed" not in self.conditions():
            return False
        assert self.kind == "TFJob"
        kubectl("delete", self.kind, self.name, "-n", TRAINING, "--wait=true")
        until(lambda: not self.pods(), "its pods do not go", 90)
        self.apply()
        until(lambda: "going on from" in self.log(), f"it does not go on: {self.log()[-2000:]}", within_s)
        return True

    def ended(self, within_s: float = 400) -> tuple[str, dict[str, float]]:
        """The leader's log and the metrics of its run, once the job has succeeded."""
        until(
            lambda: self.conditions() & {"Succeeded", "Failed"}, f"{self.name} does not end: {self.log()[-2000:]}",
            within_s,
        )  # fmt: skip
        said = self.log()
        assert "Succeeded" in self.conditions(), said[-3000:]
        run = re.search(r"(?m)^run: (\w+)$", said)
        assert run, said[-3000:]
        metrics = run_of(run[1])["data"]["metrics"]
        return said, {one["key"]: one["value"] for one in metrics if one["key"] in {"loss", "accuracy"}}

    def start_up(self) -> dict[str, float]:
        """Seconds from the job to its leader's container, and to its last replica's."""

        def moment(text: str) -> datetime:
            return datetime.fromisoformat(text.replace("Z", "+00:00"))

        made = moment(
            self._cluster.get(Ref("kubeflow.org/v1", self.kind, self.name, TRAINING))["metadata"]["creationTimestamp"]
        )
        began = {}
        for name, pod in self.pods().items():
            state = pod["status"]["containerStatuses"][0]["state"]
            began[name] = (moment(next(iter(state.values()))["startedAt"]) - made).total_seconds()
        return {"leader's container": began[self.leader], "last container": max(began.values())}


@pytest.fixture
def example(node: Cluster, installed: Installation, name: str) -> Iterator[Example]:
    """One of them; afterwards it is gone, and what it took of the quota with it."""
    found = Example(node, name)
    yield found
    found.end()


@pytest.mark.shows("B1", "B3", "B4", "B5", "B8", "B10", "B46", env="cluster")
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_trains_and_a_killed_worker_changes_nothing(example: Example, name: str) -> None:
    example.start()
    began = time.monotonic()
    until(lambda: "data: " in example.log(), "it does not begin to train", 200)
    until(lambda: "epoch 1/" in example.log(), f"it does not train: {example.log()[-2000:]}", 300)
    first_epoch = time.monotonic() - began
    start_up = example.start_up()
    said, whole = example.ended()
    took = time.monotonic() - began
    assert "× 2 workers" in said
    assert "no --data-dir: not " in said
    assert "going on from" not in said
    losses = [float(loss) for loss in re.findall(r"(?m)^epoch .*loss ([0-9.]+)", said)]
    assert losses[-1] < losses[0], "it learned nothing"

    example.start()
    kept = until(example.checkpoints, f"no checkpoint: {example.log()[-2000:]}", 300)
    killed = example.pods()[example.worker]["metadata"]["uid"]
    at = time.monotonic()
    kubectl("delete", "pod", "-n", TRAINING, example.worker, "--grace-period=0", "--force")
    again = example.goes_on()
    back = time.monotonic() - at
    said, after = example.ended()
    resumed = re.search(r"going on from the checkpoint after step (\d+)", said)
    assert resumed
    assert int(resumed[1]) >= max(kept)
    assert example.pods()[example.worker]["metadata"]["uid"] != killed
    assert after == whole, "the result is that of no kill"
    print(
        json.dumps(
            {
                name: {key: round(value, 1) for key, value in start_up.items()},
                "first epoch after s": round(first_epoch, 1),
                "done after s": round(took, 1),
                "result": whole,
                "trains again after a kill, s": round(back, 1),
                "from step": int(resumed[1]),
                "applied again": again,
            }
        )
    )


SMALL = {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
"""What a node of two cores has left beside the platform; two of them fit its quota."""
TEMPLATES = {
    "tensorflow": ("tfjob", "tensorflow-training-job-chief-0", "replicas in sync: 2"),
    "pytorch": ("pytorchjob", "pytorch-training-job-master-0", "rank 0 of 2"),
}


@pytest.mark.shows("B2", "B46", env="cluster")
@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_as_it_is_finds_its_replicas(installed: Installation, name: str) -> None:
    kind, leader, expected = TEMPLATES[name]
    body = yaml.safe_load((ROOT / f"training/templates/{name}-training-job.yaml").read_text())
    for replica in body["spec"].get("tfReplicaSpecs", body["spec"].get("pytorchReplicaSpecs", {})).values():
        replica["template"]["spec"]["containers"][0]["resources"] = SMALL
    of = (kind, body["metadata"]["name"], "-n", TRAINING)
    kubectl("delete", *of, "--ignore-not-found", "--wait=true")
    kubectl("apply", "-f", "-", given=json.dumps(body))
    try:
        kubectl("wait", "--for=condition=Succeeded", "/".join(of[:2]), *of[2:], "--timeout=110s")
        assert expected in kubectl("logs", "-n", TRAINING, leader)
    finally:
        kubectl("delete", *of, "--wait=true")


@pytest.mark.shows("B2", "B46", env="cluster")
def test_the_template_of_a_plain_job_trains(installed: Installation) -> None:
    of = ("generic-training-job", "-n", "ml-training")
    *around, body = yaml.safe_load_all((ROOT / "training/templates/generic-training-job.yaml").read_text())
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = SMALL
    kubectl("delete", "job", *of, "--ignore-not-found", "--wait=true")
    kubectl("apply", "-f", "-", given=yaml.safe_dump_all([*around, body]))
    try:
        kubectl("wait", "--for=condition=complete", f"job/{of[0]}", *of[1:], "--timeout=110s")
        told = kubectl("logs", *of[1:], f"job/{of[0]}")
        assert float(told.rpartition("accuracy")[2]) > 0.9
    finally:
        kubectl("delete", "job", *of, "--wait=true")
