"""Evidently behind one adapter, in a process of its own: it takes seconds and 300 MB to import, and warns about itself.

The test of every column is named explicitly: Evidently's defaults change with the sample size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from maestro.core.errors import Unreachable
from maestro.core.model import Model

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["ks", "chisquare"]


class ReportRequest(Model):
    """What the process is asked for."""

    methods: dict[str, Method]
    threshold: float
    share: float


class EvidentlyColumn(Model):
    """What Evidently says of a column: the p-value of the named test, and the population stability index."""

    column: str
    method: Method
    p_value: float | None
    psi: float | None


def render_report(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    methods: Mapping[str, Method],
    out: Path,
    *,
    threshold: float,
    share: float,
    timeout_s: float = 180.0,
) -> tuple[EvidentlyColumn, ...]:
    """Write Evidently's drift report as one HTML file without external links.

    Args:
        reference: rows of the reference.
        current: rows of the current data.
        methods: column → its test; `ks` means numeric, `chisquare` categorical.
        out: the HTML file.
        threshold: of each column's p-value.
        share: of drifted columns above which Evidently calls the table drifted.
        timeout_s: how long it may take.

    Raises:
        Unreachable: the library is not installed, failed, or took too long; its last line is told.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for frame, file in ((reference, "reference.parquet"), (current, "current.parquet")):
            _plain(frame, methods).to_parquet(folder / file, index=False)
        request = ReportRequest(methods=dict(methods), threshold=threshold, share=share)
        (folder / "request.json").write_text(json.dumps(request.document()))
        try:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "maestro.clients.evidently", name],
                capture_output=True, text=True, timeout=timeout_s, check=False, env={**os.environ, "DO_NOT_TRACK": "1"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _failed(f"no report within {timeout_s:g} s") from None
        if done.returncode != 0:
            raise _failed((done.stderr.strip().splitlines() or ["no message"])[-1][:300])
        (folder / "report.html").replace(out) if _same_disk(folder, out) else out.write_bytes(
            (folder / "report.html").read_bytes()
        )
        return tuple(EvidentlyColumn.model_validate(each) for each in json.loads((folder / "columns.json").read_text()))


def _plain(frame: pd.DataFrame, methods: Mapping[str, Method]) -> pd.DataFrame:
    """Numbers as float64 and categories as text, which is all that Evidently has to know."""
    import pandas as pd

    columns = {}
    for name, method in methods.items():
        column = frame[name]
        columns[name] = (
            pd.to_numeric(column, errors="coerce").astype("float64")
            if method == "ks"
            else column.astype(object)
            .where(column.notna(), None)
            .map(lambda value: None if value is None else str(value))
        )
    return pd.DataFrame(columns)


def _same_disk(folder: Path, out: Path) -> bool:
    return folder.stat().st_dev == out.parent.stat().st_dev


def _failed(reason: str) -> Unreachable:
    return Unreachable(
        f"Evidently made no report: {reason}",
        remedy="install the extra `monitoring`, or leave the report out with --no-html",
        component="evidently",
    )


def main(folder: Path) -> None:
    """The process: read the request and the tables in `folder`, write `report.html` and `columns.json` there."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift
    from evidently.presets import DataDriftPreset

    request = ReportRequest.model_validate_json((folder / "request.json").read_text())
    methods = request.methods
    definition = DataDefinition(
        numerical_columns=[name for name, method in methods.items() if method == "ks"],
        categorical_columns=[name for name, method in methods.items() if method == "chisquare"],
    )
    reference, current = (
        Dataset.from_pandas(pd.read_parquet(folder / file), data_definition=definition)
        for file in ("reference.parquet", "current.parquet")
    )
    drift = DataDriftPreset(
        columns=list(methods),
        per_column_method=methods,
        per_column_threshold=dict.fromkeys(methods, request.threshold),
        drift_share=request.share,
    )
    stability = [ValueDrift(column=name, method="psi", threshold=0.2) for name in methods]
    snapshot = Report([drift, *stability]).run(current, reference)
    snapshot.save_html(str(folder / "report.html"))
    (folder / "columns.json").write_text(json.dumps(_columns(snapshot.dict()["metrics"], methods)))


def _columns(metrics: list[dict[str, Any]], methods: Mapping[str, Method]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], float] = {}
    for metric in metrics:
        config = metric["config"]
        if "column" in config and isinstance(metric["value"], int | float) and metric["value"] == metric["value"]:
            found[config["column"], config["method"]] = float(metric["value"])
    return [
        {"column": name, "method": method, "p_value": found.get((name, method)), "psi": found.get((name, "psi"))}
        for name, method in methods.items()
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
