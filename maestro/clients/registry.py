"""MLflow's model registry and runs, as governance needs them. The registry is a record: nothing here moves traffic."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maestro.clients.mlflow import Tracking, import_mlflow
from maestro.core.errors import BadInput, MaestroError, NotFound, Unreachable
from maestro.core.model import Model, Time

if TYPE_CHECKING:
    from mlflow import MlflowClient

META_FILE = "registered_model_meta"
"""A file that MLflow's download adds and nobody logged."""

RUN_TAG, DIGEST_TAG, SEMVER_TAG, URI_TAG = "maestro.run_id", "maestro.digest", "maestro.version", "maestro.model_uri"


class RunDataset(Model):
    """A dataset that a run logged as its input."""

    name: str
    digest: str
    context: str = ""
    source_type: str = ""
    source: str = ""
    schema_: str = ""
    profile: str = ""


class RunRecord(Model):
    """What MLflow keeps of one run."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    started: Time | None = None
    ended: Time | None = None
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    datasets: tuple[RunDataset, ...] = ()
    model_ids: tuple[str, ...] = ()


class ModelRegistry:
    """One MLflow server or store.

    Thread-safe. Every write is idempotent. MLflow is imported at the first call.

    Args:
        uri: the tracking (and registry) URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def _client(self) -> MlflowClient:
        return Tracking(self.uri).client

    def download(self, model_uri: str, destination: Path) -> None:
        """Copy the files of a logged model into `destination`, which is emptied first.

        Raises:
            NotFound: there is no such model, or it holds no file.
            Unreachable: MLflow does not answer.
        """
        import_mlflow()
        from mlflow.artifacts import download_artifacts

        shutil.rmtree(destination, ignore_errors=True)
        destination.mkdir(parents=True)
        with self._translated(f"model {model_uri}", "model_uri"):
            self._point_mlflow_here()
            found = Path(
                download_artifacts(
                    artifact_uri=model_uri,
                    dst_path=str(destination),
                    tracking_uri=self.uri,
                    registry_uri=self.uri,
                )
            )
        if found.resolve() != destination.resolve():
            for entry in found.iterdir():
                entry.rename(destination / entry.name)
            found.rmdir()
        (destination / META_FILE).unlink(missing_ok=True)
        if not any(path.is_file() for path in destination.rglob("*")):
            raise NotFound(
                f"model {model_uri} holds no file", field="model_uri", remedy="train and log the model again"
            )

    def _point_mlflow_here(self) -> None:
        # MLflow resolves `models:/` by the process's own address, whatever a call is told
        mlflow = import_mlflow()
        if mlflow.get_tracking_uri() != self.uri:
            mlflow.set_tracking_uri(self.uri)
        if mlflow.get_registry_uri() != self.uri:
            mlflow.set_registry_uri(self.uri)

    def model_uri_of(self, run_id: str) -> str:
        """The URI of the one model that a run logged.

        Raises:
            NotFound: it logged none.
            BadInput: it logged several.
        """
        models = self.run(run_id).model_ids
        if not models:
            raise NotFound(f"run {run_id} logged no model", field="run_id", remedy="give a run that logged a model")
        if len(models) > 1:
            raise BadInput(
                f"run {run_id} logged {len(models)} models", field="model_uri", remedy="name one by model_uri"
            )
        return f"models:/{models[0]}"

    def run(self, run_id: str) -> RunRecord:
        """One run.

        Raises:
            NotFound: there is no such run.
            Unreachable: MLflow does not answer.
        """
        from datetime import UTC, datetime

        def instant(value: int | None) -> datetime | None:
            return None if value is None else datetime.fromtimestamp(value / 1000, UTC)

        with self._translated(f"run {run_id}", "run_id"):
            run = self._client.get_run(run_id)
        inputs: list[Any] = list(run.inputs.dataset_inputs) if run.inputs else []
        outputs: list[Any] = list(run.outputs.model_outputs) if run.outputs else []
        return RunRecord(
            run_id=run.info.run_id,
            experiment_id=str(run.info.experiment_id),
            name=run.info.run_name or run.info.run_id,
            status=str(run.info.status),
            started=instant(run.info.start_time),
            ended=instant(run.info.end_time),
            params={str(key): str(value) for key, value in run.data.params.items()},
            metrics={str(key): float(value) for key, value in run.data.metrics.items()},
            tags={str(key): str(value) for key, value in run.data.tags.items()},
            datasets=tuple(
                RunDataset(
                    name=item.dataset.name,
                    digest=item.dataset.digest,
                    context=next((tag.value for tag in item.tags if tag.key == "mlflow.data.context"), ""),
                    source_type=item.dataset.source_type,
                    source=item.dataset.source,
                    schema_=item.dataset.schema or "",
                    profile=item.dataset.profile or "",
                )
                for item in inputs
            ),
            model_ids=tuple(str(item.model_id) for item in outputs),
        )

    def artifact_text(self, run_id: str, path: str) -> str | None:
        """The text of a run's artifact, or None when it has none of that path."""
        import tempfile

        import_mlflow()
        from mlflow.artifacts import download_artifacts

        with self._translated(f"run {run_id}", "run_id"):
            folder = path.rpartition("/")[0] or None
            if path not in {item.path for item in self._client.list_artifacts(run_id, folder)}:
                return None
            with tempfile.TemporaryDirectory() as temporary:
                found = download_artifacts(
                    run_id=run_id, artifact_path=path, dst_path=temporary, tracking_uri=self.uri, registry_uri=self.uri
                )
                return Path(found).read_text()

    def log_text(self, run_id: str, text: str, path: str) -> None:
        """Store a text as a run's artifact, replacing what stood there."""
        with self._translated(f"run {run_id}", "run_id"):
            self._client.log_text(run_id, text, path)

    def ensure_version(self, model: str, *, run_id: str, model_uri: str, tags: Mapping[str, str]) -> str:
        """The registry's version of a run's model, made when it is not there yet.

        Returns:
            Its number.
        """
        import_mlflow()
        from mlflow.exceptions import MlflowException

        with self._translated(f"registered model {model}", "model"):
            try:
                self._client.get_registered_model(model)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self._create_model(model)
            wanted = {RUN_TAG: run_id, URI_TAG: model_uri, **tags}
            for found in self._client.search_model_versions(f"name = '{model}'"):
                if found.tags.get(RUN_TAG) == run_id or found.run_id == run_id:
                    for key, value in wanted.items():
                        if found.tags.get(key) != value:
                            self._client.set_model_version_tag(model, str(found.version), key, value)
                    return str(found.version)
            self._point_mlflow_here()
            # a server takes `models:/m-…` as a source only with the id of that model beside it
            identity = model_uri.removeprefix("models:/")
            created = self._client.create_model_version(
                model, model_uri, run_id=run_id, tags=dict(wanted), model_id=identity if identity != model_uri else None
            )
            return str(created.version)

    def _create_model(self, model: str) -> None:
        import_mlflow()
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def aliases(self, model: str) -> dict[str, str]:
        """Alias to registry version number; empty when the model is not registered."""
        import_mlflow()
        from mlflow.exceptions import MlflowException

        with self._translated(f"registered model {model}", "model"):
            try:
                found = self._client.get_registered_model(model)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
            return {str(alias): str(number) for alias, number in found.aliases.items()}

    def set_alias(self, model: str, alias: str, number: str) -> None:
        """Point `alias` at a version."""
        with self._translated(f"version {number} of {model}", "version"):
            self._client.set_registered_model_alias(model, alias, number)

    def set_tag(self, model: str, number: str, key: str, value: str) -> None:
        """Tag a version."""
        with self._translated(f"version {number} of {model}", "version"):
            self._client.set_model_version_tag(model, number, key, value)

    @contextmanager
    def _translated(self, what: str, field: str) -> Iterator[None]:
        import_mlflow()
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException

        try:
            yield
        except MaestroError:
            raise
        except MlflowException as error:
            code = str(error.error_code)
            if code == "INVALID_PARAMETER_VALUE":
                raise BadInput(f"MLflow refuses {what}: {_first_line(error)}", field=field) from error
            if code in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}:
                raise NotFound(
                    f"{what} does not exist in MLflow at {self.uri}", field=field, remedy="check the name in MLflow"
                ) from error
            raise self._unreachable(error) from error
        except (RequestException, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"MLflow at {self.uri} does not answer: {_first_line(error)}",
            remedy="run `make up`, or correct MAESTRO_MLFLOW_URL",
            component="mlflow",
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
