"""The client of Feast's feature server, asked of a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest

from maestro.clients.feast import FeatureRepository, ServiceSpec, ViewSpec
from maestro.clients.feature_server import BATCH, FeatureServer
from maestro.core.errors import MaestroError, NotFound, Unreachable
from maestro.lifecycle.services import free_port
from tests.serving.feature_sources.feast_process import feast_process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ROWS = BATCH + 7


def table(value: float) -> pd.DataFrame:
    times = pd.to_datetime(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"])
    return pd.DataFrame(
        [
            {"person_id": person, "event_timestamp": at, "created": at, "score": value * person + older, "plan": person % 3}
            for person in range(1, ROWS + 1)
            for older, at in enumerate(reversed(times))
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> FeatureRepository:
    """One view; its registry in a database, as a cluster has it."""
    folder = tmp_path_factory.mktemp("features")
    table(0.5).to_parquet(folder / "scores.parquet", index=False)
    found = FeatureRepository(folder, f"sqlite:///{folder / 'registry.sqlite'}")
    view = ViewSpec("scores", "person_id", folder / "scores.parquet", {"score": "float64", "plan": "int64"})
    found.apply([view], [ServiceSpec("scores_v1", [("scores", ("score", "plan"))])])
    return found


@pytest.fixture(scope="module")
def server(repository: FeatureRepository) -> Iterator[FeatureServer]:
    """A real feature server over the same registry."""
    registry = (
        f"{{registry_type: sql, path: 'sqlite:///{repository.folder / 'registry.sqlite'}', cache_ttl_seconds: 1}}"
    )
    with feast_process(repository.folder, free_port(), registry) as process:
        found = FeatureServer(process.url)
        yield found
        found.close()


@pytest.mark.shows("A1", "A4", env="laptop")
def test_what_is_written_is_read_in_order_beyond_one_batch(
    repository: FeatureRepository, server: FeatureServer
) -> None:
    newest = repository.newest("scores")
    assert len(newest) == ROWS
    server.write("scores", newest)
    asked = [{"person_id": person} for person in (*range(ROWS, 0, -1), 99_999)]
    found = server.get("scores_v1", asked)
    assert found[:2] == [{"score": 0.5 * ROWS, "plan": ROWS % 3}, {"score": 0.5 * (ROWS - 1), "plan": (ROWS - 1) % 3}]
    assert found[-1] == {"score": None, "plan": None}
    assert len(found) == len(asked)


def test_the_library_would_bring_the_same_online(repository: FeatureRepository, server: FeatureServer) -> None:
    rows = [{"person_id": person} for person in (1, 2, 3)]
    repository.materialize(pd.Timestamp("2025-12-01", tz="UTC"), pd.Timestamp("2026-03-01", tz="UTC"))
    brought = server.get("scores_v1", rows)
    server.write("scores", repository.newest("scores"))
    assert server.get("scores_v1", rows) == brought == [{"score": 0.5 * one, "plan": one % 3} for one in (1, 2, 3)]


def test_an_unknown_service_is_told(server: FeatureServer) -> None:
    with pytest.raises((NotFound, Unreachable)) as refused:
        server.get("nothing_v1", [{"person_id": 1}])
    assert "nothing_v1" in refused.value.detail


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        FeatureServer("http://127.0.0.1:9").get("scores_v1", [{"person_id": 1}])
    with pytest.raises(MaestroError, match="different keys"):
        FeatureServer("http://127.0.0.1:9").get("scores_v1", [{"person_id": 1}, {"visit_id": 2}])
