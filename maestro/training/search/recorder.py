"""Writes finished trials to MLflow and tells of them, in a thread of its own, so that the search does not wait for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from maestro.clients.mlflow import Tracking
from maestro.clients.optuna import TrialInfo
from maestro.core.errors import MaestroError
from maestro.training.search.request import StudyRequest
from maestro.training.search.scoring import spent_micros

Told = Callable[[TrialInfo, str | None, int], None]


class Recorder:
    """Records trials in their order.

    Args:
        tracking: MLflow, or None to record nothing there.
        experiment_id: where the study's run is.
        parent: the study's run; every trial is a child of it.
        request: of the study.
        told: called with each trial, its run and its cost in micro-dollars.
    """

    def __init__(
        self,
        tracking: Tracking | None,
        experiment_id: str,
        parent: str | None,
        request: StudyRequest,
        told: Told | None,
    ) -> None:
        self._tracking = tracking
        self._experiment_id = experiment_id
        self._parent = parent
        self._request = request
        self._told = told
        self._waiting: queue.SimpleQueue[TrialInfo | None] = queue.SimpleQueue()
        self._error: MaestroError | None = None
        self._known: dict[int, str] = {}
        self._thread = threading.Thread(target=self._run, name="trials", daemon=True)
        self._thread.start()

    def add(self, trial: TrialInfo) -> None:
        """Record a trial soon.

        Raises:
            MaestroError: an earlier one could not be recorded.
        """
        if self._error is not None:
            raise self._error
        self._waiting.put(trial)

    def close(self) -> None:
        """Wait until everything is recorded.

        Raises:
            MaestroError: something could not be recorded.
        """
        self._waiting.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def resume(self, ended: Sequence[TrialInfo]) -> None:
        """Record the trials of an earlier search that MLflow lacks, since it was killed before; tell of all of them again."""
        if ended and self._tracking is not None and self._parent is not None:
            where = f"tags.`mlflow.parentRunId` = '{self._parent}'"
            for run in self._tracking.runs([self._experiment_id], where=where, limit=50_000):
                if "maestro.trial" in run.tags:
                    self._known[int(run.tags["maestro.trial"])] = run.id
        for trial in ended:
            self.add(trial)

    def _run(self) -> None:
        while (trial := self._waiting.get()) is not None:
            if self._error is not None:
                continue
            try:
                run_id = self._log(trial)
            except MaestroError as error:
                self._error = error
                continue
            if self._told is not None:
                self._told(trial, run_id, spent_micros(trial))

    def _log(self, trial: TrialInfo) -> str | None:
        if trial.number in self._known:
            return self._known[trial.number]
        if self._tracking is None or self._parent is None:
            return None
        name = self._request.name
        tags = {"maestro.study": name, "maestro.trial": str(trial.number), "maestro.trial_state": trial.state}
        run_id = self._tracking.start_run(self._experiment_id, f"{name}-{trial.number}", tags, self._parent)
        metrics = {
            key: float(value)
            for key, value in trial.attributes.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if trial.values is not None and len(trial.values) == 1:
            metrics["objective"] = trial.values[0]
        metrics["cost_usd"] = spent_micros(trial) / 1e6
        self._tracking.log(run_id, params=trial.params, metrics=metrics)
        self._tracking.end_run(run_id, "FAILED" if trial.state == "fail" else "FINISHED")
        return run_id
