"""Where the story is told: its steps there, the projection by which two places are compared, what is said when there is no cluster."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maestro.clients.home import Home
from maestro.clients.kubernetes.kubectl import Kubectl
from maestro.core.errors import BadInput, NegativeVerdict, Unreachable
from maestro.core.events import Event
from maestro.lifecycle.demo.places.cluster import InCluster, in_cluster
from maestro.lifecycle.demo.places.laptop import SCRIPTS, Laptop, answer_of
from maestro.lifecycle.demo.story import STEPS, projections, steps_of
from maestro.lifecycle.demo.traffic import Caller


def program(folder: Path, text: str) -> None:
    """A `kubectl` that does what a test says."""
    path = folder / "kubectl"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs at the head of PATH, and the name of a cluster."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    program(tmp_path, "exit 0")
    return tmp_path


def event(seq: int, kind: str, version: str, **data: Any) -> Event:
    about = "model" if kind in {"rollout.judged", "rollout.moved"} else "rollout"
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Event(seq=seq, at=at, kind=kind, subject=f"{about}/m@{version}", actor="a", data=data)


def test_a_cluster_tells_the_laptops_story_and_more(home: Path, cluster: Path) -> None:
    here, there = steps_of(Laptop(Home(home))), steps_of(InCluster(Home(home)))
    assert here == STEPS
    assert tuple(step for step in there if step in STEPS) == STEPS
    assert {module for module, _ in there} - {module for module, _ in here} == {
        "operator_job",
        "faults",
        "split",
        "recovery",
    }
    for module, _ in there:
        assert callable(importlib.import_module(f"maestro.lifecycle.demo.steps.{module}").run)


def test_each_cluster_story_has_a_model_of_its_own(home: Path, cluster: Path) -> None:
    assert InCluster(Home(home)).setting.model != InCluster(Home(home)).setting.model


def test_what_only_a_cluster_shows_is_refused_elsewhere(home: Path) -> None:
    with pytest.raises(BadInput, match="only a cluster"):
        in_cluster(Laptop(Home(home)))


def test_rollouts_are_told_by_what_made_their_versions() -> None:
    told = [
        event(1, "rollout.started", "1.0.0", to="1.0.0"),
        event(2, "rollout.finished", "1.0.0", to="1.0.0", verdict="promoted"),
        event(3, "rollout.started", "1.3.0", **{"from": "1.0.0", "to": "1.3.0"}),
        *(event(seq, "rollout.judged", "1.3.0", **{"from": 1.0, "to": 1.0}, verdict="keep_going") for seq in (4, 5)),
        event(6, "rollout.moved", "1.3.0", **{"from": 1.0, "to": 10.0}, verdict="promote"),
    ]
    other = event(7, "rollout.started", "9.9.9").model_copy(update={"subject": "model/else@1.0.0"})
    versions = {"first": {"version": "1.0.0"}, "better": {"version": "1.3.0"}}
    assert projections([*told, other], versions, "m") == [
        [
            ("rollout.started", "rollout", None, "first", None),
            ("rollout.finished", "rollout", None, "first", "promoted"),
        ],
        [
            ("rollout.started", "rollout", "first", "better", None),
            ("rollout.judged", "model", 1.0, 1.0, "keep_going"),
            ("rollout.moved", "model", 1.0, 10.0, "promote"),
        ],
    ]


def test_a_caller_sends_its_row_where_it_has_one() -> None:
    assert Caller({"person_id": 7}, "1").asks("m") == {"model": "m", "entities": [{"person_id": 7}]}
    assert Caller({"person_id": 7}, "1", [0.5]).asks("m")["instances"] == [[0.5]]


def test_a_negative_verdict_is_an_answer_and_a_failure_is_none() -> None:
    assert answer_of(("drift", "run"), 1, '{"drift": true}', "") == {"drift": True}
    with pytest.raises(NegativeVerdict, match="maestro drift run ended with status 3: no database"):
        answer_of(("drift", "run", "x"), 3, "", "no database")


def test_the_scripts_are_there() -> None:
    assert all(Path(script).exists() for script in SCRIPTS.values())


def test_kubectl_says_what_it_was_told(cluster: Path) -> None:
    program(cluster, "echo out; echo 'Error: no such thing' >&2; exit 1")
    with pytest.raises(Unreachable, match="kubectl get pods: Error: no such thing"):
        Kubectl().run("get", "pods")
    assert Kubectl().ended("get", "pods")[:2] == (1, "out\n")


def test_a_secret_is_decoded(cluster: Path) -> None:
    program(cluster, 'echo "$@" > "$(dirname "$0")/asked"; printf c2VjcmV0')
    assert Kubectl().secret("ns", "name", "ca.crt") == "secret"
    assert "jsonpath={.data.ca\\.crt}" in (cluster / "asked").read_text()


FORWARD = """
case "$1" in
get) printf 192.0.2.1 ;;
port-forward) exec {python} -c '
import http.server, sys
class Once(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.asked = True
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1].split(":")[0])), Once)
server.asked = False
while not server.asked:
    server.handle_request()
' "${{5}}" ;;
esac
"""


def test_a_forwarded_port_that_broke_is_led_on(cluster: Path) -> None:
    """The program ends after each answer, as `kubectl` does with its pod."""
    import time

    import httpx

    program(cluster, FORWARD.format(python=sys.executable))
    answers = 0
    with Kubectl().reached("ns", "web", 80) as (host, port):
        deadline = time.monotonic() + 20
        while answers < 2 and time.monotonic() < deadline:
            try:
                answers += httpx.get(f"http://{host}:{port}/", timeout=2, trust_env=False).status_code == 200
            except httpx.HTTPError:
                time.sleep(0.1)
    assert host == "127.0.0.1"
    assert answers == 2


@pytest.mark.parametrize(
    ("environment", "missing"),
    [({}, "KUBECONFIG is not set"), ({"PATH": "/nowhere", "KUBECONFIG": "x"}, "kubectl is not on PATH")],
)
@pytest.mark.door
def test_without_a_cluster_one_line_says_what_is_missing(
    cluster: Path, home: Path, environment: dict[str, str], missing: str
) -> None:
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    done = subprocess.run(
        [sys.executable, "-m", "maestro", "demo", "--cluster"], capture_output=True, text=True, timeout=60, check=False,
        env=env | {"MAESTRO_HOME": str(home)} | environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert missing in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
