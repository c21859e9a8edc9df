"""A step of a cluster: the platform database is backed up by its CronJob and restored beside the original; recovery point and time are measured."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from maestro.core.errors import NotFound
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.places.cluster import PLATFORM, InCluster, in_cluster
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage

_RESTORE = Path("operations/restore-job.yaml")
_TABLES = ("ai_training_jobs", "model_versions", "decisions", "audit_log")
_RPO_S, _RTO_S = 3600.0, 900.0
"""What is promised."""


def run(stage: Stage) -> Outcome:
    """A backup, a disaster that is imagined, a restore by the Job of the runbook into a database of its own, and its rows compared."""
    place = in_cluster(stage.place)
    name = f"maestro_drill_{secrets.token_hex(3)}"
    before = _rows(place, "maestro")
    stage.progress.update(0.1, "the CronJob's backup")
    backup = _backup(place, name.replace("_", "-"))
    began, now = time.monotonic(), datetime.now(UTC)
    rpo = (now - datetime.fromisoformat(str(backup["at"]).replace("Z", "+00:00"))).total_seconds()
    _database(place, f"create database {name} owner maestro", "postgres")
    try:
        stage.progress.update(0.5, "restoring it beside the original")
        _restore(place, name)
        rto = time.monotonic() - began
        restored, after = _rows(place, name), _rows(place, "maestro")
    finally:
        _database(place, f"drop database {name} with (force)", "postgres")
    whole = (
        all(before[table] <= restored[table] <= after[table] for table in _TABLES) and restored["ai_training_jobs"] > 0
    )
    rows = [(table, before[table], restored[table], after[table]) for table in _TABLES]
    return Outcome(
        f"recovery point {rpo:.1f} s (promised {_RPO_S:.0f} s), recovery time {rto:.1f} s (promised {_RTO_S:.0f} s); every row is there",
        whole and rpo < _RPO_S and rto < _RTO_S,
        "operations/runbooks/backup-restore-runbook.md",
        sections=(html_table(("table", "rows before the backup", "restored", "rows now"), rows),),
        facts={"rpo_s": rpo, "rto_s": rto, "bytes": backup.get("bytes"), "rows": restored},
    )


def _backup(place: InCluster, name: str) -> dict[str, Any]:
    place.kubectl.run("create", "job", name, "-n", PLATFORM, "--from=cronjob/platform-backup")
    place.kubectl.run("wait", "-n", PLATFORM, f"job/{name}", "--for=condition=Complete", "--timeout=140s")
    told: dict[str, Any] = json.loads(place.kubectl.run("logs", "-n", PLATFORM, f"job/{name}", "-c", "backup"))
    place.kubectl.run("delete", "job", "-n", PLATFORM, name)
    return told


def _restore(place: InCluster, database: str) -> None:
    if not _RESTORE.exists():
        raise NotFound(f"{_RESTORE} is not here", field="cwd", remedy="run this in the project's folder")
    text = (
        _RESTORE.read_text()
        .replace("--dbname=maestro", f"--dbname={database}")
        .replace(":5432/maestro", f":5432/{database}")
    )
    job = yaml.safe_load(text)
    job["metadata"]["name"] = database.replace("_", "-")
    place.kubectl.run("create", "-f", "-", given=json.dumps(job).encode())
    where = f"job/{job['metadata']['name']}"
    place.kubectl.run("wait", "-n", PLATFORM, where, "--for=condition=Complete", "--timeout=140s")
    place.kubectl.run("delete", "-n", PLATFORM, where)


def _rows(place: InCluster, database: str) -> dict[str, int]:
    counts = " || ' ' || ".join(f"(select count(*) from {table})" for table in _TABLES)  # noqa: S608 - names from above
    found = _database(place, f"select {counts}", "maestro", database).split()
    return dict(zip(_TABLES, map(int, found), strict=True))


def _database(place: InCluster, statement: str, user: str, database: str = "postgres") -> str:
    command = (
        f'PGPASSWORD=$(cat /credentials/{user}-password) psql -h 127.0.0.1 -U {user} -d {database} -tAc "{statement}"'
    )
    return place.kubectl.run("exec", "-n", PLATFORM, "postgresql-0", "-c", "postgresql", "--", "sh", "-c", command)
