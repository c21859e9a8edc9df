"""A prepared control plane whose MLflow and model server answer nobody, with a row of everything that is cheap to have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from maestro.api.app import create_app
from maestro.clients.home import Home
from maestro.core.contract import Feature, ModelContract, Output
from maestro.core.jobs import DataSpec, JobRequest
from maestro.core.manifest import FileEntry, VersionManifest
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.settings import DatabaseSettings, Settings
from maestro.governance.approval import Approval, ApprovalStatus
from maestro.governance.versions import ModelVersion, Stage
from maestro.lifecycle.bootstrap import prepare
from maestro.lifecycle.composition import Platform
from maestro.training.search.request import StudyRequest

NOBODY = "http://127.0.0.1:9"
"""An address at which nothing listens."""

JOB = JobRequest(name="churn", model_type="random_forest", data=DataSpec(feature_service="tumour_v1"))
FILE_JOB = {
    "name": "churn", "model_type": "classifier", "data": {"feature_service": "file", "entities": "x.parquet", "target": "y"},
}  # fmt: skip
"""A job that needs no feature store."""

BOSS = Principal(name="user", kind="human", roles=(PrincipalRole.SUBMITTER, PrincipalRole.OPERATOR))


@dataclass
class Plane:
    """The application with its platform, and the ids of the rows in it."""

    platform: Platform
    app: FastAPI
    known: dict[str, str] = field(default_factory=dict)

    def key(self, name: str) -> dict[str, str]:
        """The headers of a principal."""
        return {"Authorization": f"Bearer {(self.platform.home.keys / f'{name}.token').read_text().strip()}"}

    def mint(self, name: str, *roles: PrincipalRole) -> dict[str, str]:
        """The headers of a new person."""
        self.platform.principals.create(Principal(name=name, kind="human", roles=roles))
        return {"Authorization": f"Bearer {self.platform.principals.mint_key(name)}"}


def open_plane(home: Path) -> Plane:
    """A control plane in an empty folder."""
    options = Settings(home=home, mlflow_url=NOBODY, server_url=NOBODY, database=DatabaseSettings(busy_timeout_s=0.3))
    platform = prepare(Home(home), options)
    return Plane(platform, create_app(platform), _seed(platform))


def routes(plane: Plane) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every method and path with its description."""
    for path, methods in plane.app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def address(path: str, plane: Plane) -> str:
    """A path with the ids of rows that exist, where there are any."""
    return path.format_map(_Ids(plane.known))


class _Ids(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "0" * 16 if name == "key_id" else "0" * 32


def ask(client: TestClient, method: str, path: str, body: dict[str, Any] | None, key: dict[str, str]) -> Any:
    """One request."""
    return client.request(method, path, headers=key, json=body)


@pytest.fixture(scope="module")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """One control plane for the tests of a file that do not mind each other."""
    plane = open_plane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.platform.close()


@pytest.fixture
def client(shared_plane: Plane) -> TestClient:
    return TestClient(shared_plane.app, raise_server_exceptions=False)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """A control plane of this test."""
    plane = open_plane(tmp_path / "plane")
    yield plane
    plane.platform.close()


def _seed(platform: Platform) -> dict[str, str]:
    job = platform.training.jobs.submit(JOB, BOSS)
    platform.training.jobs.cancel(job.id, BOSS)
    study = platform.training.studies.start(StudyRequest(name="search", data=JOB.data), BOSS)
    versions = [_version(platform, text) for text in ("1.0.0", "1.1.0")]
    approval = _approval(platform, versions[0])
    return {
        "job_id": job.id,
        "study_id": study.id,
        "model": "churn",
        "version": versions[0].version,
        "other": versions[1].version,
        "approval_id": approval.id,
        "name": "agent",
    }


def _version(platform: Platform, text: str) -> ModelVersion:
    agreed = ModelContract.build(
        (Feature(name="a", min=0.0, max=1.0),), Output(kind="classification", classes=("0", "1")), entity_keys=("id",)
    )
    manifest = VersionManifest(
        model="churn", version=text, run_id=f"run{text[2]}",
        files=(FileEntry(path="m.bin", digest="sha256:" + "0" * 64, size=1),),
    )  # fmt: skip
    version = ModelVersion(
        model="churn", version=text, digest=manifest.content_digest(), registry_version=text[2], run_id=f"run{text[2]}",
        stage=Stage.DEVELOPMENT, path="", manifest=manifest, contract=agreed, contract_digest=agreed.content_digest(),
        metrics={"f1": 0.8}, submitted_by="human:submitter", registered_by="service:service", cost_usd_micros=1000,
        created_at=platform.clock.now(),
    )  # fmt: skip
    with platform.database.begin() as connection:
        platform.governance.versions.insert(connection, version)
    return version


def _approval(platform: Platform, version: ModelVersion) -> Approval:
    now = platform.clock.now()
    approval = Approval(
        id="apr-000000000001", model=version.model, version=version.version, status=ApprovalStatus.GATES_FAILED,
        requested_by="human:submitter", requested_at=now, version_digest=version.digest,
        contract_digest=version.contract_digest, policy_digest="sha256:" + "1" * 64,
        evidence_digest="sha256:" + "2" * 64, evidence={}, expires_at=now + timedelta(days=1),
    )  # fmt: skip
    with platform.database.begin() as connection:
        platform.governance.approvals.store.insert(connection, approval)
    return approval
