"""`model_versions`: one row for each registered version."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from maestro.clients.database import Database
from maestro.clients.database.schema.governance import model_versions
from maestro.core.contract import ModelContract
from maestro.core.decision import Subject
from maestro.core.errors import NotFound
from maestro.core.manifest import VersionManifest
from maestro.core.model import Digest, Model, Name, Time
from maestro.core.versions import parse_version


class Stage(StrEnum):
    """Where a version stands in the workflow Development → Staging → Production; `archived` once another took its place."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class ModelVersion(Model):
    """A registered version."""

    model: Name
    version: str
    digest: Digest
    registry_version: str | None = None
    run_id: str
    job_id: str | None = None
    stage: Stage
    path: str
    manifest: VersionManifest
    contract: ModelContract
    contract_digest: Digest
    metrics: dict[str, float]
    submitted_by: str
    registered_by: str
    cost_usd_micros: int
    created_at: Time

    @property
    def subject(self) -> Subject:
        """As a decision names it."""
        return Subject(model=self.model, version=self.version, digest=self.digest)

    @property
    def key(self) -> str:
        """As events and lineage name it: `m@1.2.0`."""
        return f"{self.model}@{self.version}"


class VersionStore:
    """Reads and writes the rows of versions."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def insert(self, connection: Connection, version: ModelVersion) -> bool:
        """Add a row in the caller's transaction; False where another registration of the version was first, and has committed."""
        values: dict[str, Any] = {name: getattr(version, name) for name in ModelVersion.model_fields}
        values["stage"] = version.stage.value
        values["manifest"] = version.manifest.document()
        values["contract"] = version.contract.document()
        insert_or_skip = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        adding = insert_or_skip(model_versions).values(**values).on_conflict_do_nothing()
        # the rows that were counted are not told by every driver; those that came back are
        return connection.execute(adding.returning(model_versions.c.version)).first() is not None

    def of_run(self, connection: Connection, model: str, run_id: str) -> ModelVersion | None:
        """The version of `model` that came from a run."""
        row = (
            connection.execute(
                select(model_versions).where(model_versions.c.model == model, model_versions.c.run_id == run_id)
            )
            .mappings()
            .one_or_none()
        )
        return None if row is None else _version(row)

    def get(self, model: str, version: str) -> ModelVersion:
        """One version, by its semantic version or by the registry's number.

        Raises:
            NotFound: there is none; the known ones are named.
        """
        with self.database.read() as connection:
            column = model_versions.c.registry_version if version.isdigit() else model_versions.c.version
            row = (
                connection.execute(select(model_versions).where(model_versions.c.model == model, column == version))
                .mappings()
                .one_or_none()
            )
            if row is not None:
                return _version(row)
            known = connection.execute(
                select(model_versions.c.version).where(model_versions.c.model == model).limit(20)
            ).scalars()
            names = ", ".join(sorted(known, key=parse_version))
        if not names:
            raise NotFound(
                f"model {model} has no version", field="model", remedy="list the models: maestro versions list"
            )
        raise NotFound(f"model {model} has no version {version}", field="version", remedy=f"choose one of {names}")

    def all_of(self, connection: Connection, model: str) -> list[ModelVersion]:
        """Every version of a model, lowest first."""
        rows = connection.execute(select(model_versions).where(model_versions.c.model == model)).mappings()
        return sorted((_version(row) for row in rows), key=lambda item: parse_version(item.version))

    def list(
        self, *, model: str | None = None, stage: Stage | None = None, page: int = 1, page_size: int = 50
    ) -> tuple[list[ModelVersion], int]:
        """A page of versions, newest first, and how many there are."""
        filters = []
        if model is not None:
            filters.append(model_versions.c.model == model)
        if stage is not None:
            filters.append(model_versions.c.stage == stage.value)
        with self.database.read() as connection:
            total = connection.execute(select(func.count()).select_from(model_versions).where(*filters)).scalar_one()
            rows = connection.execute(
                select(model_versions)
                .where(*filters)
                .order_by(model_versions.c.created_at.desc(), model_versions.c.model, model_versions.c.version.desc())
                .limit(page_size)
                .offset((page - 1) * page_size)
            ).mappings()
            return [_version(row) for row in rows], total

    def in_stage(self, model: str, stage: Stage) -> ModelVersion | None:
        """The version of a model in a stage that holds one version."""
        with self.database.read() as connection:
            row = (
                connection.execute(
                    select(model_versions)
                    .where(model_versions.c.model == model, model_versions.c.stage == stage.value)
                    .order_by(model_versions.c.created_at.desc())
                )
                .mappings()
                .first()
            )
        return None if row is None else _version(row)

    def set_stage(self, connection: Connection, model: str, version: str, stage: Stage) -> None:
        """Move a version; who held `production` before becomes `archived`."""
        if stage is Stage.PRODUCTION:
            connection.execute(
                update(model_versions)
                .where(
                    model_versions.c.model == model,
                    model_versions.c.stage == Stage.PRODUCTION.value,
                    model_versions.c.version != version,
                )
                .values(stage=Stage.ARCHIVED.value)
            )
        connection.execute(
            update(model_versions)
            .where(model_versions.c.model == model, model_versions.c.version == version)
            .values(stage=stage.value)
        )


def _version(row: RowMapping) -> ModelVersion:
    return ModelVersion.model_validate({name: row[name] for name in ModelVersion.model_fields})
