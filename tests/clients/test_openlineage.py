"""Events as documents: what the specification asks, with our facets under a prefix of their own."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

from maestro.clients.openlineage import PRODUCER, Dataset, LineageRun, events, run_uuid

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_run_starts_and_completes() -> None:
    run = LineageRun(
        run_id=run_uuid("r"),
        job="training/churn",
        job_type="TRAINING",
        started=AT,
        ended=AT.replace(second=9),
        inputs=(Dataset(name="data/d@1", version="1", source="a file", columns={"a": "double"}, rows=5),),
        outputs=(Dataset(name="versions/m@1.0.0", facets={"version": {"digest": "sha256:00"}}),),
        facets={"training": {"algorithm": "forest", "hyperparameters": {"depth": 3}}},
        parent=(run_uuid("p"), "training/churn"),
    )
    start, complete = events(run)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert (start["eventTime"], complete["eventTime"]) == ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:09.000Z")
    assert start["run"]["runId"] == complete["run"]["runId"] == run.run_id
    facet = complete["run"]["facets"]["maestro_training"]
    assert (facet["algorithm"], facet["_producer"]) == ("forest", PRODUCER)
    assert facet["_schemaURL"] == "urn:maestro:openlineage:training:1"
    assert complete["run"]["facets"]["parent"]["run"]["runId"] == run_uuid("p")
    source = complete["inputs"][0]
    column = source["facets"]["schema"]["fields"][0]
    assert (column["name"], column["type"], column["ordinal_position"]) == ("a", "double", 1)
    assert source["facets"]["version"]["datasetVersion"] == "1"
    assert source["inputFacets"]["inputStatistics"]["rowCount"] == 5
    assert complete["outputs"][0]["facets"]["maestro_version"]["digest"] == "sha256:00"
    assert json.loads(json.dumps(complete)) == complete


def test_run_ids_are_uuids_and_stay_the_same() -> None:
    assert run_uuid("rollout:ro-1") == run_uuid("rollout:ro-1") != run_uuid("rollout:ro-2")
    assert str(uuid.UUID(run_uuid("anything"))) == run_uuid("anything")
