"""Tests that need Airflow: `make test-airflow` runs them in an environment of their own, `make test` leaves them out.

`MAESTRO_TEST_COMMAND` names the `maestro` of the platform's own environment: the DAGs call a real API, with a worker, MLflow and all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

collect_ignore_glob = [] if os.environ.get("MAESTRO_TEST_AIRFLOW") else ["test_*.py"]

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "infrastructure" / "airflow" / "dags"
AIRFLOW = str(Path(sys.executable).with_name("airflow"))


@dataclass(frozen=True)
class Platform:
    """A Maestro that is up."""

    home: Path
    command: str
    url: str

    def token(self, actor: str) -> str:
        """The key of a principal."""
        return (self.home / "keys" / f"{actor}.token").read_text().strip()


@dataclass(frozen=True)
class Airflow:
    """An Airflow with a home of its own."""

    environment: dict[str, str]

    def run(
        self, *words: str, status: int | None = 0, timeout_s: float = 300, more: dict[str, str] | None = None
    ) -> str:
        """What `airflow WORDS` printed."""
        done = subprocess.run(
            [AIRFLOW, *words],
            env=self.environment | (more or {}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert status is None or done.returncode == status, done.stdout[-6000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    def test_run(self, dag: str, conf: dict[str, object], more: dict[str, str] | None = None) -> str:
        """`airflow dags test`; whether the run succeeded is in what it printed."""
        return self.run("dags", "test", dag, "--conf", json.dumps(conf), more=more)

    def calling(self, platform: Platform, actor: str) -> Airflow:
        """The same one, whose tasks call the platform as a principal."""
        return Airflow(self.environment | {
            "MAESTRO_API_URL": platform.url, "MAESTRO_API_KEY": platform.token(actor), "MAESTRO_COMMAND": platform.command,
            "MAESTRO_HOME": str(platform.home),
        })  # fmt: skip


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """A migrated Airflow that sees our DAGs."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MAESTRO_"))} | {
        "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    made = Airflow(environment)
    made.run("db", "migrate")
    return made


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform as `make up` starts it, without its first model's traffic."""
    command = os.environ.get("MAESTRO_TEST_COMMAND") or shutil.which("maestro") or "maestro"
    home = tmp_path_factory.mktemp("platform")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAESTRO_")} | {
        "MAESTRO_HOME": str(home)
    }
    up = subprocess.run([command, "up"], env=environment, capture_output=True, text=True, timeout=400, check=False)
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        state = json.loads((home / "state.json").read_text())
        yield Platform(home, command, state["services"]["api"]["url"])
    finally:
        subprocess.run([command, "down"], env=environment, capture_output=True, timeout=120, check=False)


@pytest.fixture
def calling(airflow: Airflow, platform: Platform) -> Airflow:
    """Airflow whose tasks call the platform as a submitter."""
    return airflow.calling(platform, "submitter")
