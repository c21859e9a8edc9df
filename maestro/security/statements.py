"""The statements about a version, and the check that admits it: provenance by `builder`; rollout authorisation and promotion by `decider`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from maestro.core.clock import SystemClock
from maestro.core.errors import NotFound, Untrusted
from maestro.core.manifest import VersionManifest
from maestro.core.model import Digest, Model, Time, format_time
from maestro.core.statement import (
    PROMOTION,
    PROVENANCE,
    ROLLOUT_AUTHORISATION,
    AdmissionPredicate,
    Envelope,
    Statement,
    StatementSubject,
    TrustPolicy,
)
from maestro.security.artifact import folder, read_small
from maestro.security.private_file import write_atomically
from maestro.security.quarantine import read_manifest
from maestro.security.signing import CLOCK_SKEW, MAX_PAYLOAD, verify

PROVENANCE_FILE = "provenance.json"
STATEMENTS = "statements"
PROMOTION_FILE = "promotion.json"
AUTHORISATION_FILE = "rollout-authorisation.json"
MAX_STATEMENTS = 64

Purpose = Literal["production", "candidate"]


class ProvenancePredicate(Model):
    """Where a version comes from. `materials` maps what it was made of (a data file, a feature service) to its digest."""

    run_id: str
    job_id: str
    builder: str
    code: str
    materials: dict[str, Digest]
    issued: Time


@dataclass(frozen=True)
class Admission:
    """Why a version is admitted: the manifest it speaks of, its provenance, and the statement that was found."""

    manifest: VersionManifest
    provenance: ProvenancePredicate
    predicate: AdmissionPredicate
    kind: Literal["promotion", "rollout-authorisation"]


def provenance(
    manifest: VersionManifest,
    *,
    run_id: str,
    job_id: str,
    builder: str,
    code: str,
    materials: Mapping[str, str],
    at: datetime | None = None,
) -> Statement:
    """What the worker says about a version it built, to be signed with the `builder` key.

    Args:
        manifest: the version's files.
        run_id: the experiment run.
        job_id: the training job.
        builder: the worker, such as `service:worker`.
        code: code version and lock digest.
        materials: name to digest (`sha256:...`) of every input.
        at: when it is said; now when None.
    """
    predicate = ProvenancePredicate(
        run_id=run_id,
        job_id=job_id,
        builder=builder,
        code=code,
        materials=dict(materials),
        issued=at or SystemClock().now(),
    )
    return _statement(manifest, PROVENANCE, predicate)


def promotion(manifest: VersionManifest, predicate: AdmissionPredicate) -> Statement:
    """That a version may get production traffic, to be signed with the `decider` key."""
    return _statement(manifest, PROMOTION, predicate)


def rollout_authorisation(manifest: VersionManifest, predicate: AdmissionPredicate) -> Statement:
    """That a version may be a rollout's candidate, to be signed with the `decider` key."""
    return _statement(manifest, ROLLOUT_AUTHORISATION, predicate)


def write_envelope(version_dir: Path, name: str, envelope: Envelope) -> Path:
    """Put an envelope into a version's folder: `provenance.json`, or a name below `statements/`. Atomic."""
    path = version_dir / name if name == PROVENANCE_FILE else version_dir / STATEMENTS / name
    write_atomically(path, (json.dumps(envelope.document(), indent=2) + "\n").encode(), mode=0o644)
    return path


def read_envelopes(version_dir: Path) -> dict[str, Envelope]:
    """Name to envelope of everything signed in a version's folder; `statements/x.json` is named `x.json`.

    Raises:
        Untrusted: a file is a link, too long, or no DSSE envelope.
    """
    with folder(version_dir) as root:
        names = [PROVENANCE_FILE] if (version_dir / PROVENANCE_FILE).is_file() else []
        if (version_dir / STATEMENTS).is_dir():
            names += sorted(f"{STATEMENTS}/{path.name}" for path in (version_dir / STATEMENTS).glob("*.json"))
        if len(names) > MAX_STATEMENTS:
            raise Untrusted(f"{version_dir} holds more than {MAX_STATEMENTS} statements")
        return {name.rpartition("/")[2]: _envelope(read_small(root, name, 2 * MAX_PAYLOAD), name) for name in names}


def check_admission(
    version: Path | tuple[VersionManifest, Sequence[Envelope]],
    policy: TrustPolicy,
    *,
    purpose: Purpose,
    environment: str,
    at: datetime,
    expected_digest: str | None = None,
    rollout_policy: str | None = None,
) -> Admission:
    """Whether a version may get traffic: its provenance and a statement of the decider verify, for this very manifest.

    `production` needs a promotion; `candidate` a rollout authorisation or a promotion.

    Args:
        version: the version's folder, or its manifest and envelopes.
        policy: the trust policy.
        purpose: what for.
        environment: where; a statement for another environment does not count.
        at: now.
        expected_digest: the digest that the graph pins.
        rollout_policy: when given, the digest that the statement's `policy` must have.

    Raises:
        Untrusted: it may not; the message gives the reason for each statement that was found.
    """
    if isinstance(version, Path):
        manifest, envelopes = read_manifest(version, expected_digest), tuple(read_envelopes(version).values())
    else:
        manifest, envelopes = version[0], tuple(version[1])
    identity = manifest.content_digest()
    if expected_digest is not None and identity != expected_digest:
        raise Untrusted(f"the version's digest is {identity}, expected {expected_digest}")
    shown = f"{manifest.model}@{manifest.version}"
    built, used = _provenance(manifest, envelopes, policy, at)
    accepted = {PROMOTION} if purpose == "production" else {PROMOTION, ROLLOUT_AUTHORISATION}
    reasons: list[str] = []
    for envelope in envelopes:
        if envelope is used:
            continue
        try:
            statement = verify(envelope, policy, "decider", at)
            if statement.predicate_type not in accepted:
                reasons.append(f"a statement is a {statement.predicate_type.split(':')[-2]}")
                continue
            predicate = _admits(statement, manifest, environment, at, rollout_policy)
        except Untrusted as error:
            reasons.append(error.detail)
            continue
        return Admission(
            manifest,
            built,
            predicate,
            "promotion" if statement.predicate_type == PROMOTION else "rollout-authorisation",
        )
    needed = "promotion statement" if purpose == "production" else "rollout authorisation or promotion statement"
    why = "; ".join(dict.fromkeys(reasons)) if reasons else "none was found"
    raise Untrusted(
        f"{shown} has no valid {needed} for environment {environment}: {why}",
        remedy="submit the version for approval and roll it out (maestro approval submit)",
        model=manifest.model,
        version=manifest.version,
    )


def check_provenance(
    manifest: VersionManifest, envelopes: Sequence[Envelope], policy: TrustPolicy, at: datetime
) -> ProvenancePredicate:
    """Whether a builder that is trusted has signed this very manifest: what is needed before a version is looked into.

    Raises:
        Untrusted: none has.
    """
    return _provenance(manifest, envelopes, policy, at)[0]


def _provenance(
    manifest: VersionManifest, envelopes: Sequence[Envelope], policy: TrustPolicy, at: datetime
) -> tuple[ProvenancePredicate, Envelope]:
    reasons: list[str] = []
    for envelope in envelopes:
        try:
            statement = verify(envelope, policy, "builder", at)
            _require_subject(statement, manifest)
            if statement.predicate_type != PROVENANCE:
                raise Untrusted(f"the builder may not sign a {statement.predicate_type}")
            return ProvenancePredicate.model_validate(statement.predicate), envelope
        except ValidationError as error:
            reasons.append(f"malformed provenance: {error.errors(include_url=False)[0]['msg']}")
        except Untrusted as error:
            reasons.append(error.detail)
    # A decider's statements fail as provenance by their role; they explain nothing here unless nothing else was found.
    told = [reason for reason in reasons if "has the role decider" not in reason] or ["none was found"]
    raise Untrusted(
        f"{manifest.model}@{manifest.version} has no valid provenance: {'; '.join(dict.fromkeys(told))}",
        remedy="register the version again from its training run",
        model=manifest.model,
        version=manifest.version,
    )


def _admits(
    statement: Statement, manifest: VersionManifest, environment: str, at: datetime, rollout_policy: str | None
) -> AdmissionPredicate:
    _require_subject(statement, manifest)
    try:
        predicate = AdmissionPredicate.model_validate(statement.predicate)
    except ValidationError as error:
        raise Untrusted(f"malformed predicate: {error.errors(include_url=False)[0]['msg']}") from None
    if predicate.environment != environment:
        raise Untrusted(f"a statement is for environment {predicate.environment}")
    if predicate.expires is not None and at >= predicate.expires:
        raise Untrusted(f"a statement expired at {format_time(predicate.expires)}")
    if predicate.expires is not None and predicate.expires <= predicate.issued - CLOCK_SKEW:
        raise Untrusted("a statement expires before it was issued")
    if rollout_policy is not None and predicate.policy != rollout_policy:
        raise Untrusted(f"a statement is for the rollout policy {predicate.policy}")
    people = [approval.principal for approval in predicate.approvals]
    if len(people) != len(set(people)):
        raise Untrusted("a statement counts one principal's approval twice")
    return predicate


def _require_subject(statement: Statement, manifest: VersionManifest) -> None:
    expected = _subject(manifest)
    if statement.subject != (expected,):
        raise Untrusted(f"a statement is about {statement.subject[0].name}, not these bytes of {expected.name}")


def _subject(manifest: VersionManifest) -> StatementSubject:
    return StatementSubject(
        name=f"{manifest.model}@{manifest.version}",
        digest={"sha256": manifest.content_digest().removeprefix("sha256:")},
    )


def _statement(manifest: VersionManifest, kind: str, predicate: Model) -> Statement:
    return Statement(subject=(_subject(manifest),), predicate_type=kind, predicate=predicate.document())


def _envelope(content: bytes, name: str) -> Envelope:
    try:
        return Envelope.model_validate(json.loads(content))
    except (ValidationError, ValueError, RecursionError):
        raise Untrusted(f"{name} is not a DSSE envelope", field=name) from None


def read_envelope(version_dir: Path, name: str) -> Envelope:
    """One envelope of a version's folder by name (`provenance.json`, `promotion.json`).

    Raises:
        NotFound: there is none of that name.
        Untrusted: it is no DSSE envelope.
    """
    envelopes = read_envelopes(version_dir)
    if name not in envelopes:
        raise NotFound(f"{version_dir.name} has no statement {name}", field=name)
    return envelopes[name]
