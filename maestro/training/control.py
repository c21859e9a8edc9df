"""Training as the doors see it: the stores over one database, built when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import cached_property

from maestro.clients.database import Database
from maestro.clients.feast import FeatureRepository
from maestro.clients.home import Home
from maestro.clients.mlflow import Tracking
from maestro.core.clock import Clock
from maestro.core.errors import Conflict, NotFound
from maestro.core.jobs import JobRequest
from maestro.core.principals import Principal
from maestro.core.settings import TrainingSettings
from maestro.training.admission import check_job, check_study
from maestro.training.backends import backend, offered
from maestro.training.experiments import Experiments
from maestro.training.job import Job
from maestro.training.leases import Leases
from maestro.training.plan import Plan, plan_job
from maestro.training.queue import Queue
from maestro.training.retention import Cleaned, Retention, clean_up
from maestro.training.search.request import StudyRequest
from maestro.training.search.storage import storage_url
from maestro.training.search.store import StudyRecord, StudyStore
from maestro.training.store import Audit, JobStore, check_key
from maestro.training.worker import Worker


class Training:
    """Jobs, studies, experiments and features of one platform. Thread-safe.

    Args:
        home: `$MAESTRO_HOME`.
        database: the platform database.
        clock: dates everything.
        audit: records every mutation.
        options: limits and times.
        mlflow: the tracking address.
    """

    def __init__(
        self, home: Home, database: Database, clock: Clock, audit: Audit, options: TrainingSettings, mlflow: str
    ) -> None:
        self.home = home
        self.options = options
        self.clock = clock
        self.jobs = JobStore(database, clock, audit, max_queued=options.max_queued_per_tenant)
        self.leases = Leases(self.jobs, options)
        self.queue = Queue(self.jobs, options)
        self.studies = StudyStore(self.jobs)
        self.tracking = Tracking(mlflow)
        self.experiments = Experiments(self.jobs, self.tracking)

    @cached_property
    def features(self) -> FeatureRepository:
        """The feature repository; imports Feast when it is used."""
        return FeatureRepository(self.home.features)

    def submit(self, request: JobRequest, by: Principal, idempotency_key: str | None = None) -> Job:
        """Check a job and queue it.

        Raises:
            BadInput: it can never run; the field is named.
            Refused: the principal may not.
            Conflict: the key was used for another request.
        """
        check_job(request, self.home.features, self.options)
        return self.jobs.submit(request, by, check_key(idempotency_key))

    def plan(self, request: JobRequest, by: Principal) -> Plan:
        """What would become of a job that were submitted now; nothing is.

        Raises:
            BadInput: it is wrong beyond its size; the field is named.
            Refused: the principal may not look.
        """
        check_job(request, self.home.features)
        return plan_job(self.jobs, self.options, request, by, self.clock.now())

    def clean_up(self, by: Principal) -> Cleaned:
        """Remove what is past its days.

        Raises:
            Refused: the principal is no operator.
        """
        return clean_up(self.jobs, by)

    def retention(self) -> Retention:
        """The clean-up that a worker runs at intervals."""
        return Retention(self.jobs, self.options.retention_every_s)

    def start_study(self, request: StudyRequest, by: Principal, idempotency_key: str | None = None) -> StudyRecord:
        """Check a study and queue it, or resume the one of this name.

        Raises:
            BadInput: it can never run; the field is named.
            Refused: the principal may not.
            Conflict: it is at work already.
        """
        check_study(request, self.home.features, self.options)
        return self.studies.start(request, by, check_key(idempotency_key))

    def train_best(
        self,
        study_id: str,
        by: Principal,
        idempotency_key: str | None = None,
        *,
        name: str | None = None,
        register_as: str | None = None,
    ) -> Job:
        """Queue a job that trains the best parameters of a study on its data; the version's cost then holds the study's.

        Raises:
            NotFound: no such study.
            Conflict: it has no best trial yet.
            Refused: the principal may not.
        """
        study = self.studies.get(study_id, by)
        if study.best is None:
            raise Conflict(
                f"study {study_id!r} has no best trial yet", field="study_id", remedy="wait until its job has completed"
            )
        space = study.request.search_space
        request = JobRequest(
            name=name or study.name, tenant_id=study.tenant_id, model_type=space.model_type, priority=study.request.priority,
            data=study.request.data, register_as=register_as,
            params=space.fixed | dict(study.best["params"]) | {"seed": study.request.seed, "study_id": study.id},
        )  # fmt: skip
        return self.submit(request, by, idempotency_key)

    def study_page(self, study_id: str, by: Principal) -> str:
        """A study's page with its plots.

        Raises:
            NotFound: no such study, or it has no trial yet.
            Unreachable: the storage of studies does not answer.
        """
        from maestro.clients.optuna import Studies
        from maestro.training.search.result import page_of_study

        study = self.studies.get(study_id, by)
        if not study.trials:
            raise NotFound(f"study {study_id!r} has no trial yet", field="study_id", remedy="wait for its first trial")
        with closing(Studies(storage_url(self.home))) as studies:
            return page_of_study(studies, study.request.storage_name)

    def worker(self, *, environment: Mapping[str, str] | None = None, name: str | None = None) -> Worker:
        """A worker for every backend that this process can run."""
        own = {"MLFLOW_TRACKING_URI": self.tracking.url, "MAESTRO_HOME": str(self.home.root)}
        return Worker(
            self.leases, {item: backend(item) for item in offered()}, self.home.root / "attempts", self.options,
            environment=own | dict(environment or {}), name=name,
        )  # fmt: skip
