"""Maestro ML: a model reaches production only by a statistically valid, signed, costed and replayable decision.

The functions of `maestro.client` are offered here (`maestro.train`, `maestro.versions`, …), imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maestro.client import (
        approvals,
        approve,
        cancel,
        decision_records,
        deploy,
        drift,
        job,
        jobs,
        lineage,
        predict,
        refuse,
        replay,
        retry,
        rollback,
        rollout,
        rollouts,
        sample_size,
        study,
        submit,
        train,
        tune,
        version,
        versions,
        wait,
    )

__version__ = "0.1.0"

__all__ = [
    "approvals",
    "approve",
    "cancel",
    "decision_records",
    "deploy",
    "drift",
    "job",
    "jobs",
    "lineage",
    "predict",
    "refuse",
    "replay",
    "retry",
    "rollback",
    "rollout",
    "rollouts",
    "sample_size",
    "study",
    "submit",
    "train",
    "tune",
    "version",
    "versions",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'maestro' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("maestro.client"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
