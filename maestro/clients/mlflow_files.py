"""Files of MLflow runs that one process leaves for another: where they are, fetched without MLflow's client, removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from maestro.clients.mlflow import Tracking, import_mlflow
from maestro.core.errors import NotFound


def file_uri(tracking: Tracking, run_id: str, path: str) -> str:
    """The address of one of a run's artifacts, for `fetch_file`."""
    with tracking.translated("run_id"):
        return f"{str(tracking.client.get_run(run_id).info.artifact_uri).rstrip('/')}/{path}"


def remove_file(tracking: Tracking, run_id: str, path: str) -> None:
    """Delete one of a run's artifacts."""
    with tracking.translated("run_id"):
        client = tracking.client
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        uri = client.get_run(run_id).info.artifact_uri
        repository: Any = get_artifact_repository(str(uri), tracking_uri=tracking.url)
        repository.delete_artifacts(path)


def fetch_file(url: str, uri: str, target: Path) -> None:
    """Copy the artifact at `uri` to a file.

    What the server itself hands out is fetched without MLflow's client, whose import would cost a short-lived process more than the file does.

    Args:
        url: the tracking address.
        uri: as `Tracking.file_uri` gave it.
        target: the file to write.

    Raises:
        NotFound: it is not there.
        Unreachable: the server or its store does not answer.
    """
    parts = urlsplit(uri)
    if parts.scheme == "mlflow-artifacts" and url.startswith(("http://", "https://")):
        server = f"{urlsplit(url).scheme}://{parts.netloc}" if parts.netloc else url.rstrip("/")
        address = f"{server}/api/2.0/mlflow-artifacts/artifacts/{quote(parts.path.lstrip('/'))}"
        try:
            with httpx.stream("GET", address, timeout=60.0) as answer:
                if answer.status_code == httpx.codes.NOT_FOUND:
                    raise NotFound(f"MLflow has no file {uri}", field="uri", remedy="check the run in the MLflow UI")
                if answer.status_code == httpx.codes.OK:
                    with target.open("wb") as stream:
                        for block in answer.iter_bytes():
                            stream.write(block)
                    return
        except httpx.HTTPError as error:
            raise Tracking(url).unreachable(str(error) or type(error).__name__) from error
    tracking = Tracking(url)
    with tracking.translated():
        tracking.check()
        import_mlflow()
        from mlflow.artifacts import download_artifacts

        fetched = Path(download_artifacts(artifact_uri=uri, dst_path=str(target.parent), tracking_uri=url))
        fetched.replace(target)
