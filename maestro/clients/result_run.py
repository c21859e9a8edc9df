"""Results of a check as an MLflow run: parameters, metrics, tags and files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from maestro.core.errors import Unreachable


def log_result_run(
    uri: str,
    experiment: str,
    run_name: str,
    *,
    params: Mapping[str, str],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    documents: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
) -> str:
    """Log one finished run.

    Args:
        uri: the tracking server.
        experiment: created when absent.
        run_name: what people see.
        params: inputs.
        metrics: numbers.
        tags: further facts.
        documents: artifact path → its text.
        files: files to upload.

    Returns:
        The run's id.

    Raises:
        Unreachable: MLflow does not answer or refuses.
    """
    # MLflow's own retries would keep the caller waiting for minutes when the server is gone.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # a command's standard output is one JSON document
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found is not None else client.create_experiment(experiment)
        run = client.create_run(experiment_id, run_name=run_name)
        run_id: str = run.info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, run.info.start_time, 0) for key, value in metrics.items()],
            params=[Param(key, value[:6000]) for key, value in params.items()],
            tags=[RunTag(key, value[:5000]) for key, value in tags.items()],
        )
        for path, text in (documents or {}).items():
            client.log_text(run_id, text, path)
        for file in files:
            client.log_artifact(run_id, str(file))
        client.set_terminated(run_id)
    except (MlflowException, RequestException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise Unreachable(
            f"MLflow at {uri} does not answer: {reason}",
            remedy="run `make up`, or correct MAESTRO_MLFLOW_URL; or leave out --log-mlflow",
            component="mlflow",
        ) from error
    return run_id
