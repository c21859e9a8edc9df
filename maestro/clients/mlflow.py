"""MLflow behind one adapter: runs, data sets and models logged through its client, failures translated.

Importing MLflow where Feast is installed imports all of Feast, by a plugin for a request header that we do not use; `import_mlflow` leaves it out.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx

from maestro.core.errors import BadInput, Conflict, MaestroError, NotFound, Refused, Unreachable
from maestro.core.model import Model, Time

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_FEAST_PLUGIN = "feast.infra.data_sources.mlflow.auth"
_importing = threading.Lock()


def import_mlflow() -> ModuleType:
    """MLflow without Feast behind it, without telemetry, and giving up on a dead server within seconds."""
    with _importing:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        hidden = _FEAST_PLUGIN not in sys.modules
        if hidden:
            sys.modules[_FEAST_PLUGIN] = None  # type: ignore[assignment]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import mlflow
                import mlflow.tracking.request_header.registry
        finally:
            if hidden:
                sys.modules.pop(_FEAST_PLUGIN, None)
    import logging

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return mlflow


class ExperimentInfo(Model):
    """An MLflow experiment."""

    id: str
    name: str
    tags: dict[str, str] = {}


class RunInfo(Model):
    """An MLflow run with the last value of each metric."""

    id: str
    experiment_id: str
    name: str
    status: str
    started: Time | None = None
    ended: Time | None = None
    params: dict[str, str] = {}
    metrics: dict[str, float | None] = {}
    tags: dict[str, str] = {}


class MetricPoint(Model):
    """One value of a metric."""

    step: int
    at: Time
    value: float | None


class Tracking:
    """One tracking server, or one SQLite file by its `sqlite:///` address. Thread-safe.

    Args:
        url: the tracking address.
        artifacts: where a SQLite address keeps artifacts; a server decides itself.
    """

    def __init__(self, url: str, artifacts: Path | None = None) -> None:
        self.url = url
        self._artifacts = artifacts
        self._client: MlflowClient | None = None

    @property
    def client(self) -> MlflowClient:
        """MLflow's own client, built when first asked for."""
        if self._client is None:
            self.check()
            import_mlflow()
            from mlflow import MlflowClient

            with self.translated():
                self._client = MlflowClient(tracking_uri=self.url, registry_uri=self.url)
        return self._client

    def check(self) -> None:
        """Ask a server for its health, so that a dead one is named within seconds.

        Raises:
            Unreachable: it does not answer.
        """
        if not self.url.startswith(("http://", "https://")):
            return
        try:
            httpx.get(f"{self.url.rstrip('/')}/health", timeout=5.0).raise_for_status()
        except httpx.HTTPError as error:
            raise self.unreachable(str(error) or type(error).__name__) from error

    def experiment(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """The id of the experiment `name`, created where there is none.

        Raises:
            Conflict: it was deleted in MLflow.
        """
        with self.translated():
            found = self.client.get_experiment_by_name(name)
            if found is None:
                location = str(self._artifacts) if self._artifacts is not None else None
                try:
                    return str(self.client.create_experiment(name, artifact_location=location, tags=dict(tags or {})))
                except Exception:
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise
            if found.lifecycle_stage != "active":
                raise Conflict(
                    f"experiment {name!r} is deleted in MLflow",
                    field="name",
                    remedy="restore it or choose another name",
                )
            return str(found.experiment_id)

    def start_run(self, experiment_id: str, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Open a run, as a child of `parent` where given; returns its id."""
        everything = dict(tags) | ({"mlflow.parentRunId": parent} if parent else {})
        with self.translated():
            return str(self.client.create_run(experiment_id, run_name=name, tags=everything).info.run_id)

    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
    ) -> None:
        """Add to a run, in one request."""
        with self.translated():
            client = self.client
            from mlflow.entities import Metric, Param, RunTag

            now = int(time.time() * 1000)
            client.log_batch(
                run_id,
                metrics=[Metric(key, float(value), now, step) for key, value in (metrics or {}).items()],
                params=[Param(key, str(value)[:6000]) for key, value in (params or {}).items()],
                tags=[RunTag(key, str(value)[:8000]) for key, value in (tags or {}).items()],
            )

    def log_dataset(
        self, run_id: str, *, name: str, digest: str, source: Mapping[str, Any], schema: Mapping[str, str], rows: int
    ) -> None:
        """Record the data that a run was trained on; `digest` at most 36 characters."""
        with self.translated():
            client = self.client
            from mlflow.entities import Dataset, DatasetInput, InputTag

            columns = [{"type": kind, "name": column, "required": True} for column, kind in schema.items()]
            dataset = Dataset(
                name=name, digest=digest[:36], source_type="maestro", source=json.dumps(source),
                schema=json.dumps({"mlflow_colspec": columns}), profile=json.dumps({"num_rows": rows}),
            )  # fmt: skip
            client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def log_text(self, run_id: str, text: str, path: str) -> None:
        """Write a small file among the run's artifacts."""
        with self.translated():
            self.client.log_text(run_id, text, path)

    def log_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copy a file to the run's artifacts."""
        with self.translated():
            self.client.log_artifact(run_id, str(path), folder)

    def create_model(
        self,
        run_id: str,
        experiment_id: str,
        name: str,
        *,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        kind: str,
    ) -> str:
        """Announce a model of a run; returns its id `m-…`, pending until `publish_model`."""
        with self.translated():
            model = self.client.create_logged_model(
                experiment_id, name=name, source_run_id=run_id, tags=dict(tags),
                params={key: str(value)[:500] for key, value in params.items()}, model_type=kind,
            )  # fmt: skip
            return str(model.model_id)

    def publish_model(self, run_id: str, model_id: str, folder: Path) -> str:
        """Upload the model's folder and mark it ready; returns `models:/m-…`."""
        with self.translated():
            client = self.client
            from mlflow.entities import LoggedModelOutput

            client.log_model_artifacts(model_id, str(folder))
            client.finalize_logged_model(model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
        return f"models:/{model_id}"

    def discard_model(self, model_id: str) -> None:
        """Mark a model whose upload failed."""
        with self.translated():
            self.client.finalize_logged_model(model_id, "FAILED")

    def end_run(self, run_id: str, status: str = "FINISHED") -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
        with self.translated():
            self.client.set_terminated(run_id, status)

    def run(self, run_id: str) -> RunInfo:
        """One run.

        Raises:
            NotFound: no such run.
        """
        with self.translated("run_id"):
            return _run_info(self.client.get_run(run_id))

    def experiments(self, name: str | None = None) -> list[ExperimentInfo]:
        """The active experiments, or the one called `name`."""
        with self.translated():
            found = self.client.search_experiments(filter_string=f"name = '{_quoted(name)}'" if name else None)
            return [ExperimentInfo(id=str(item.experiment_id), name=item.name, tags=dict(item.tags)) for item in found]

    def runs(
        self,
        experiment_ids: Sequence[str],
        *,
        where: str = "",
        limit: int = 200,
        order: str = "attributes.start_time DESC",
    ) -> list[RunInfo]:
        """Runs by MLflow's search syntax, newest first."""
        with self.translated():
            found = self.client.search_runs(
                list(experiment_ids), filter_string=where, max_results=limit, order_by=[order]
            )
            return [_run_info(item) for item in found]

    def metric_history(self, run_id: str, metric: str) -> list[MetricPoint]:
        """Every value of one metric, by step.

        Raises:
            NotFound: no such run, or it has no such metric.
        """
        with self.translated("run_id"):
            points = self.client.get_metric_history(run_id, metric)
        if not points:
            raise NotFound(
                f"run {run_id} has no metric {metric!r}", field="metric", remedy="read the run to see its metrics"
            )
        return [
            MetricPoint(step=point.step, at=_moment(point.timestamp), value=_finite(point.value))
            for point in sorted(points, key=lambda item: (item.step, item.timestamp))
        ]

    @contextlib.contextmanager
    def translated(self, field: str | None = None) -> Iterator[None]:
        """Tell MLflow's failures as ours."""
        try:
            yield
        except MaestroError:
            raise
        except Exception as error:
            raise self._error(error, field) from error

    def _error(self, error: Exception, field: str | None) -> Exception:
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException
        from sqlalchemy.exc import OperationalError

        if isinstance(error, RequestException) and _refused_by_store(str(error)):
            return self._no_artifact(str(error).splitlines()[0])
        if isinstance(error, (RequestException, OperationalError)):
            return self.unreachable(str(error).splitlines()[0])
        if not isinstance(error, MlflowException):
            return error
        text = str(error).splitlines()[0]
        if _refused_by_store(text):
            return self._no_artifact(text)
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" or "not found" in text:
            return NotFound(f"MLflow: {text}", field=field, remedy="check the id in the MLflow UI")
        if error.error_code == "RESOURCE_ALREADY_EXISTS":
            return Conflict(f"MLflow: {text}", field=field, remedy="choose another name")
        if error.error_code == "PERMISSION_DENIED":
            return Refused(f"MLflow: {text}", remedy="check the tracking server's --allowed-hosts")
        if (
            "failed with exception" in text
            or "Max retries" in text
            or "connection" in text.lower()
            or "database is locked" in text
        ):
            return self.unreachable(text)
        return BadInput(f"MLflow: {text}", field=field, remedy="correct the request")

    def _no_artifact(self, reason: str) -> Unreachable:
        """MLflow answers, and its artifact store does not take the file: metrics and parameters can still be logged."""
        return Unreachable(
            f"MLflow's artifact store refused a file: {reason}",
            remedy="look after the store's disk, permissions or bucket", component="artifacts",
        )  # fmt: skip

    def unreachable(self, reason: str) -> Unreachable:
        """The error of a server that does not answer."""
        return Unreachable(
            f"MLflow at {self.url} does not answer: {reason}",
            remedy="run `make up`, or correct MAESTRO_MLFLOW_URL", component="mlflow",
        )  # fmt: skip


def _refused_by_store(text: str) -> bool:
    return "mlflow-artifacts" in text and ("error responses" in text or "Server Error" in text)


def _run_info(run: Run) -> RunInfo:
    return RunInfo(
        id=run.info.run_id, experiment_id=str(run.info.experiment_id), name=run.info.run_name or "", status=str(run.info.status),
        started=_moment(run.info.start_time) if run.info.start_time else None,
        ended=_moment(run.info.end_time) if run.info.end_time else None,
        params=dict(run.data.params), metrics={key: _finite(value) for key, value in run.data.metrics.items()},
        tags={key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.log-model")},
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return value if value - value == 0 else None


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
