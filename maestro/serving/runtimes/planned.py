"""A version that answers by its plan. Where it has none that holds, a process of its own prepares it first."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import maestro
from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError
from maestro.serving.runtimes._base import ORIGINAL, Answers, ModelFailed, ModelRuntime
from maestro.serving.runtimes.cost import Costs
from maestro.serving.runtimes.onnx import FILE as ONNX_FILE
from maestro.serving.runtimes.onnx import OnnxRuntime
from maestro.serving.runtimes.plan import Plan, PlanStore
from maestro.serving.runtimes.pyfunc import PyfuncRuntime
from maestro.serving.runtimes.trees import TreesRuntime
from maestro.serving.table import Batch, Prediction

log = logging.getLogger(__name__)

PREPARE_S = 300.0
"""How long preparing a version may take."""


class PlannedRuntime:
    """The fast paths of the plan, by the batch's size; the original where the plan says so.

    Where a version cannot be prepared here at all (its libraries or the sandbox are missing), what its package brings as ONNX answers, which the
    training that wrote it has held against the model; else the original, which says what it lacks.

    Args:
        folder: the version's private folder, an MLflow model.
        contract: of the version.
        digest: of the version.
        store: where plans lie.
        private: what a model's own process must not be able to read.
    """

    kind: ClassVar[str] = "planned"

    def __init__(
        self, folder: Path, contract: ModelContract, *, digest: str, store: PlanStore, private: Sequence[Path] = ()
    ) -> None:
        self._folder = folder
        self._contract = contract
        self._digest = digest
        self._store = store
        self._private = private
        self._from: list[int] = [1]
        self._runtimes: list[ModelRuntime] = []

    @property
    def quick(self) -> bool:
        """Of what answers one row."""
        return bool(self._runtimes) and self._runtimes[0].quick

    @property
    def path(self) -> str:
        """What answers, in the order of the batch's size."""
        return "+".join(dict.fromkeys(runtime.path for runtime in self._runtimes))

    @property
    def inline(self) -> bool:
        """Of what answers one row."""
        return bool(self._runtimes) and self._runtimes[0].inline

    def cost_us(self, rows: int) -> float:
        """Of what answers so many rows."""
        return self._of(rows).cost_us(rows)

    def load(self) -> None:
        """Find the plan, or have it made, and load what it names."""
        found = self._store.find(self._digest)
        if found is None:
            prepare(self._folder, self._digest, self._store, self._private)
            found = self._store.find(self._digest)
        if found is None:
            self._load_unprepared()
            return
        plan, folder = found
        log.info("%s: %s", self._digest, plan.why)
        if not plan.choices:
            self._take([1], [PyfuncRuntime(self._folder, self._contract, self._private)])
            return
        paths = {choice.path: path_runtime(plan, choice.path, folder, self._contract) for choice in plan.choices}
        self._take([choice.rows for choice in plan.choices], [paths[choice.path] for choice in plan.choices])

    def _load_unprepared(self) -> None:
        if (self._folder / ONNX_FILE).is_file():
            log.warning("%s could not be prepared here: its package's own %s answers", self._digest, ONNX_FILE)
            self._take([1], [OnnxRuntime(self._folder, self._contract)])
            return
        self._take([1], [PyfuncRuntime(self._folder, self._contract, self._private)])

    def _take(self, begins: list[int], runtimes: list[ModelRuntime]) -> None:
        for runtime in dict.fromkeys(runtimes):
            runtime.load()
        self._from, self._runtimes = begins, runtimes

    def warm_up(self, sample: Batch) -> None:
        """Of every path. What was proven may refuse the sample, whose texts no contract names; the original may not."""
        for runtime in dict.fromkeys(self._runtimes):
            try:
                runtime.warm_up(sample)
            except ModelFailed as error:
                if runtime.path == ORIGINAL or "string" not in sample.types:
                    raise
                log.info("%s: not warmed up: %s", self._digest, error.detail)

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        """By the path for the batch's size."""
        return self._of(batch.size).predict(batch, timeout_s)

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        """By the path for the batch's size."""
        return self._of(batch.size).answer(batch, timeout_s)

    def _of(self, rows: int) -> ModelRuntime:
        runtimes = self._runtimes
        if not runtimes:
            raise ModelFailed("the version is not loaded", remedy="ask again: the graph has moved on")
        return runtimes[0] if len(runtimes) == 1 else runtimes[bisect_right(self._from, rows) - 1]

    def close(self) -> None:
        """Of every path."""
        runtimes, self._runtimes = self._runtimes, []
        for runtime in dict.fromkeys(runtimes):
            runtime.close()


def path_runtime(plan: Plan, name: str, folder: Path, contract: ModelContract) -> ModelRuntime:
    """The runtime of one of a plan's paths; not loaded yet."""
    path = plan.path(name)
    costs = Costs(path.us)
    if path.name == "trees":
        return TreesRuntime(folder, contract, costs=costs)
    return OnnxRuntime(folder, contract, labels=path.labels, costs=costs)


def prepare(folder: Path, digest: str, store: PlanStore, private: Sequence[Path]) -> str | None:
    """Have a version prepared in a process of its own; None when that worked, else why not, which is logged too.

    Whoever asks for the same version meanwhile waits for the first.
    """
    package = Path(maestro.__file__).resolve().parent.parent
    command = [
        sys.executable, "-P", "-m", "maestro.serving.prepare", "--files", str(folder), "--digest", digest, "--plans", str(store.root),
        *(word for path in private for word in ("--private", str(path))),
    ]  # fmt: skip
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    log.info("%s has no plan that holds here: preparing", digest)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PREPARE_S, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired, MaestroError) as error:
        reason = f"{type(error).__name__}: {error}"
    else:
        if done.returncode == 0:
            return None
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    log.warning("%s was not prepared: %s", digest, reason)
    return reason
