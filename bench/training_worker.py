"""One worker of the comparison of `bench.training`: `training_worker.py NAME OUT ROWS COLUMNS ROUNDS`, started by the launcher."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
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


BATCH, EPOCHS, CHANNELS, SIDE = 256, 10, 128, 16


def _pictures() -> tuple[Any, np.ndarray, np.ndarray]:
    """A network whose arithmetic outweighs its gradients, two wide convolutions over small pictures, and rows for it."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    return network, rng.normal(size=(1024, 3, SIDE, SIDE)).astype("float32"), rng.integers(0, 10, 1024)


def ddp(group: Group) -> tuple[float, float]:
    """By our own fitting."""
    from maestro.training.models.torch_fit import join, leave

    join(group, "cpu")
    found = _fitted(_pictures(), BATCH, group, lambda: exchange_barrier(group))
    leave(group)
    return found


def apart(group: Group, *, shared: bool) -> tuple[float, float]:
    """The same fitting without a word between the workers, after a common start: what the machine lets two cores do at once.

    Args:
        group: who starts together.
        shared: whether each takes its share of every batch, as DDP does; otherwise each does the whole work of one.
    """
    from maestro.training.distribution import ALONE

    pictures, batch = _pictures(), BATCH
    if shared:
        network, images, labels = pictures
        mine = slice(group.rank, None, group.world)
        pictures, batch = (network, images[mine], labels[mine]), BATCH // group.world
    seconds, loss = _fitted(pictures, batch, ALONE, lambda: exchange(group, "ready"))
    # the slower of them is the time of both
    return max(exchange(group, seconds)), loss


def _fitted(
    pictures: tuple[Any, np.ndarray, np.ndarray], batch: int, group: Group, ready: Callable[[], object]
) -> tuple[float, float]:
    """Seconds and last loss, after one step of a copy: the first optimiser of a process imports for seconds.

    Args:
        ready: called between that step and the clock's start.
    """
    from copy import deepcopy

    from torch import nn

    from maestro.training.models.torch_fit import Fitting, fit_module

    network, images, labels = pictures
    losses: list[float] = []

    def loss(module: Any, inputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(module(inputs), targets)

    fit_module(deepcopy(network), images[:batch], labels[:batch], loss, Fitting(1, batch, 0.001), group)
    ready()
    began = time.perf_counter()
    fit_module(
        network, images, labels, loss, Fitting(EPOCHS, batch, 0.001), group,
        told=lambda epoch, mean, seconds: losses.append(mean),
    )  # fmt: skip
    return time.perf_counter() - began, losses[-1]


def ddp_by_hand(group: Group) -> tuple[float, float]:
    """The loop of a tutorial, with the same steps; the loss is that of the rows of this worker."""
    import torch
    from torch import nn

    from maestro.training.models.torch_fit import join, leave

    network, images, labels = _pictures()
    join(group, "cpu")
    wrapped = nn.parallel.DistributedDataParallel(network) if group.world > 1 else network
    optimiser = torch.optim.AdamW(wrapped.parameters(), lr=0.001, weight_decay=0.01)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps * EPOCHS)
    exchange_barrier(group)
    began = time.perf_counter()
    for epoch in range(EPOCHS):
        order = np.random.default_rng((0, epoch + 1)).permutation(len(images))
        total = 0.0
        for step in range(steps):
            mine = order[step * BATCH : (step + 1) * BATCH][group.rank :: group.world]
            optimiser.zero_grad()
            value = nn.functional.cross_entropy(wrapped(torch.from_numpy(images[mine])), torch.from_numpy(labels[mine]))
            value.backward()
            optimiser.step()
            schedule.step()
            total += float(value.detach()) / steps
    seconds = time.perf_counter() - began
    leave(group)
    return seconds, total


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
    if library == "apart":
        seconds, loss = apart(group, shared=by == "shares")
    elif library == "ddp":
        seconds, loss = (ddp_by_hand if by else ddp)(group)
    else:
        seconds, loss = (by_hand if by else ours)(library, group, rows, columns, rounds)
    if group.leads:
        Path(out).write_text(json.dumps({"seconds": seconds, "loss": loss}))


if __name__ == "__main__":
    main(*sys.argv[1:])
