"""Step 1: real data as versioned Parquet, features defined, a point-in-time frame built, the online store filled."""

from __future__ import annotations

import json

from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.population import MODEL_DATA, population
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage
from maestro.training import feature_definitions
from maestro.training.datasets import read_parquet

_SERVICE = "visits_v1"


def run(stage: Stage) -> Outcome:
    """Apply, join, materialise, and read one entity back."""
    repository = stage.place.features()
    sets = feature_definitions.apply(repository, stage.home.data, progress=stage.progress)
    stage.progress.update(0.5, "joining features as they were known at each event")
    visits = sets[MODEL_DATA]
    entities = read_parquet(visits.path(stage.home.data, "entities"), "entities")
    frame = repository.training_frame(_SERVICE, entities)
    stage.progress.update(0.8, "filling the online store")
    stage.place.bring_online(sets, stage.progress)
    stage.facts["population"] = stage.place.equipped(_SERVICE, population(stage.home))
    caller = stage.facts["population"][0]
    online = stage.place.online(_SERVICE, [caller.entity])[0]
    known = all(value is not None for name, value in online.items() if name != visits.entity)
    rows = [(name, item.source, item.rows, item.entity, item.version) for name, item in sets.items()]
    total = sum(item.rows for item in sets.values())
    return Outcome(
        f"{total:,} rows in {len(sets)} data sets; {len(frame):,} joined point in time; {len(online)} features of "
        f"{visits.entity} {caller.entity[visits.entity]} read online",
        known and len(frame) == len(entities),
        str(stage.home.features),
        sections=(
            html_table(("data set", "source", "rows", "entity", "version"), rows),
            f"<p>Read online: <code>{json.dumps(online)}</code></p>",
        ),
        facts={"rows": total, "frame": len(frame)},
    )
