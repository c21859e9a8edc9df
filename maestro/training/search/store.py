"""Studies and their trials in the platform database. A study that is submitted runs as a job: queue, lease, cancel and log are the job's."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from maestro.clients.database.schema.training import ai_training_jobs as jobs
from maestro.clients.database.schema.tuning import ai_hpo_studies as studies
from maestro.clients.database.schema.tuning import ai_hpo_trials as trials
from maestro.core.errors import Conflict, NotFound
from maestro.core.jobs import JobRequest, JobStatus, Resources
from maestro.core.model import Model, Time
from maestro.core.principals import Principal, PrincipalRole
from maestro.decisions.pareto import front as pareto_front
from maestro.training.job import Job
from maestro.training.search.request import StudyRequest
from maestro.training.search.scoring import directions
from maestro.training.store import JobStore, require_tenant

STUDY = "study"
"""The model type of a job that is a study."""


class StudyRecord(Model):
    """A study as it stands. `status` is that of its newest job."""

    id: str
    tenant_id: str
    name: str
    status: JobStatus
    request: StudyRequest
    job_id: str | None = None
    run_id: str | None = None
    cost_reference_s: float | None = None
    best: dict[str, Any] | None = None
    importance: dict[str, float] = {}
    trials: int = 0
    cost_usd_micros: int = 0
    stopped: str | None = None
    error: dict[str, Any] | None = None
    created_by: str
    created_at: Time
    finished_at: Time | None = None


class TrialRecord(Model):
    """A trial as it was recorded."""

    number: int
    state: str
    params: dict[str, Any]
    values: tuple[float, ...] | None = None
    seconds: float | None = None
    wall_s: float | None = None
    cpu_s: float | None = None
    peak_memory_bytes: int | None = None
    run_id: str | None = None
    cost_usd_micros: int = 0
    started_at: Time
    finished_at: Time | None = None


class HistoryPoint(Model):
    """A completed trial's objective, and the best up to it."""

    number: int
    value: float
    best: float


class StudyStore:
    """The studies of one database. Thread-safe."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._database = jobs.database

    def start(self, request: StudyRequest, by: Principal, idempotency_key: str | None = None) -> StudyRecord:
        """Submit a study; under a name that exists, resume it with what is asked for now.

        Raises:
            BadInput: the space is unknown, or the study has trials that are not comparable.
            Conflict: a job of it is queued or running.
            Refused: the principal may not submit.
        """
        by.require(PrincipalRole.SUBMITTER)
        require_tenant(by, request.tenant_id)
        space = request.search_space
        study_id = self._row(request, by)
        self._require_comparable(study_id, request)
        job = JobRequest(
            name=request.name, tenant_id=request.tenant_id, model_type=STUDY, priority=request.priority, data=request.data,
            params={"study": request.document(), "study_id": study_id, "space": space.model_type},
            timeout_s=max(60, min(7 * 86400, round((request.timeout_s or 86400) + request.trial_timeout_s))),
            resources=Resources(cpu=request.n_jobs * request.trial_cpu),
        )  # fmt: skip
        active = self._active_job(study_id)
        key = f"study:{idempotency_key}" if idempotency_key else None
        if active is not None and (key is None or self._job_of_key(request.tenant_id, key) != active):
            raise Conflict(
                f"study {request.name!r} is at work already (job {active})",
                field="name",
                remedy="wait for it, or cancel the job",
            )
        submitted = self._jobs.submit(job, by, key)
        with self._database.begin() as connection:
            connection.execute(
                # a key that was sent again names the job that the study has already, which may have ended
                update(studies).where(studies.c.id == study_id, or_(studies.c.job_id.is_(None), studies.c.job_id != submitted.id))
                .values(
                    status=submitted.status, request=request.document(), finished_at=None, error=None, job_id=submitted.id
                )
            )  # fmt: skip
        return self.get(study_id, by)

    def get(self, study_id: str, by: Principal) -> StudyRecord:
        """One study.

        Raises:
            NotFound: there is none, or it belongs to a tenant that is not the principal's.
        """
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        with self._database.read() as connection:
            row = connection.execute(select(studies).where(studies.c.id == study_id)).mappings().first()
            if row is None or not by.may_see(row["tenant_id"]):
                raise NotFound(
                    f"study {study_id!r} does not exist", field="study_id", remedy="list the studies to see their ids"
                )
            return self._record(connection, row)

    def page(
        self, by: Principal, *, tenant_id: str | None = None, page: int = 1, page_size: int = 50
    ) -> tuple[list[StudyRecord], int]:
        """A page of studies, newest first, and how many there are."""
        by.require(PrincipalRole.VIEWER, PrincipalRole.APPROVER)
        where: list[ColumnElement[bool]] = [studies.c.tenant_id.in_(by.tenants)] if by.tenants else []
        if tenant_id is not None:
            where.append(studies.c.tenant_id == tenant_id)
        with self._database.read() as connection:
            total = connection.execute(select(func.count()).select_from(studies).where(*where)).scalar_one()
            rows = connection.execute(
                select(studies).where(*where).order_by(studies.c.created_at.desc(), studies.c.id)
                .limit(page_size).offset((page - 1) * page_size)
            ).mappings()  # fmt: skip
            return [self._record(connection, row) for row in rows], int(total)

    def trials(
        self, study_id: str, by: Principal, *, page: int = 1, page_size: int = 50
    ) -> tuple[list[TrialRecord], int]:
        """A page of a study's trials by number, and how many there are."""
        self.get(study_id, by)
        with self._database.read() as connection:
            where = trials.c.study_id == study_id
            total = connection.execute(select(func.count()).select_from(trials).where(where)).scalar_one()
            rows = connection.execute(
                select(trials).where(where).order_by(trials.c.number).limit(page_size).offset((page - 1) * page_size)
            ).mappings()
            return [TrialRecord(**{name: row[name] for name in TrialRecord.model_fields}) for row in rows], int(total)

    def history(self, study_id: str, by: Principal) -> list[HistoryPoint]:
        """The best objective so far after each completed trial; empty for several objectives."""
        study = self.get(study_id, by)
        if len(study.request.objectives) > 1:
            return []
        least = directions(study.request.objectives, study.request.minimise) == ["minimize"]
        points: list[HistoryPoint] = []
        for trial in self._completed(study_id):
            value = (trial.values or (0.0,))[0]
            so_far = points[-1].best if points else value
            best = min(value, so_far) if least else max(value, so_far)
            points.append(HistoryPoint(number=trial.number, value=value, best=best))
        return points

    def front(self, study_id: str, by: Principal) -> list[TrialRecord]:
        """The completed trials that no other beats in every objective."""
        study = self.get(study_id, by)
        done = self._completed(study_id)
        if not done:
            return []
        members = pareto_front(
            [list(trial.values or ()) for trial in done], directions(study.request.objectives, study.request.minimise)
        )
        return [done[at] for at in members]

    def _completed(self, study_id: str) -> list[TrialRecord]:
        with self._database.read() as connection:
            rows = connection.execute(
                select(trials)
                .where(trials.c.study_id == study_id, trials.c.state == "complete")
                .order_by(trials.c.number)
            ).mappings()
            return [TrialRecord(**{name: row[name] for name in TrialRecord.model_fields}) for row in rows]

    def _row(self, request: StudyRequest, by: Principal) -> str:
        where = (studies.c.tenant_id == request.tenant_id, studies.c.name == request.name)
        try:
            with self._database.begin() as connection:
                known = connection.execute(select(studies.c.id).where(*where)).scalar()
                if known is not None:
                    return str(known)
                study_id = f"study-{uuid.uuid4().hex[:20]}"
                connection.execute(
                    studies.insert().values(
                        id=study_id, tenant_id=request.tenant_id, name=request.name, status=JobStatus.QUEUED,
                        request=request.document(), created_by=by.actor, created_at=self._jobs.clock.now(),
                    )
                )  # fmt: skip
                self._jobs.audit.append(
                    connection, actor=by.actor, action="study.create", subject=f"study/{study_id}", outcome="done",
                    data={"name": request.name, "tenant_id": request.tenant_id},
                )  # fmt: skip
                return study_id
        except IntegrityError:
            with self._database.read() as connection:
                return str(connection.execute(select(studies.c.id).where(*where)).scalar_one())

    def _require_comparable(self, study_id: str, request: StudyRequest) -> None:
        told = trials.c.state.in_(("complete", "pruned"))
        query = select(studies.c.request).where(
            studies.c.id == study_id, select(trials.c.number).where(trials.c.study_id == studies.c.id, told).exists()
        )
        with self._database.read() as connection:
            earlier = connection.execute(query).scalar()
        if earlier is not None:
            request.check_resumes(StudyRequest.model_validate(earlier))

    def _job_of_key(self, tenant: str, key: str) -> str | None:
        with self._database.read() as connection:
            query = select(jobs.c.id).where(jobs.c.tenant_id == tenant, jobs.c.idempotency_key == key)
            found = connection.execute(query).scalar()
            return str(found) if found is not None else None

    def _active_job(self, study_id: str) -> str | None:
        with self._database.read() as connection:
            newest = connection.execute(select(studies.c.job_id).where(studies.c.id == study_id)).scalar()
            newest = newest or _newest_job(connection, study_id)
            active = (JobStatus.QUEUED, JobStatus.RUNNING)
            query = select(jobs.c.id).where(jobs.c.id == newest, jobs.c.status.in_(active))
            found = connection.execute(query).scalar()
            return str(found) if found is not None else None

    def _record(self, connection: Connection, row: RowMapping) -> StudyRecord:
        count, spent = connection.execute(
            select(func.count(), func.coalesce(func.sum(trials.c.cost_usd_micros), 0)).where(
                trials.c.study_id == row["id"]
            )
        ).one()
        best = dict(row["best"]) if row["best"] else None
        importance = best.pop("importance", {}) if best else {}
        stopped = best.pop("stopped", None) if best else None
        values = {
            name: row[name]
            for name in (
                "id",
                "tenant_id",
                "name",
                "status",
                "run_id",
                "cost_reference_s",
                "error",
                "created_by",
                "created_at",
                "finished_at",
            )
        }
        return StudyRecord(
            request=StudyRequest.model_validate(row["request"]), best=best, importance=importance, trials=int(count),
            job_id=row["job_id"] or _newest_job(connection, row["id"]), cost_usd_micros=int(spent), stopped=stopped, **values,
        )  # fmt: skip


def idle_studies(connection: Connection, study_ids: Collection[str]) -> list[str]:
    """Those of the studies that are known here and whose job is neither queued nor running."""
    active = jobs.c.status.in_((JobStatus.QUEUED, JobStatus.RUNNING))
    found = connection.execute(
        select(studies.c.id).join(jobs, jobs.c.id == studies.c.job_id).where(studies.c.id.in_(study_ids), ~active)
    ).scalars()
    return sorted(map(str, found))


def follow_job(connection: Connection, job: Job, now: datetime) -> None:
    """Bring a study to the state of its job, in the transaction that changed the job."""
    if job.model_type != STUDY:
        return
    values: dict[str, Any] = {
        "status": job.status,
        "error": job.error,
        "finished_at": now if job.status.is_final else None,
    }
    result = ((job.result or {}).get("details") or {}).get("study")
    if result:
        best = result.get("best")
        values |= {
            "run_id": result.get("run_id"), "cost_reference_s": result.get("cost_reference_s"),
            "best": best | {"importance": result.get("importance", {}), "stopped": result.get("stopped")} if best else None,
        }  # fmt: skip
    connection.execute(update(studies).where(studies.c.id == job.request.params.get("study_id")).values(**values))


def record_trial(connection: Connection, job: JobRequest, fields: dict[str, Any], now: datetime) -> None:
    """Keep one finished trial; a trial told twice is one row."""
    study_id = str(job.params.get("study_id"))
    number = int(fields["number"])
    connection.execute(delete(trials).where(trials.c.study_id == study_id, trials.c.number == number))
    values: Sequence[float] | None = fields.get("values")
    known = fields.get("attributes", {})
    connection.execute(
        trials.insert().values(
            study_id=study_id, number=number, state=str(fields["state"]), params=fields.get("params", {}), values=values,
            seconds=known.get("seconds", fields.get("seconds")), wall_s=known.get("wall_s"), cpu_s=known.get("cpu_s"),
            peak_memory_bytes=known.get("peak_memory_bytes"), run_id=fields.get("run_id"),
            cost_usd_micros=int(fields.get("cost_usd_micros", 0)), started_at=_time(fields.get("started")) or now,
            finished_at=_time(fields.get("finished")),
        )
    )  # fmt: skip


def _newest_job(connection: Connection, study_id: str) -> str | None:
    """The newest job of a study that was started before studies named their job."""
    found = connection.execute(
        select(jobs.c.id).where(jobs.c.model_type == STUDY, jobs.c.request["params"]["study_id"].as_string() == study_id)
        .order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(1)
    ).scalar()  # fmt: skip
    return str(found) if found is not None else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
