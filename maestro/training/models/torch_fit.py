"""Fitting a PyTorch module, alone or with a group (DistributedDataParallel), so that a killed training ends as one that was not.

Everything random is drawn from (seed, epoch) or (seed, step), so a checkpoint needs only the module, the optimiser and the place in the data. The rows of a step are those of the
whole group: each worker takes its share of them, and gradients are averaged.
"""

from __future__ import annotations

import gc
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from maestro.core.errors import BadInput
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import Group


@dataclass(frozen=True)
class Fitting:
    """How a module is fitted.

    Args:
        epochs: passes over the rows.
        batch: rows of one step, of all workers together.
        lr: learning rate of AdamW, falling to zero along a cosine.
        seed: the only source of randomness.
        device: cpu or cuda.
        every: steps between two checkpoints.
    """

    epochs: int
    batch: int
    lr: float
    seed: int = 0
    device: str = "cpu"
    every: int = 100
    decay: float = 0.01


Loss = Callable[[Any, Any, Any], Any]
Told = Callable[[int, float, float], None]


def choose_device(asked: str) -> str:
    """cuda where it is there (or asked for), else cpu.

    Raises:
        BadInput: cuda is asked for and is not there.
    """
    import torch

    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise BadInput("no CUDA device is here", field="--device", remedy="use --device cpu")
    return "cuda" if there and asked != "cpu" else "cpu"


def fit_module(
    module: Any, inputs: np.ndarray, targets: np.ndarray, loss: Loss, how: Fitting, group: Group, *,
    checkpoints: Checkpoints | None = None, told: Told | None = None,
) -> int:  # fmt: skip
    """Fit `module` in place.

    Args:
        module: on the CPU; it is left there.
        inputs, targets: rows; every worker is given all of them.
        loss: of (module, batch of inputs, batch of targets), a mean over the batch.
        how: epochs, batch, rate, seed.
        group: the workers that train together.
        checkpoints: kept every `how.every` steps and gone on from.
        told: after each epoch its number, the group's mean loss and seconds.

    Returns:
        The step of the checkpoint that it went on from, 0 for none.

    Raises:
        BadInput: the loss is not finite, or the group does not fit the batch.
    """
    import torch

    if how.batch < group.world:
        raise BadInput(
            f"a batch of {how.batch} cannot be shared by {group.world} workers", field="--batch-size", remedy="raise it"
        )
    torch.use_deterministic_algorithms(how.device == "cpu")
    module.to(how.device).train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=how.lr, weight_decay=how.decay)
    steps = max(1, (len(inputs) + how.batch - 1) // how.batch)
    done, total, rows_done = _restore(module, optimiser, checkpoints)
    if done % steps == 0 or not group.leads:
        # saved at the end of an epoch: the next one begins its own mean; elsewhere the first worker goes on with the sums of all
        total, rows_done = 0.0, 0
    resumed = done
    wrapped = _wrap(module, group, how.device)
    try:
        for epoch in range(done // steps + 1, how.epochs + 1):
            began = time.perf_counter()
            order = np.random.default_rng((how.seed, epoch)).permutation(len(inputs))
            for step in range(done % steps, steps):
                rows = order[step * how.batch : (step + 1) * how.batch]
                mine = rows[group.rank :: group.world]
                torch.manual_seed(how.seed * 1_000_003 + done * group.world + group.rank)
                for part in optimiser.param_groups:
                    part["lr"] = how.lr * 0.5 * (1 + math.cos(math.pi * done / (steps * how.epochs)))
                optimiser.zero_grad(set_to_none=True)
                if len(mine):
                    value = loss(
                        wrapped,
                        torch.from_numpy(inputs[mine]).to(how.device),
                        torch.from_numpy(targets[mine]).to(how.device),
                    )
                    # a worker's mean counts by its rows: the group's gradient is that of the whole batch
                    (value * (len(mine) * group.world / len(rows))).backward()
                    total += float(value.detach()) * len(mine)
                    rows_done += len(mine)
                else:
                    (sum(weight.sum() for weight in wrapped.parameters()) * 0.0).backward()
                optimiser.step()
                done += 1
                if checkpoints is not None and done % how.every == 0 and done < steps * how.epochs:
                    checkpoints.save(done, _state(module, optimiser, *_of_group(total, rows_done, group, how.device)))
            summed, counted = _of_group(total, rows_done, group, how.device)
            mean = summed / max(counted, 1)
            if not np.isfinite(mean):
                raise BadInput(f"the loss became {mean}", field="--lr", remedy="lower the learning rate")
            if told is not None:
                told(epoch, mean, time.perf_counter() - began)
            total, rows_done = 0.0, 0
    finally:
        module.to("cpu").eval()
    if checkpoints is not None:
        checkpoints.clear()
    return resumed


def join(group: Group, device: str) -> None:
    """Connect to the group: gloo on the CPU, NCCL on GPUs. Nothing for a process that is alone."""
    if group.world == 1:
        return
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            init_method=f"tcp://{group.address}:{group.port}",
            rank=group.rank,
            world_size=group.world,
        )


def leave(group: Group) -> None:
    """Wait for the others and part.

    DistributedDataParallel holds itself, and with it the connection, until the collector comes; threads of a connection that outlive the interpreter abort
    the process (pytorch/pytorch#179291).
    """
    if group.world == 1:
        return
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier()
        gc.collect()
        dist.destroy_process_group()


def _wrap(module: Any, group: Group, device: str) -> Any:
    if group.world == 1:
        return module
    from torch.nn.parallel import DistributedDataParallel

    join(group, device)
    return DistributedDataParallel(module)


def _of_group(total: float, rows: int, group: Group, device: str) -> tuple[float, int]:
    """The sums of all workers."""
    if group.world == 1:
        return total, rows
    import torch

    sums = torch.tensor([total, float(rows)], dtype=torch.float64, device=device)
    torch.distributed.all_reduce(sums)
    return float(sums[0]), int(sums[1])


def _state(module: Any, optimiser: Any, total: float, rows: int) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(
        {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "total": total, "rows": rows}, buffer
    )
    return buffer.getvalue()


def _restore(module: Any, optimiser: Any, checkpoints: Checkpoints | None) -> tuple[int, float, int]:
    import torch

    saved = checkpoints.latest() if checkpoints is not None else None
    if saved is None:
        return 0, 0.0, 0
    # weights_only: a checkpoint is data, it runs no code
    state = torch.load(io.BytesIO(saved.state), weights_only=True)
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    return saved.step, float(state["total"]), int(state["rows"])
