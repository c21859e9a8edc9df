"""Fixtures of training: stores on both databases, a home with features, one MLflow server for the session."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from maestro.clients.database import Database
from maestro.clients.home import Home
from maestro.clients.mlflow import Tracking
from maestro.core.clock import ManualClock
from maestro.core.jobs import DataSpec, JobRequest
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.settings import TrainingSettings
from maestro.security.audit import AuditLog
from maestro.training.leases import Leases
from maestro.training.store import JobStore

ADA = Principal(name="ada", kind="human", roles=(PrincipalRole.SUBMITTER,))
OPERATOR = Principal(name="grace", kind="human", roles=(PrincipalRole.OPERATOR,))
VIEWER = Principal(name="carl", kind="human", roles=(PrincipalRole.VIEWER,))


def request_for(service: str = "tumour_v1", **fields: object) -> JobRequest:
    """A job request with defaults."""
    values: dict[str, object] = {"name": "churn", "model_type": "classifier", "data": DataSpec(feature_service=service)}
    return JobRequest.model_validate(values | fields)


@pytest.fixture
def store(database: Database, clock: ManualClock, tmp_path: Path) -> JobStore:
    return JobStore(database, clock, AuditLog(database, clock, None, tmp_path / "heads.jsonl"))


@pytest.fixture
def leases(store: JobStore) -> Leases:
    return Leases(store, TrainingSettings(lease_s=15, max_running=4, max_running_per_tenant=2))


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with every data set written and its features applied; tests only read it."""
    from maestro.clients.feast import FeatureRepository
    from maestro.training import feature_definitions

    home = Home(tmp_path_factory.mktemp("shared-home"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        repository = FeatureRepository(home.features)
        feature_definitions.apply(repository, home.data)
        repository.materialize(feature_definitions.FIRST_EVENT, feature_definitions.LAST_EVENT)
    return home


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tracking server keeps its database and, in `artifacts`, everything else."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def mlflow_url(mlflow_folder: Path) -> Iterator[str]:
    """A real tracking server, started once."""
    folder = mlflow_folder
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port),
             "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts")],
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 110
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{url}/health", timeout=1).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        else:
            raise AssertionError((folder / "server.log").read_text()[-2000:])
        yield url
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def tracking(mlflow_url: str) -> Tracking:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tracking = Tracking(mlflow_url)
        assert tracking.client is not None
    return tracking
