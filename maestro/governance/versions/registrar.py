"""Registration: from a run's logged model to a numbered, measured, signed version folder and its records."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from maestro.clients.database.outbox import append_event
from maestro.clients.registry import DIGEST_TAG, SEMVER_TAG, ModelRegistry
from maestro.core.clock import Clock
from maestro.core.contract import ModelContract
from maestro.core.errors import Conflict
from maestro.core.manifest import VersionManifest
from maestro.core.model import Model, Name
from maestro.core.versions import Bump, next_version, parse_version
from maestro.governance.decisions.code import code_identity
from maestro.governance.versions.folder import VersionFolders, read_contract
from maestro.governance.versions.numbering import bump_of
from maestro.governance.versions.store import ModelVersion, Stage, VersionStore
from maestro.security.artifact import FILES
from maestro.security.audit import AuditLog
from maestro.security.signing import PrivateKey

_ATTEMPTS = 20


class Registration(Model):
    """What is to be registered, and who had a part in it.

    `submitted_by` started the training, `registered_by` asks for the registration; neither may approve the version.
    """

    model: Name
    run_id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    model_uri: str | None = Field(default=None, description="default: the one model that the run logged")
    submitted_by: str
    registered_by: str
    job_id: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    cost_usd_micros: int = 0

    @classmethod
    def of_job(cls, data: Mapping[str, Any], registered_by: str = "system:registrar") -> Registration | None:
        """What the event `job.completed` asks for; None when the job registers nothing."""
        if not data.get("register_as") or not data.get("run_id"):
            return None
        return cls(
            model=data["register_as"],
            run_id=data["run_id"],
            model_uri=data.get("model_uri"),
            submitted_by=data["submitted_by"],
            registered_by=registered_by,
            job_id=data.get("job_id"),
            metrics={key: float(value) for key, value in (data.get("metrics") or {}).items() if _is_number(value)},
            cost_usd_micros=int(data.get("cost_usd_micros") or 0),
        )


class Materials(Protocol):
    """Names and digests of what a run was made of, for its provenance.

    Obligations: read-only; an input without a content digest is left out.
    """

    def __call__(self, run_id: str) -> Mapping[str, str]:
        """Name to `sha256:` digest."""
        ...


class Registrar:
    """Registers versions. Idempotent by (model, run): after a crash at any point the same call gives the same version.

    Order: files, folder (the durable claim of the number), MLflow's registry, then row, audit entry and event in one transaction.
    """

    def __init__(
        self,
        store: VersionStore,
        clock: Clock,
        audit: AuditLog,
        registry: ModelRegistry,
        builder: PrivateKey,
        versions: Path,
        materials: Materials | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit
        self._registry = registry
        self._builder = builder
        self._root = versions
        self._materials = materials

    def register(self, registration: Registration) -> ModelVersion:
        """The version of this run, registered now or before.

        Raises:
            NotFound: the run, its model or its contract does not exist.
            BadInput: the contract is wrong.
            Untrusted: the model's files hold a link or another thing that is no plain file.
            Unreachable: MLflow or the database does not answer.
        """
        with self._store.database.read() as connection:
            known = self._store.of_run(connection, registration.model, registration.run_id)
        if known is not None:
            return known
        folders = VersionFolders(self._root, registration.model)
        with folders.locked():
            claimed = next((found for found in folders.claimed() if found[1].run_id == registration.run_id), None)
            version, manifest = claimed if claimed is not None else self._build(registration, folders)
        contract = read_contract(folders.path(version))
        number = self._registry.ensure_version(
            registration.model,
            run_id=registration.run_id,
            model_uri=self._model_uri(registration),
            tags={SEMVER_TAG: version, DIGEST_TAG: manifest.content_digest()},
        )
        return self._record(registration, version, manifest, contract, number, str(folders.path(version)))

    def _build(self, registration: Registration, folders: VersionFolders) -> tuple[str, VersionManifest]:
        staging = folders.staging(registration.run_id)
        self._registry.download(self._model_uri(registration), staging / FILES)
        contract = read_contract(staging)
        materials = dict(self._materials(registration.run_id)) if self._materials is not None else {}
        if contract.feature_service is not None:
            materials[f"feature_service/{contract.feature_service.name}"] = contract.feature_service.fingerprint
        for _ in range(_ATTEMPTS):
            version = self._next_version(registration, contract, folders)
            try:
                manifest = folders.place(
                    staging,
                    version,
                    run_id=registration.run_id,
                    job_id=registration.job_id or "",
                    builder=self._builder,
                    built_by=registration.registered_by,
                    code=code_identity(),
                    materials=materials,
                    at=self._clock.now(),
                )
            except Conflict:
                continue
            return version, manifest
        raise Conflict(
            f"{_ATTEMPTS} other registrations of {registration.model} came first", remedy="register the run again"
        )

    def _next_version(self, registration: Registration, contract: ModelContract, folders: VersionFolders) -> str:
        with self._store.database.read() as connection:
            registered = self._store.all_of(connection, registration.model)
        latest = registered[-1] if registered else None
        bump = Bump.PATCH
        if latest is not None:
            bump = bump_of(latest.contract, contract, latest.metrics, registration.metrics)
        proposed = next_version(latest.version if latest is not None else None, bump)
        # A number that an unfinished registration has claimed is not given twice.
        taken = {version for version, _ in folders.claimed()}
        while proposed in taken:
            highest = max((*taken, proposed), key=parse_version)
            proposed = next_version(highest, bump if latest is not None else Bump.PATCH)
        return proposed

    def _model_uri(self, registration: Registration) -> str:
        return registration.model_uri or self._registry.model_uri_of(registration.run_id)

    def _record(
        self,
        registration: Registration,
        version: str,
        manifest: VersionManifest,
        contract: ModelContract,
        number: str,
        path: str,
    ) -> ModelVersion:
        row = ModelVersion(
            model=registration.model,
            version=version,
            digest=manifest.content_digest(),
            registry_version=number,
            run_id=registration.run_id,
            job_id=registration.job_id,
            stage=Stage.DEVELOPMENT,
            path=path,
            manifest=manifest,
            contract=contract,
            contract_digest=contract.content_digest(),
            metrics=registration.metrics,
            submitted_by=registration.submitted_by,
            registered_by=registration.registered_by,
            cost_usd_micros=registration.cost_usd_micros,
            created_at=self._clock.now(),
        )
        with self._store.database.begin() as connection:
            # the same run may be registered twice at once: whoever is second gets what the first has made
            if not self._store.insert(connection, row):
                known = self._store.of_run(connection, registration.model, registration.run_id)
                if known is None:
                    raise Conflict(f"{row.key} is registered for another run", remedy="register the run again")
                return known
            self._audit.append(
                connection,
                actor=registration.registered_by,
                action="version.registered",
                subject=f"model/{row.key}",
                data={"digest": row.digest, "run_id": row.run_id, "job_id": row.job_id},
            )
            append_event(
                connection,
                kind="version.registered",
                subject=f"model/{row.key}",
                actor=registration.registered_by,
                data={
                    "model": row.model,
                    "version": row.version,
                    "digest": row.digest,
                    "run_id": row.run_id,
                    "job_id": row.job_id,
                    "registry_version": number,
                    "submitted_by": row.submitted_by,
                },
                at=row.created_at,
            )
        return row


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
