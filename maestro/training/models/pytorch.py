"""A network fitted by PyTorch, alone or by DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import Group
from maestro.training.models.framework import Framework
from maestro.training.models.network_training import Layers, Plan


class PyTorch(Framework):
    """`params`: hidden (widths, [64, 32]), epochs, batch_size, lr, checkpoint_steps, task."""

    name = "pytorch"
    package = "torch"

    @staticmethod
    def _fit(
        plan: Plan, widths: list[int], rows: np.ndarray, answers: np.ndarray, group: Group, checkpoints: Checkpoints | None,
        told: Callable[[int, float, float], None],
    ) -> tuple[Layers, int]:  # fmt: skip
        import torch
        from torch import nn

        from maestro.training.models.torch_fit import Fitting, choose_device, fit_module, leave

        torch.manual_seed(plan.seed)
        parts: list[Any] = []
        for at, (before, after) in enumerate(pairwise(widths)):
            parts += [nn.Linear(before, after)] + ([nn.ReLU()] if at < len(widths) - 2 else [])
        module = nn.Sequential(*parts)

        def loss(network: Any, inputs: Any, targets: Any) -> Any:
            told_values = network(inputs)
            if targets.dtype == torch.int64:
                return nn.functional.cross_entropy(told_values, targets)
            return nn.functional.mse_loss(told_values[:, 0], targets)

        how = Fitting(plan.epochs, plan.batch, plan.lr, plan.seed, choose_device("auto"), plan.every)
        resumed = fit_module(module, rows, answers, loss, how, group, checkpoints=checkpoints, told=told)
        leave(group)
        linear = [part for part in module if isinstance(part, nn.Linear)]
        return [
            (part.weight.detach().numpy().T.astype(np.float64), part.bias.detach().numpy().astype(np.float64))
            for part in linear
        ], resumed
