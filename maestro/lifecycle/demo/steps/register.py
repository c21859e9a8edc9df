"""Step 4: semantic versions with their contract, digests of every file, and provenance signed with the `builder` key."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import httpx

from maestro.core.clock import SystemClock
from maestro.core.errors import NegativeVerdict
from maestro.core.statement import Envelope
from maestro.lifecycle.demo.jobs import wait_version
from maestro.lifecycle.demo.outcome import Outcome
from maestro.lifecycle.demo.report import html_table
from maestro.lifecycle.demo.stage import Stage
from maestro.security.signing import verify
from maestro.security.trust import load_trust


def run(stage: Stage) -> Outcome:
    """Wait for the registrar, then verify each signature against the trust policy."""
    jobs = stage.facts["jobs"]
    versions = {name: wait_version(stage, job["run_id"]) for name, job in jobs.items()}
    stage.facts["versions"] = versions
    trust = load_trust(stage.home.trust_policy)
    rows = []
    for name, version in sorted(versions.items(), key=lambda item: str(item[1]["created_at"])):
        statement = verify(_provenance(stage, version), trust, "builder", SystemClock().now())
        signed = "sha256:" + statement.subject[0].digest["sha256"] == version["digest"]
        rows.append(
            (
                name,
                version["version"],
                len(version["manifest"]["files"]),
                version["digest"],
                "verified" if signed else "MISMATCH",
            )
        )
    numbers = {name: version["version"] for name, version in versions.items()}
    columns = ("job", "version", "files", "digest of the manifest", "provenance by builder")
    return Outcome(
        f"{len(versions)} versions of {stage.model} registered: " + ", ".join(f"{row[1]} ({row[0]})" for row in rows),
        all(row[4] == "verified" for row in rows) and len(set(numbers.values())) == len(versions),
        f"maestro versions list --model {stage.model}",
        sections=(html_table(columns, rows),),
        facts={"versions": numbers},
    )


def _provenance(stage: Stage, version: dict[str, Any]) -> Envelope:
    """Of the archive as model servers fetch it."""
    response = httpx.get(
        f"{stage.url('api')}/versions/{stage.model}/{version['version']}/archive",
        headers={"Authorization": f"Bearer {stage.token('reviewer')}"}, timeout=60.0, trust_env=False,
    )  # fmt: skip
    if response.status_code != 200:
        raise NegativeVerdict(
            f"{version['version']} cannot be fetched: {response.status_code} {response.text[:200]}",
            remedy="see the API's log",
        )
    with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
        file = archive.extractfile("provenance.json")
        return Envelope.model_validate_json(b"" if file is None else file.read())
