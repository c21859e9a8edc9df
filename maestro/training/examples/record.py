"""What a script tells and logs: its lines, and everything about its run in MLflow where `MLFLOW_TRACKING_URI` says so."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maestro.core.errors import MaestroError, Unreachable
from maestro.core.jobs import DataSpec, JobRequest, Resources
from maestro.core.rates import load_rates
from maestro.training.billing import bill_attempt
from maestro.training.distribution import ALONE, Group
from maestro.training.pipeline.origin import code_version, requirements


class Record:
    """One run of a script. Only rank 0 prints and logs. MLflow away is said once and costs no training.

    Args:
        name: of the MLflow experiment and the run.
        group: of this process.
        data: name, version, source and rows of the data.
        cores, gpus: what the run is billed for.
    """

    def __init__(
        self, name: str, group: Group = ALONE, *, data: Mapping[str, Any], cores: int = 1, gpus: int = 0
    ) -> None:
        self._began = time.monotonic()
        self._name, self._leads, self._data = name, group.leads, dict(data)
        self._request = JobRequest(
            name=name, model_type="command", workers=group.world, data=DataSpec(feature_service="none"),
            resources=Resources(cpu=max(cores, 1), gpu=gpus),
        )  # fmt: skip
        self._run_id: str | None = None
        self._owns = False
        self._tracking: Any = None
        self.missing: list[str] = []
        url = os.environ.get("MLFLOW_TRACKING_URI")
        if url and self._leads:
            self._safely("run", lambda: self._open(url))

    def say(self, text: str) -> None:
        """One line on standard output."""
        if self._leads:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def params(self, params: Mapping[str, Any]) -> None:
        """The parameters of the run."""
        self._safely("parameters", lambda: self._tracking.log(self._run_id, params=params))

    def epoch(self, number: int, of: int, metrics: Mapping[str, float], seconds: float) -> None:
        """One line for an epoch, and its metrics as a step."""
        shown = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        self.say(f"epoch {number}/{of}  {shown}  {seconds:.1f} s")
        self._safely("metrics", lambda: self._tracking.log(self._run_id, metrics=dict(metrics), step=number))

    def end(self, metrics: Mapping[str, float], model: Path | None = None, shown: str = "accuracy") -> None:
        """The closing lines: duration, cost, and the metric that counts; then the rest to MLflow."""
        wall_s = time.monotonic() - self._began
        own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
        bill = bill_attempt(self._request, wall_s, cpu_s, own.ru_maxrss * 1024, load_rates())
        self.say(f"duration: {wall_s:.1f} s")
        self.say(f"cost: ${bill.bill_usd_micros / 1e6:.6f}")
        self.say(f"{shown}: {metrics[shown]:.4f}")
        costs = {
            "cost_usd": bill.bill_usd_micros / 1e6, "wall_seconds": bill.wall_s, "cpu_seconds": bill.cpu_s,
            "peak_memory_mb": own.ru_maxrss / 1024,
        }  # fmt: skip
        self._safely("metrics", lambda: self._tracking.log(self._run_id, metrics={**metrics, **costs}))
        self._safely("lineage", lambda: self._facts(wall_s, bill.bill_usd_micros))
        if model is not None:
            self._safely("model", lambda: self._tracking.log_file(self._run_id, model, "model"))
        self._leave(dict(metrics) | costs, model)
        if self._owns:
            self._safely("end of the run", lambda: self._tracking.end_run(self._run_id, "FINISHED"))
        for what in self.missing:
            self.say(f"not logged: {what}")
        if self._run_id:
            self.say(f"run: {self._run_id}")

    def _leave(self, metrics: dict[str, float], model: Path | None) -> None:
        """As a job: what the job's attempt logs is left in its output folder."""
        output = os.environ.get("MAESTRO_OUTPUT")
        if output and self._leads:
            (Path(output) / "metrics.json").write_text(json.dumps(metrics))
            if model is not None:
                (Path(output) / model.name).write_bytes(model.read_bytes())

    def _open(self, url: str) -> None:
        from maestro.clients.mlflow import Tracking

        self._tracking = Tracking(url)
        inherited = os.environ.get("MLFLOW_RUN_ID")
        if inherited:
            self._run_id = inherited
        else:
            code = code_version()
            tags = {
                "maestro.version": code.maestro,
                "mlflow.source.name": f"training/examples/{self._name}",
                "mlflow.source.type": "LOCAL",
            }
            if code.git_commit:
                tags["mlflow.source.git.commit"] = code.git_commit
            self._run_id = self._tracking.start_run(self._tracking.experiment(self._name), self._name, tags)
            self._owns = True
        self._tracking.log_dataset(
            self._run_id, name=self._data["name"], digest=self._data["version"], rows=self._data["rows"], schema={},
            source={"source": self._data["source"], "version": self._data["version"]},
        )  # fmt: skip

    def _facts(self, wall_s: float, micros: int) -> None:
        facts = {
            "schema": "maestro.lineage/1", "run_id": self._run_id, "data": self._data,
            "model": {"algorithm": self._name, "wall_time_s": round(wall_s, 3), "code": code_version().document()},
            "cost": {"usd_micros": micros},
        }  # fmt: skip
        self._tracking.log_text(self._run_id, json.dumps(facts, indent=2), "lineage.json")
        self._tracking.log_text(self._run_id, "\n".join(requirements()) + "\n", "environment/requirements.txt")

    def _safely(self, what: str, action: Any) -> None:
        if what != "run" and (self._run_id is None or not self._leads):
            return
        try:
            action()
        except Unreachable as error:
            self._run_id = None
            self.missing.append(f"{what} and what follows: {error.detail}")
        except (MaestroError, OSError) as error:
            self.missing.append(f"{what}: {error}")
