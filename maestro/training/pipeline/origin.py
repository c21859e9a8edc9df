"""Facts on where a model came from, for governance to read: no lineage call stands in training code."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from maestro import __version__
from maestro.core.model import Model
from maestro.training.pipeline.load import FrameInfo
from maestro.training.pipeline.train import Trained

PACKAGES = ("scikit-learn", "numpy", "pandas", "skops", "scipy")
"""What a served model needs to be loaded again."""

LIBRARIES = {
    "xgboost-cpu": "xgboost", "xgboost": "xgboost", "lightgbm": "lightgbm", "torch": "torch", "tensorflow-cpu": "tensorflow",
    "tensorflow": "tensorflow", "maestro-ml": "maestro",
}  # fmt: skip
"""Package to the module that a model of it is from; only what is installed is pinned."""


class CodeVersion(Model):
    """The code that trained."""

    maestro: str
    python: str
    git_commit: str | None = None
    git_branch: str | None = None
    git_dirty: bool | None = None


@lru_cache(maxsize=1)
def code_version() -> CodeVersion:
    """This process's code: package version and, in a checkout, the commit."""
    folder = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = os.environ.get("MAESTRO_GIT_COMMIT") or git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return CodeVersion(
        maestro=__version__, python=platform.python_version(), git_commit=commit or None, git_branch=git("branch", "--show-current") or None,
        git_dirty=bool(changed) if changed is not None else None,
    )  # fmt: skip


def requirements(model: Any = None) -> list[str]:
    """The pinned packages that the model needs: scikit-learn's, and those of the libraries that the model is made of."""
    modules = {part.split(".")[0] for part in _modules(model)}
    wanted = [*PACKAGES, *(package for package, module in LIBRARIES.items() if module in modules)]
    pins = []
    for package in wanted:
        try:
            pins.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return pins


def _modules(model: Any) -> set[str]:
    """The modules of the model's class and of the estimators inside it."""
    parts = [model, *(step for _, step in getattr(model, "steps", [])), getattr(model, "model", None)]
    return {type(part).__module__ for part in parts if part is not None}


def lineage(
    info: FrameInfo,
    trained: Trained,
    *,
    job: dict[str, Any],
    run_id: str,
    wall_s: float,
    cost_usd_micros: int,
    sample_count: int,
) -> dict[str, Any]:
    """The facts of one run: data, features, model, code and cost (`lineage.json`, schema `maestro.lineage/1`)."""
    return {
        "schema": "maestro.lineage/1",
        "run_id": run_id,
        "job": job,
        "data": {
            "dataset": info.dataset, "version": info.version, "content": info.content, "source": info.source,
            "schema": info.schema_columns, "sample_count": sample_count, "rows": info.rows, "target": info.target,
            "entity_keys": list(info.entity_keys), "first_event": info.first_event, "last_event": info.last_event,
        },
        "features": {
            "service": info.service, "fingerprint": info.fingerprint, "views": list(info.views), "features": list(info.features),
        },
        "model": {
            "algorithm": trained.algorithm, "hyperparameters": trained.params, "training_time_s": round(trained.seconds, 4),
            "wall_time_s": round(wall_s, 3), "code": code_version().document(),
        },
        "cost": {"usd_micros": cost_usd_micros},
    }  # fmt: skip


def lineage_tags(facts: dict[str, Any]) -> dict[str, str]:
    """The same facts as MLflow tags, for searching."""
    data, features, model = facts["data"], facts["features"], facts["model"]
    tags = {
        "maestro.dataset": data["dataset"], "maestro.dataset_version": data["version"], "maestro.dataset_source": data["source"],
        "maestro.sample_count": str(data["sample_count"]), "maestro.feature_service": features["service"],
        "maestro.feature_views": ",".join(features["views"]), "maestro.algorithm": model["algorithm"],
        "maestro.training_time_s": str(model["training_time_s"]), "maestro.version": model["code"]["maestro"],
        "maestro.cost_usd_micros": str(facts["cost"]["usd_micros"]),
    }  # fmt: skip
    commit = model["code"].get("git_commit")
    return tags | (
        {"mlflow.source.git.commit": commit, "maestro.code_version": f"{model['code']['maestro']}+{commit[:12]}"}
        if commit
        else {}
    )
