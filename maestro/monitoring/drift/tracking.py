"""A drift check as an MLflow run (`--log-mlflow`): scores as metrics, the result and the HTML report as artifacts."""

from __future__ import annotations

import json
import re
from pathlib import Path

from maestro.clients.result_run import log_result_run
from maestro.monitoring.drift.batch import DriftCheck

EXPERIMENT = "drift-monitoring"


def log_check(check: DriftCheck, uri: str, html: Path | None) -> str:
    """Log a check and give the run's id.

    Raises:
        Unreachable: MLflow does not answer.
    """
    columns = [*check.verdict.columns, *(check.target.columns if check.target else ())]
    metrics = {
        "drift_share": check.verdict.share,
        "drift_columns": float(len(check.verdict.drifted)),
        "drift_detected": float(check.drift),
        "quality_issues": float(len(check.quality.issues)),
    }
    for each in columns:
        name = _metric_name(each.column)
        metrics |= {
            f"effect/{name}": each.effect,
            f"effect_lower/{name}": each.effect_lower,
            f"p_adjusted/{name}": each.p_adjusted,
            f"psi/{name}": each.psi,
        }
    return log_result_run(
        uri,
        EXPERIMENT,
        f"drift-{check.dataset}",
        params={
            "dataset": check.dataset,
            "reference": check.reference,
            "drift_threshold": str(check.options.threshold),
            "material": str(check.options.material),
            "alert_threshold": str(check.options.high),
            "tests": ",".join(f"{each.column}:{each.test}" for each in columns),
        },
        metrics=metrics,
        tags={"maestro.kind": "drift", "maestro.verdict": "drift" if check.drift else "no_drift"},
        documents={"drift.json": json.dumps(check.document(), indent=2)},
        files=[html] if html is not None else [],
    )


def _metric_name(column: str) -> str:
    # MLflow's metric names know fewer characters than columns do.
    return re.sub(r"[^A-Za-z0-9_\-. /]", "_", column)
