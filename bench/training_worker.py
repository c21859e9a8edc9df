"""One worker of the comparison of `bench.training`: `training_worker.py NAME OUT ROWS COLUMNS ROUNDS`, started by the launcher."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from maestro.training.distribution import Group, exchange


def rows_of(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, columns))
    target = (values[:, 0] * values[:, 1] + np.sin(values[:, 2] * 3) + rng.normal(scale=0.5, size=rows) > 0).astype(
        "int64"
    )
    return values, target


def ddp(group: Group) -> tuple[float, float]:
    """A network whose arithmetic outweighs its gradients: two convolutions over 64 × 64 pictures."""
    import torch
    from torch import nn

    from maestro.training.models.torch_fit import Fitting, fit_module, join, leave

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, 10),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(512, 3, 64, 64)).astype("float32"), rng.integers(0, 10, 512)
    losses: list[float] = []

    def loss(module: Any, inputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(module(inputs), targets)

    join(group, "cpu")
    exchange_barrier(group)
    began = time.perf_counter()
    fit_module(
        network,
        images,
        labels,
        loss,
        Fitting(1, 64, 0.001),
        group,
        told=lambda epoch, mean, seconds: losses.append(mean),
    )
    seconds = time.perf_counter() - began
    leave(group)
    return seconds, losses[-1]


def exchange_barrier(group: Group) -> None:
    if group.world > 1:
        import torch.distributed as dist

        dist.barrier()


def ours(library: str, group: Group, rows: int, columns: int, rounds: int) -> tuple[float, float]:
    import pandas as pd

    from maestro.training.models.boosting import Boosted

    values, target = rows_of(rows, columns)
    frame = pd.DataFrame(values, columns=[f"x{at}" for at in range(columns)])
    training = Boosted(
        library, "classification", {"n_estimators": rounds, "early_stopping_rounds": 0, "checkpoint_rounds": rounds}, 0
    )
    training.join(group)
    exchange(group, "ready")
    began = time.perf_counter()
    training.fit(frame, target)
    seconds = time.perf_counter() - began
    return seconds, log_loss(training.predict_proba(frame[:20_000])[:, 1], target[:20_000])


def by_hand(library: str, group: Group, rows: int, columns: int, rounds: int) -> tuple[float, float]:
    """The library's own collective on the same rows, with nothing of ours but the exchange of addresses."""
    from maestro.training.distribution import lightgbm_network, xgboost_group

    values, target = rows_of(rows, columns)
    exchange(group, "ready")
    began = time.perf_counter()
    mine = np.arange(len(values))[group.rank :: group.world]
    if library == "xgboost":
        import xgboost

        with xgboost_group(group):
            data = xgboost.QuantileDMatrix(values[mine], target[mine])
            booster = xgboost.train(
                {"objective": "binary:logistic", "tree_method": "hist", "nthread": 1}, data, num_boost_round=rounds
            )
        seconds = time.perf_counter() - began
        told = booster.inplace_predict(values[:20_000])
    else:
        import lightgbm

        model = lightgbm.LGBMClassifier(
            n_estimators=rounds,
            n_jobs=1,
            verbose=-1,
            deterministic=True,
            force_col_wise=True,
            **lightgbm_network(group),
        )
        model.fit(values[mine], target[mine])
        seconds = time.perf_counter() - began
        told = model.booster_.predict(values[:20_000])
        if group.world > 1:
            model.booster_.free_network()
    return seconds, log_loss(np.asarray(told), target[:20_000])


def log_loss(told: np.ndarray, target: np.ndarray) -> float:
    kept = np.clip(told, 1e-7, 1 - 1e-7)
    return float(-(target * np.log(kept) + (1 - target) * np.log(1 - kept)).mean())


def main(name: str, out: str, *sizes: str) -> None:
    group = Group.of()
    rows, columns, rounds = map(int, sizes)
    library, _, by = name.partition(" ")
    if library == "ddp":
        seconds, loss = ddp(group)
    else:
        seconds, loss = (by_hand if by else ours)(library, group, rows, columns, rounds)
    if group.leads:
        Path(out).write_text(json.dumps({"seconds": seconds, "loss": loss}))


if __name__ == "__main__":
    main(*sys.argv[1:])
