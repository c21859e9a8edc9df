"""A batch of predictions by an indexed Job: as many pods as shares, one of them killed, every row once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from maestro.clients.kubernetes.objects import Cluster
from tests.cluster.platform_stage import kubectl, until
from tests.node.installation import Installation
from tests.node.reaching import Api, key_of
from tests.node.releases import MODEL, WIDE, define_features, released, served, trained

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]

NAMESPACE = "ml-serving"
JOB = "job/batch-prediction"
ROWS = 2_000_000
BATCH = "infrastructure/minikube/batch"
WRITE = """
import json, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
features, rows = json.loads(sys.argv[1]), int(sys.argv[2])
draw = np.random.default_rng(1)
writer = None
for first in range(0, rows, 100_000):
    columns = {one["name"]: draw.uniform(one["min"], one["max"], 100_000) for one in features}
    piece = pa.table({"id": np.arange(first, first + 100_000)} | columns)
    writer = writer or pq.ParquetWriter("/data/in.parquet", piece.schema)
    writer.write_table(piece)
writer.close()
"""
READ = """
import glob, json
import numpy as np, pyarrow.dataset as ds, pyarrow.parquet as pq
found = ds.dataset(sorted(glob.glob("/data/out/*.parquet")), format="parquet").to_table()
given = pq.ParquetFile("/data/in.parquet").read_row_group(0).slice(0, 50)
ids = np.asarray(found["id"])
row = {int(i): at for at, i in enumerate(ids)}
names = [name for name in given.column_names if name != "id"]
print(json.dumps({
    "rows": len(ids), "different": len(np.unique(ids)), "columns": found.column_names,
    "instances": [[float(given[name][i].as_py()) for name in names] for i in range(50)],
    "predicted": [found["prediction"][row[i]].as_py() for i in range(50)],
}))
"""

ASK = """
import sys, urllib.request as u
request = u.Request("http://127.0.0.1:8000/predict", sys.argv[1].encode(), {"Content-Type": "application/json"})
print(u.urlopen(request, timeout=10).read().decode())
"""


@pytest.fixture
def champion(installed: Installation, api: Api) -> dict[str, Any]:
    """A promoted version."""
    define_features()
    if not served():
        version = trained(api, WIDE)
        assert released(api, Api(api.base_url, key_of("approver")), version)["status"] == "promoted"
    promoted: list[dict[str, Any]] = api.get(f"/versions/{MODEL}/promoted")
    found: dict[str, Any] = api.get(f"/versions/{MODEL}/{promoted[0]['version']}")
    return found


@pytest.fixture
def batch(node: Cluster, champion: dict[str, Any]) -> Iterator[str]:
    """What stands below the batch's folder, with the version named, and the pod by which its claim is written and read."""
    bodies = list(yaml.safe_load_all(kubectl("kustomize", BATCH)))
    (settings,) = (body for body in bodies if body["kind"] == "ConfigMap")
    settings["data"] |= {"MODEL": f"{MODEL}@{champion['version']}", "INPUT": "/data/in.parquet"}
    (job,) = (body for body in bodies if body["kind"] == "Job")
    pod = job["spec"]["template"]
    # slow enough to be killed in mid-run
    pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "300m"
    container = pod["spec"]["containers"][0] | {"name": "hand", "command": ["sleep", "600"], "args": []}
    container["resources"] = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    hand = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "batch-hand", "namespace": NAMESPACE},
        "spec": pod["spec"] | {"containers": [container]},
    }  # fmt: skip
    first = [body for body in bodies if body["kind"] != "Job"]
    kubectl("apply", "-f", "-", given=yaml.safe_dump_all([*first, hand]))
    try:
        kubectl("wait", "-n", NAMESPACE, "pod/batch-hand", "--for=condition=Ready", "--timeout=110s")
        yield yaml.safe_dump(job)
    finally:
        kubectl("delete", "-f", "-", "--wait=false", "--ignore-not-found", given=yaml.safe_dump_all([*bodies, hand]))


def by_hand(*command: str) -> str:
    """What a command prints where the claim is."""
    return kubectl("exec", "-n", NAMESPACE, "batch-hand", "--", *command)


def pods() -> list[dict[str, Any]]:
    """Those of the Job."""
    found = kubectl("get", "pods", "-n", NAMESPACE, "-l", "batch.kubernetes.io/job-name=batch-prediction", "-o", "json")
    items: list[dict[str, Any]] = json.loads(found)["items"]
    return items


def written() -> int:
    """Parts that are done."""
    return int(by_hand("sh", "-c", "ls /data/out/*.parquet 2>/dev/null | wc -l"))


@pytest.mark.shows("G12", "L6", env="cluster")
def test_a_batch_loses_and_repeats_no_row_when_a_pod_is_killed(api: Api, champion: dict[str, Any], batch: str) -> None:
    by_hand("python", "-c", WRITE, json.dumps(champion["contract"]["features"]), str(ROWS))
    began = time.monotonic()
    kubectl("apply", "-f", "-", given=batch)
    until(lambda: written() >= 1, "no pod has answered any row", 180)
    victim = next(pod["metadata"]["name"] for pod in pods() if pod["status"]["phase"] == "Running")
    before = written()
    kubectl("delete", "pod", "-n", NAMESPACE, victim, "--grace-period=0", "--force")
    assert before < ROWS // 100_000, "it was done before a pod could be killed"
    kubectl("wait", "-n", NAMESPACE, JOB, "--for=condition=Complete", "--timeout=110s")
    took = time.monotonic() - began
    found = json.loads(by_hand("python", "-c", READ))
    assert (found["rows"], found["different"]) == (ROWS, ROWS)
    assert victim not in {pod["metadata"]["name"] for pod in pods()}, "it was not replaced"
    told = told_documents()
    assert sum(log["rows"] for log in told) == ROWS
    answers = kubectl(
        "exec", "-n", NAMESPACE, "deploy/model-router", "-c", "router", "--", "python", "-c", ASK,
        json.dumps({"model": MODEL, "instances": found["instances"]}),
    )  # fmt: skip
    assert json.loads(answers)["predictions"] == found["predicted"]
    print(json.dumps({"rows": ROWS, "seconds": round(took, 1), "parts before the kill": before, "told": told}))


def told_documents() -> list[dict[str, Any]]:
    """What each pod that ended well told of its share."""
    logs = [
        kubectl("logs", "-n", NAMESPACE, pod["metadata"]["name"])
        for pod in pods()
        if pod["status"]["phase"] == "Succeeded"
    ]
    # after the lines of its log
    return [json.JSONDecoder().raw_decode(log, log.index("{\n"))[0] for log in logs]
