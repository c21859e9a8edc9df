"""A version that has been verified, loaded and warmed."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maestro.core.contract import ModelContract
from maestro.serving.batching import Batcher
from maestro.serving.breaker import Breaker, CircuitBreaker
from maestro.serving.caches import PredictionCache
from maestro.serving.contract import Validator
from maestro.serving.runtimes._base import ModelRuntime


class LoadedVersion:
    """What answers for one digest; shared by every graph that pins it.

    Args:
        trained: the sorted entity hashes (uint64) that the version was trained on; None when it says nothing about them.
        folder: the private copy of its files, removed on close; None when they belong to another process.
        signed: False when it was let in unsigned.
        queue_limit: requests that may wait for it.
    """

    def __init__(
        self,
        *,
        model: str,
        version: str,
        digest: str,
        contract: ModelContract,
        validator: Validator,
        runtime: ModelRuntime,
        trained: NDArray[np.uint64] | None,
        folder: Path | None,
        signed: bool,
        queue_limit: int = 1024,
    ) -> None:
        self.model = model
        self.version = version
        self.digest = digest
        self.contract = contract
        self.validator = validator
        self.runtime = runtime
        self.trained = trained
        self.folder = folder
        self.signed = signed
        self.breaker: CircuitBreaker = Breaker()  # replaced by its server's own
        self.answers: PredictionCache | None = None  # set where its process remembers answers
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"predict-{version}")
        self.batcher = Batcher(runtime, self._executor, limit=queue_limit)

    def close(self) -> None:
        """Release the runtime, its thread and its files."""
        self.runtime.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
