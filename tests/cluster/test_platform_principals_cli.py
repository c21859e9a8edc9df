"""Keys, principals and trust of an installation: made by `maestro platform secrets`, taken in by the control plane, known to model servers."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml

from maestro.clients.home import Home
from maestro.clients.kubernetes import Cluster, Ref
from maestro.core.clock import SystemClock
from maestro.core.errors import Unauthenticated, Untrusted
from maestro.core.statement import AdmissionPredicate, Role, Statement
from maestro.security.artifact import measure
from maestro.security.signing import PrivateKey, verify
from maestro.security.statements import promotion, provenance
from maestro.security.trust import load_trust
from maestro.security.verifiers import KeyVerifiers
from maestro.serving.sample import link_keys
from maestro.serving.targets import VerifierMap
from tests.cluster.platform_stage import ROOT, kubectl, maestro, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

KEYS = {
    "operator": "ml-platform", "approver": "ml-platform", "control-plane": "ml-platform", "airflow": "ml-platform",
    "model-server": "ml-serving",
}  # fmt: skip
"""Whose keys there are, and in which namespace."""
OF_PODS = 1
"""Airflow has a further key, for the pods of its commands."""


@pytest.fixture(scope="module", autouse=True)
def _secrets(cluster: Cluster) -> None:
    """Steps 0 and 1 of the guide."""
    kubectl("apply", "-f", "infrastructure/kubernetes/namespaces.yaml")
    done = maestro("secrets", "--json")
    assert done.returncode == 0, done.stderr


def token(who: str) -> str:
    """As whoever may read the Secret gets it."""
    return base64.b64decode(
        kubectl("get", "secret", f"maestro-{who}-key", "-n", KEYS[who], "-o", "jsonpath={.data.token}")
    ).decode()


def held(namespace: str, name: str, key: str) -> str:
    found = json.loads(kubectl("get", "configmap", name, "-n", namespace, "-o", "json"))
    text: str = found["data"][key]
    return text


@pytest.fixture
def pod(home: Path) -> dict[str, str]:
    """What the init containers of the API's pod leave: keys of their own, the trust policy, a migrated database."""
    keys = home / "keys"
    keys.mkdir(mode=0o700)
    for secret, name in (("maestro-decider-key", "decider.pem"), ("maestro-control-plane-key", "token")):
        found = json.loads(kubectl("get", "secret", secret, "-n", "ml-platform", "-o", "json"))["data"][name]
        path = keys / {"token": "service.token"}.get(name, name)
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(found))
    (home / "trust-policy.json").write_text(held("ml-platform", "maestro-trust-policy", "trust-policy.json"))
    (home / "server-keys-of-step-1.json").write_text(held("ml-platform", "maestro-principals", "server-keys.json"))
    environment = {"MAESTRO_HOME": str(home), "MAESTRO_DATABASE_URL": f"sqlite:///{home / 'maestro.db'}"}
    assert maestro("migrate", **environment).returncode == 0
    return environment


def admit(pod: dict[str, str]) -> dict[str, object]:
    done = maestro("principals", f"{pod['MAESTRO_HOME']}/server-keys-of-step-1.json", "--json", **pod)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not any(token(who) in done.stdout + done.stderr for who in KEYS)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@contextmanager
def api(pod: dict[str, str]) -> Iterator[httpx.Client]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "maestro.api", "--port", str(port)], env=os.environ | pod,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            until(lambda: process.poll() is not None or _answers(client), "the API answers")
            assert process.poll() is None, process.stderr.read().decode()
            yield client
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def as_(who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(who)}"}


@pytest.mark.shows("K3", "K5", "K8", env="cluster")
def test_the_first_principals_come_with_the_installation_and_make_the_others(pod: dict[str, str]) -> None:
    first, again = admit(pod), admit(pod)
    assert len(first["adopted"]) == len(KEYS) + OF_PODS  # type: ignore[arg-type]  # a list of JSON
    assert again["adopted"] == []
    with api(pod) as client:
        seen = {who: client.get("/whoami", headers=as_(who)).json() for who in KEYS}
        assert {who: (one["kind"], one["roles"]) for who, one in seen.items()} == {
            "operator": ("human", ["operator", "submitter"]),
            "approver": ("human", ["approver"]),
            "control-plane": ("service", ["viewer"]),
            "airflow": ("service", ["submitter", "operator"]),
            "model-server": ("service", ["viewer"]),
        }
        assert client.get("/whoami").status_code == 401
        made = client.post(
            "/principals", headers=as_("operator"), json={"name": "ada", "kind": "human", "roles": ["approver"]}
        )
        assert made.status_code == 201, made.text
        minted = client.post("/principals/ada/keys", headers=as_("operator"), json={}).json()
        who = client.get("/whoami", headers={"Authorization": f"Bearer {minted['token']}"}).json()
        assert who["name"] == "ada"
        # services use the keys that they are given and give out none
        refused = client.post("/principals/ada/keys", headers=as_("airflow"), json={})
        assert refused.status_code == 403
        (own,) = [key for key in client.get("/keys", headers=as_("operator")).json() if key["principal"] == "approver"]
        assert client.delete(f"/keys/{own['key_id']}", headers=as_("operator")).status_code == 204
        assert client.get("/whoami", headers=as_("approver")).status_code == 401
    # the next pod takes the same ConfigMap in: what was revoked stays revoked
    assert admit(pod)["adopted"] == []
    told = subprocess.run(
        [sys.executable, "-m", "maestro", "audit", "verify", "--json"], capture_output=True, text=True, env=os.environ | pod,
        check=False, timeout=60,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    with api(pod) as client:
        assert client.get("/whoami", headers=as_("approver")).status_code == 401


@pytest.mark.shows("K3", env="cluster")
def test_model_servers_know_the_installation_s_keys_and_follow_the_control_plane(
    cluster: Cluster, namespace: str, pod: dict[str, str], tmp_path: Path
) -> None:
    """As a pod has it: a mounted folder that changes, and a link to it in the server's home."""
    mounted, server = tmp_path / "etc", tmp_path / "server"
    mounted.mkdir()
    server.mkdir()
    home = Home(server)
    link_keys(home, mounted / "server-keys.json")
    (mounted / "server-keys.json").write_text(held("ml-serving", "maestro-verifiers", "server-keys.json"))
    (mounted / "server-keys.json").chmod(0o644)
    known = KeyVerifiers.load(home.server_keys)
    assert known.authenticate(token("control-plane")).name == "control-plane"
    admit(pod)
    control = Home(Path(pod["MAESTRO_HOME"]))
    publisher = VerifierMap(cluster, namespace, control.server_keys)
    assert publisher.publish()
    assert not publisher.publish()
    with api(pod) as client:
        keys = client.get("/keys", headers=as_("operator")).json()
        own = [key["key_id"] for key in keys if key["principal"] == "airflow"]
        assert len(own) == 1 + OF_PODS
        for key_id in own:
            client.delete(f"/keys/{key_id}", headers=as_("operator")).raise_for_status()
    assert publisher.publish()
    published = cluster.get(Ref("v1", "ConfigMap", "maestro-verifiers", namespace))["data"]["server-keys.json"]
    (mounted / "server-keys.json").write_text(published)
    assert known.authenticate(token("control-plane")).name == "control-plane"
    with pytest.raises(Unauthenticated):
        known.authenticate(token("airflow"))


@pytest.mark.shows("K7", env="cluster")
def test_what_builder_and_decider_sign_verifies_in_the_serving_namespace(tmp_path: Path) -> None:
    """The two private keys of the Secrets, the policy of the ConfigMap that model servers mount."""
    policy = tmp_path / "trust-policy.json"
    policy.write_text(held("ml-serving", "maestro-trust-policy", "trust-policy.json"))
    policy.chmod(0o644)
    trust, now = load_trust(policy), SystemClock().now()
    files = tmp_path / "version" / "files"
    files.mkdir(parents=True)
    (files / "model.bin").write_bytes(b"weights")
    manifest = measure(files.parent, model="m", version="1.0.0", run_id="r")
    said: dict[Role, Statement] = {
        "builder": provenance(manifest, run_id="r", job_id="j", builder="service:worker", code="c", materials={}),
        "decider": promotion(
            manifest,
            AdmissionPredicate(
                decision="sha256:" + "0" * 64, environment="production", policy="sha256:" + "0" * 64,
                issued=now, expires=datetime(2100, 1, 1, tzinfo=UTC),
            ),
        ),
    }  # fmt: skip
    other: dict[Role, Role] = {"builder": "decider", "decider": "builder"}
    for role, statement in said.items():
        path = tmp_path / f"{role}.pem"
        path.touch(mode=0o600)
        found = json.loads(kubectl("get", "secret", f"maestro-{role}-key", "-n", "ml-platform", "-o", "json"))
        path.write_bytes(base64.b64decode(found["data"][f"{role}.pem"]))
        envelope = PrivateKey.load(path).sign(statement)
        assert verify(envelope, trust, role, now) == statement
        with pytest.raises(Untrusted):
            verify(envelope, trust, other[role], now)


def test_each_service_is_given_its_own_keys_and_no_other() -> None:
    """Which Secrets the pods of the platform mount or read: the builder's key where jobs run, the decider's where it is decided, people's nowhere."""
    mounted: dict[str, set[str]] = {}
    for path in ("infrastructure/kubernetes/control-plane.yaml", "infrastructure/kubernetes/airflow-deployment.yaml",
                 "serving/mlflow-serving-deployment.yaml", "ab-testing/ab-test-deployment.yaml"):  # fmt: skip
        for body in yaml.safe_load_all((ROOT / path).read_text()):
            if body["kind"] == "Deployment":
                text = json.dumps(body)
                names = {
                    f"maestro-{who}-key" for who in (*KEYS, "builder", "decider") if f'"maestro-{who}-key"' in text
                }
                mounted[body["metadata"]["name"]] = names
    assert mounted["control-plane-api"] == {"maestro-decider-key", "maestro-control-plane-key"}
    assert mounted["control-plane-worker"] == {"maestro-builder-key"}
    assert mounted["airflow-scheduler"] == {"maestro-airflow-key"}
    assert {name: mounted[name] for name in mounted if name.startswith(("model-", "mlflow-"))} == {
        "mlflow-model-server": set(),
        "model-champion": {"maestro-model-server-key"},
        "model-challenger": {"maestro-model-server-key"},
        "model-router": {"maestro-model-server-key"},
    }
