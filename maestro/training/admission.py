"""What is refused before a job is queued, so that a mistake costs a second and not a place in the queue."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from maestro.clients.feast import catalogue
from maestro.clients.optuna_samplers import check_sampler
from maestro.core.errors import BadInput
from maestro.core.jobs import DataSpec, JobRequest
from maestro.core.settings import TrainingSettings
from maestro.decisions.queue_order import too_large
from maestro.training.backends import check_backend
from maestro.training.limits import claim_of_request, limits_of
from maestro.training.models import PROGRAMS, check_model_type
from maestro.training.pipeline.load import FILE_SERVICE, NO_DATA
from maestro.training.search.request import StudyRequest

_FIELDS = {
    "cores": "resources.cpu",
    "gpus": "resources.gpu",
    "memory_bytes": "resources.memory",
    "jobs_per_backend": "backend",
}
_ANY = datetime(2026, 1, 1, tzinfo=UTC)


def check_job(request: JobRequest, features: Path, options: TrainingSettings | None = None) -> None:
    """Refuse a job that can never run.

    Args:
        request: the job.
        features: the feature repository.
        options: the limits; without them its size is not judged.

    Raises:
        BadInput: backend, kind of model or feature service do not exist, the window of dates is empty, or it is beyond a limit; the field is named.
    """
    check_backend(request.backend)
    check_model_type(request.model_type)
    if request.backend == "local" and request.resources.gpu:
        raise BadInput(
            "the local backend has no GPUs to give", field="resources.gpu", remedy="ask for 0, or use a cluster backend"
        )
    if request.model_type not in PROGRAMS or request.data.feature_service != NO_DATA:
        check_data(request.data, features)
    if options is not None and (found := too_large(claim_of_request("", request, _ANY), limits_of(options))):
        limit, reason = found
        raise BadInput(f"the job {reason}", field=_FIELDS[limit], remedy="ask for less, or have the limit raised")


def check_study(request: StudyRequest, features: Path, options: TrainingSettings | None = None) -> None:
    """Refuse a study that can never run.

    Raises:
        BadInput: as for a job, and an unknown space.
    """
    check_backend(request.backend)
    space = request.search_space
    check_model_type(space.model_type, "space")
    check_sampler(request.sampler, space.numeric, len(request.objectives))
    cores = request.n_jobs * request.trial_cpu
    if options is not None and options.max_cores is not None and cores > options.max_cores:
        raise BadInput(
            f"{request.n_jobs} trials at once can never start: the limit is {options.max_cores:g} cores",
            field="n_jobs", remedy="ask for fewer at once, or have the limit raised",
        )  # fmt: skip
    check_data(request.data, features)


def check_data(spec: DataSpec, features: Path) -> None:
    """Refuse data that do not exist. Nothing is read: the catalogue that `features apply` wrote is asked."""
    if spec.from_ and spec.to and spec.to < spec.from_:
        raise BadInput(
            f"data.to {spec.to} is before data.from {spec.from_}", field="data.to", remedy="give a later date"
        )
    if spec.feature_service == FILE_SERVICE:
        for name in ("entities", "target"):
            if getattr(spec, name) is None:
                raise BadInput(
                    f"feature_service `file` needs data.{name}",
                    field=f"data.{name}",
                    remedy="name the Parquet file and its label column",
                )
        return
    known = catalogue(features)
    if spec.feature_service not in known:
        raise BadInput(
            f"feature service {spec.feature_service!r} is not in the registry", field="data.feature_service",
            remedy=f"known: {', '.join(sorted(known)) or 'none: run `maestro features apply`'}",
        )  # fmt: skip
