"""Deployments through the promised script and the API of a control plane whose target is the cluster."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml

import maestro
from maestro.api.app import create_app
from maestro.clients.home import Home
from maestro.clients.kubernetes.objects import Cluster
from maestro.core.cluster import ClusterSettings
from maestro.core.policy import RolloutPolicy, Rung
from maestro.core.settings import Settings, settings
from maestro.governance.policies import read_policy
from maestro.governance.versions import ModelVersion, Registration
from maestro.lifecycle import bootstrap
from maestro.lifecycle.composition import Platform
from tests.cluster import stage
from tests.governance.conftest import ADA, BOB, Store, contract

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SCRIPT = Path(maestro.__file__).parents[1] / "governance/deployment-automation.py"


@dataclass
class Control:
    """A control plane on the cluster, and its operator at the script."""

    platform: Platform
    store: Store
    environment: dict[str, str]
    policy: RolloutPolicy
    policy_file: Path
    model: str

    def script(self, *arguments: str, expect: int = 0, **more: str) -> Any:
        """The script's JSON answer."""
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *arguments, "--json"],
            capture_output=True, text=True, env=self.environment | more, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def approved(self, **metrics: float) -> ModelVersion:
        """A version that ada trained and bob approved."""
        governance = self.platform.governance
        run_id, uri = self.store.log(
            self.platform.home.root / "built", {"m.bin": os.urandom(8)}, agreed=contract(), metrics=metrics
        )
        version = governance.registrar.register(
            Registration(
                model=self.model, run_id=run_id, model_uri=uri, submitted_by=ADA.actor, registered_by="service:worker", metrics=metrics
            )
        )  # fmt: skip
        request = governance.approvals.submit(ADA, version, self.policy)
        governance.approvals.approve(BOB, request.id, "fine")
        return version

    def deploy(self, version: ModelVersion, *arguments: str, expect: int = 0) -> Any:
        """`start` and follow to the end."""
        return self.script(
            "start", "--model-name", self.model, "--model-version", version.version, "--policy", str(self.policy_file),
            *arguments, expect=expect,
        )  # fmt: skip


@pytest.fixture
def control(
    home: Path, store: Store, cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Control]:
    if why := stage.install_gateway(cluster):
        pytest.skip(why)
    stage.set_up(cluster, namespace)
    where = ClusterSettings(serving=stage.serving(namespace, "httproute"))
    options = Settings(home=home, mlflow_url=store.tracking.url, target="kubernetes", cluster=where)
    platform = bootstrap.prepare(Home(home), options)
    source = stage.MirroredSource(platform.governance.targets, platform.clock)  # type: ignore[arg-type]
    platform.governance.sources = lambda _: source
    base = read_policy("demo")
    metrics = tuple(
        metric.model_copy(update={"margin": 0.3, "tolerate": 0.2}) for metric in base.metrics if metric.event != "wrong"
    )
    rungs = (Rung(weight=10), Rung(weight=100, bake=timedelta(seconds=1)))
    policy = base.model_copy(update={"metrics": metrics, "rungs": rungs})
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(policy.document()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(platform), host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    environment = dict(os.environ) | {
        "MAESTRO_API_URL": f"http://127.0.0.1:{port}", "MAESTRO_HOME": str(home),
        "MAESTRO_API_KEY": (platform.home.keys / "user.token").read_text().strip(),
        "MAESTRO_CLUSTER__SERVING__NAMESPACE": namespace, "MAESTRO_CLUSTER__SERVING__TRAFFIC": "httproute",
        "MAESTRO_CLUSTER__SERVING__REPLICAS": "2",
    }  # fmt: skip
    yield Control(platform, store, environment, policy, path, f"m-{namespace}")
    server.should_exit = True
    thread.join(30)
    platform.close()
    settings.cache_clear()


@pytest.mark.shows("F1", "F2", "F5", "F6", "F7", env="cluster")
@pytest.mark.shows("E8", env="cluster", accepted="GitHub's runner")
def test_all_strategies_by_the_script_and_back(control: Control, cluster: Cluster, namespace: str) -> None:
    first = control.approved(f1=0.8)
    assert control.deploy(first, "--target", "kubernetes")["rollout"]["status"] == "promoted"
    served = first
    for strategy in ("rolling", "blue-green", "canary", "shadow"):
        before, served = served, control.approved(f1=0.8)
        view = control.deploy(served, "--strategy", strategy, "--target", "kubernetes")
        assert view["rollout"]["status"] == "promoted", view
        assert stage.versions_serving(cluster, namespace, "champion") == [served.version] * 2
    rolled = control.script("rollback", "--model", control.model, "--target", "kubernetes")
    assert (rolled["from_version"], rolled["to_version"], rolled["served"]) == (served.version, before.version, True)
    assert stage.versions_serving(cluster, namespace, "champion") == [before.version] * 2


def test_mistakes_are_named(control: Control, tmp_path: Path) -> None:
    version = control.approved(f1=0.8)
    unknown = control.deploy(version, "--target", "mars", expect=2)
    assert "laptop, kubernetes" in unknown["remedy"]
    elsewhere = control.deploy(version, "--target", "laptop", expect=2)
    assert "moves traffic on target kubernetes" in elsewhere["detail"]
    lost = control.script(
        "rollback", "--model", control.model, "--target", "kubernetes", expect=3, KUBECONFIG="", HOME=str(tmp_path)
    )
    assert "KUBECONFIG" in lost["remedy"]
