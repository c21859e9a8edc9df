"""Governance through its doors: the commands and scripts as users run them, over the real API."""

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
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import maestro
from maestro.api.app import create_app
from maestro.cli.main import main
from maestro.clients.home import Home
from maestro.core.settings import Settings, settings
from maestro.governance.versions import ModelVersion, Registration
from maestro.lifecycle import bootstrap
from maestro.lifecycle.composition import Platform
from tests.governance.conftest import FolderTarget, Store, contract

ROOT = Path(maestro.__file__).parents[1]


@dataclass
class Doors:
    """The API over a home, and whoever calls it."""

    platform: Platform
    url: str
    store: Store
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def caller(self, actor: str) -> None:
        """From here on the commands run with this principal's key."""
        self.monkeypatch.setenv("MAESTRO_API_KEY", self.token(actor))
        settings.cache_clear()

    def token(self, actor: str) -> str:
        """A principal's key."""
        return (self.platform.home.keys / f"{actor}.token").read_text().strip()

    def run(self, *arguments: str, expect: int = 0) -> Any:
        """A command's JSON answer."""
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["maestro", *arguments, "--json"])
        code = main([*arguments, "--json"])
        out = self.capsys.readouterr().out
        assert code == expect, out
        return json.loads(out)

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A promised script in a process of its own."""
        return subprocess.run(
            [sys.executable, str(ROOT / "governance" / name), *arguments],
            capture_output=True, text=True, env=dict(os.environ), timeout=100, check=False,
        )  # fmt: skip

    def version(self, model: str, **metrics: float) -> ModelVersion:
        """A version that the submitter trained."""
        run_id, uri = self.store.log(
            self.platform.home.root / "built", {"m.bin": os.urandom(8)}, agreed=contract(), metrics=metrics
        )
        return self.platform.governance.registrar.register(
            Registration(
                model=model, run_id=run_id, model_uri=uri, submitted_by="human:submitter", registered_by="service:service",
                metrics=metrics,
            )
        )  # fmt: skip


@pytest.fixture
def doors(
    home: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Doors]:
    options = Settings(home=home, mlflow_url=store.tracking.url)
    platform = bootstrap.prepare(Home(home), options)
    targets: dict[str, FolderTarget] = {}

    def target(model: str) -> FolderTarget:
        return targets.setdefault(model, FolderTarget(platform.home, model, "http://127.0.0.1:9", ""))

    platform.governance.targets = target
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(platform), host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    while not server.started:
        time.sleep(0.05)
    monkeypatch.setenv("MAESTRO_API_URL", url)
    settings.cache_clear()
    yield Doors(platform, url, store, monkeypatch, capsys)
    server.should_exit = True
    thread.join(30)
    platform.close()


@pytest.mark.shows("D6", "D8", "D10", "D15", "E1", "E2", "E3", "E4", "E5", "E6", "F10", "D9", env="laptop")
def test_the_whole_way_through_commands_and_scripts(doors: Doors, tmp_path: Path) -> None:
    model = f"m-{tmp_path.name[-12:]}".replace("_", "-")
    first = doors.version(model, f1=0.8)

    doors.caller("submitter")
    submitted = doors.script("approval-workflow.py", "submit", "--model-name", model, "--model-version", "1")
    assert submitted.returncode == 0, submitted.stderr
    assert f"{model}@1.0.0 is pending" in submitted.stdout
    request = doors.run("approval", "list", "--model", model)["items"][0]
    assert doors.run("approval", "approve", request["id"], expect=4)["status"] == 403  # the submitter
    doors.caller("agent")
    assert doors.run("approval", "approve", request["id"], expect=4)["type"] == "urn:maestro:problem:refused"
    doors.caller("user")
    refused = doors.run("deploy", "start", "--model", model, "--version", "1", expect=4)
    assert "approvals: 0 of 1" in refused["detail"]
    doors.caller("reviewer")
    assert doors.run("approval", "approve", request["id"], "--comment", "fine")["status"] == "approved"

    doors.caller("user")
    started = doors.script("deployment-automation.py", "start", "--model", model, "--model-version", "1")
    assert started.returncode == 0, started.stdout + started.stderr
    assert "promoted" in started.stdout
    assert doors.run("versions", "aliases", "--model", model)["aliases"]["production"] == "1"

    second = doors.version(model, f1=0.9)
    doors.caller("submitter")
    request = doors.run("approval", "submit", "--model-name", model, "--model-version", second.version)
    doors.caller("reviewer")
    doors.run("approval", "approve", request["id"])
    doors.caller("user")
    view = doors.run("deploy", "start", "--model", model, "--version", second.version, "--strategy", "blue-green")
    assert view["rollout"]["status"] == "promoted"
    assert doors.run("deploy", "show", view["rollout"]["id"])["decision"]["verdict"] == "promote"
    assert doors.run("deploy", "list", "--model", model)["total"] == 2

    listed = doors.script("version-management.py", "list", "--model", model, "--json")
    assert [item["version"] for item in json.loads(listed.stdout)["items"]] == ["1.1.0", "1.0.0"]
    compared = doors.run("versions", "compare", "--model", model, "--a", "1.0.0", "--b", "1.1.0")
    assert compared["metrics"]["f1"] == [0.8, 0.9]
    assert [item["version"] for item in doors.run("versions", "rollback-list", "--model", model)] == ["1.1.0", "1.0.0"]

    tracked = doors.script("lineage-tracker.py", "track")
    assert tracked.returncode == 0, tracked.stderr
    tree = doors.script("lineage-tracker.py", "get", "--run-id", first.run_id).stdout
    assert tree.startswith("data visits@0123456789ab")
    drawn = tmp_path / "lineage.svg"
    seen = doors.script("lineage-tracker.py", "visualize", "--run-id", first.run_id, "-o", str(drawn))
    assert seen.returncode == 0, seen.stderr
    assert drawn.read_text().startswith("<svg")
    kinds = {node["kind"] for node in doors.run("lineage", "get", "--model", model)["nodes"]}
    assert kinds == {"data", "features", "run", "version", "deployment"}

    replayed = doors.run("decisions", "replay", "--all")
    assert replayed["ok"] is True
    assert replayed["count"] == doors.run("decisions", "list", "--page-size", "1")["total"] >= 6

    rolled = doors.run("deploy", "rollback", "--model", model)
    assert (rolled["from_version"], rolled["to_version"]) == ("1.1.0", "1.0.0")
    again = doors.run("deploy", "rollback", "--model", model, "--to", "1.0.0", expect=2)
    assert "all the traffic" in again["detail"]
    assert doors.platform.audit.entries(action="version.promoted")


MISTAKES = (
    ("versions show --model nope --version 1.0.0", "no version"),
    ("approval submit --model nope --version 1.0.0", "no version"),
    ("approval show apr-none", "does not exist"),
    ("approval submit --model m --version 1 --policy nope", "does not exist"),
    ("deploy show ro-none", "does not exist"),
    ("deploy start --model nope --version 1", "no version"),
    ("deploy rollback --model nope", "no graph"),
    ("deploy plan --rate speed=1", "no metric 'speed'"),
    ("decisions show abcdef", "no decision"),
    ("decisions replay", "--all"),
    ("lineage get --run-id 0000", "run 0000"),
    ("lineage get", "--run-id or --model"),
    ("versions register --model m --run-id 0000", "run 0000"),
)


def test_mistakes_are_named(doors: Doors) -> None:
    doors.caller("user")
    for words, told in MISTAKES:
        assert told in doors.run(*words.split(), expect=2)["detail"], words


def test_every_route_wants_a_key_and_a_role(doors: Doors) -> None:
    for path in ("/versions", "/approvals", "/rollouts", "/decisions", "/lineage/models/m"):
        assert httpx.get(doors.url + path, trust_env=False).status_code == 401
    headers = {"Authorization": f"Bearer {doors.token('reviewer')}"}
    body = {"model": "m", "run_id": "r"}
    assert httpx.post(doors.url + "/versions", json=body, headers=headers, trust_env=False).status_code == 403


def test_a_plan_shows_the_predicted_sample(doors: Doors) -> None:
    found = doors.run("deploy", "plan", "--policy", "demo", "--requests-per-s", "300", "--rate", "quality=0.29")
    assert [rung["weight"] for rung in found["rungs"]] == [1, 10, 50, 100]
    assert found["promoted"] > 0.9
    assert found["rungs"][-1]["requests"] < 14_000


def test_a_policy_with_a_typo_names_the_field(doors: Doors, tmp_path: Path) -> None:
    doors.caller("submitter")
    path = tmp_path / "policy.yaml"
    path.write_text((ROOT / "governance/policies/demo.yaml").read_text().replace("margin: 0.02", "magrin: 0.02"))
    problem = doors.run("approval", "submit", "--model", "m", "--version", "1", "--policy", str(path), expect=2)
    assert "metrics.0" in problem["detail"]
    assert "magrin" in problem["detail"]
    path.write_text("a: [")
    assert (
        "not YAML, line"
        in doors.run("approval", "submit", "--model", "m", "--version", "1", "--policy", str(path), expect=2)["detail"]
    )


def test_the_two_policies_of_the_checkout(doors: Doors) -> None:
    from maestro.governance.environment import ENVIRONMENT
    from maestro.governance.policies import known_policies, read_policy
    from maestro.serving import server

    assert known_policies() == ("default", "demo")
    assert [rung.weight for rung in read_policy("default").rungs] == [1, 10, 50, 100]
    assert server.ENVIRONMENT == ENVIRONMENT
