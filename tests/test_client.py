"""The Python API against a real control plane on a real socket."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn

import maestro
from maestro import client
from maestro.api.app import create_app
from maestro.clients.database import migrate
from maestro.core.errors import BadInput, NegativeVerdict, NotFound, Unauthenticated, Unreachable
from maestro.core.principals import Principal, PrincipalRole
from maestro.core.settings import settings
from maestro.lifecycle.composition import Platform
from maestro.security.signing import PrivateKey

JOB: dict[str, Any] = {
    "name": "churn",
    "model_type": "classifier",
    "data": {"feature_service": "file", "entities": "rows.parquet", "target": "y"},
}


@pytest.fixture
def control_plane(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """A control plane whose key is in the environment, as `make up` leaves it; no worker runs."""
    PrivateKey.generate().save(home / "keys" / "decider.pem")
    platform = Platform()
    migrate(platform.database)
    platform.principals.create(Principal(name="ada", kind="human", roles=(PrincipalRole.SUBMITTER,)))
    server = uvicorn.Server(uvicorn.Config(create_app(platform), port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    monkeypatch.setenv("MAESTRO_API_URL", f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    monkeypatch.setenv("MAESTRO_API_KEY", platform.principals.mint_key("ada"))
    settings.cache_clear()
    yield platform
    server.should_exit = True
    thread.join(timeout=10)
    platform.close()


@pytest.mark.door
def test_a_job_is_submitted_once_looked_at_listed_and_cancelled(control_plane: Platform) -> None:
    first = maestro.train(JOB, key="k1")
    assert maestro.train(JOB, key="k1")["id"] == first["id"]
    assert first["status"] == "queued"
    assert maestro.job(first["id"])["submitted_by"] == "human:ada"
    assert [found["id"] for found in maestro.jobs(status="queued")] == [first["id"]]
    maestro.cancel(first["id"])
    with pytest.raises(NegativeVerdict, match="is cancelled"):
        maestro.wait(first["id"])
    assert maestro.retry(first["id"])["retry_of"] == first["id"]


def test_waiting_ends_and_the_job_goes_on(control_plane: Platform) -> None:
    job = maestro.train(JOB)
    with pytest.raises(Unreachable, match="is queued after"):
        maestro.wait(job["id"], timeout_s=0.05, poll_s=0.01)
    assert maestro.job(job["id"])["status"] == "queued"


@pytest.mark.door
def test_a_wrong_request_names_its_field(control_plane: Platform) -> None:
    with pytest.raises(BadInput) as caught:
        maestro.train(JOB | {"wrokers": 2})
    assert caught.value.field == "wrokers"


def test_what_is_not_there_is_not_found(control_plane: Platform) -> None:
    with pytest.raises(NotFound):
        maestro.version("nothing", "1.0.0")
    assert list(maestro.versions()) == []
    assert list(maestro.decision_records()) == []
    assert list(maestro.rollouts()) == []
    assert list(maestro.approvals()) == []
    assert maestro.replay()["ok"] is True


def test_lists_go_over_every_page(control_plane: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE_SIZE", 2)
    submitted = [maestro.train(JOB)["id"] for _ in range(5)]
    assert sorted(found["id"] for found in maestro.jobs()) == sorted(submitted)
    assert len(list(maestro.jobs(status="running"))) == 0


def test_a_wrong_key_is_told(control_plane: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAESTRO_API_KEY", "nonsense")
    settings.cache_clear()
    with pytest.raises(Unauthenticated):
        list(maestro.jobs())


def test_without_services_it_says_what_to_start() -> None:
    with pytest.raises(Unreachable) as caught:
        maestro.predict([[1.0]])
    assert "make up" in caught.value.remedy


def test_lineage_is_of_a_run_or_of_a_model() -> None:
    with pytest.raises(BadInput, match="one of run_id and model"):
        maestro.lineage()


def test_drift_takes_tables_and_files_and_gives_one_verdict(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    base = pd.DataFrame({"x": rng.normal(size=3000), "y": rng.normal(size=3000)})
    moved = base.assign(x=base["x"] + 0.3)
    base.to_parquet(tmp_path / "a.parquet")
    moved.to_parquet(tmp_path / "b.parquet")
    check = maestro.drift(base, moved)
    assert check.verdict.drifted == ("x",)
    assert maestro.drift(tmp_path / "a.parquet", str(tmp_path / "b.parquet")).verdict == check.verdict
    assert not maestro.drift(base, base).drift
    with pytest.raises(BadInput):
        maestro.drift(base, moved, threshold=2.0)


def test_every_name_is_offered_and_none_is_a_package() -> None:
    for name in maestro.__all__:
        assert getattr(maestro, name) is getattr(client, name)
        assert not (Path(maestro.__file__).parent / name).exists(), f"{name} would hide a package"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        maestro.nothing  # noqa: B018


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, maestro; print(len([name for name in sys.modules if name.startswith('maestro.')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "0"


def test_the_page_names_every_function() -> None:
    page = (Path(__file__).parents[1] / "docs" / "python-api.md").read_text()
    assert [name for name in maestro.__all__ if f"`maestro.{name}`" not in page] == []
