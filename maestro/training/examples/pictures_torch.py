"""Two convolutional networks in PyTorch and how they are trained on pictures: MNIST's, and CIFAR-10's with DistributedDataParallel."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maestro.core.canonical import digest
from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import Group
from maestro.training.examples.images import Pictures
from maestro.training.examples.options import needs
from maestro.training.examples.record import Record


def mnist_network() -> Any:
    """Convolutions 1 → 32 → 64 of 3 × 3, then 128 fully connected, ten classes (input 28 × 28)."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip


def cifar_network() -> Any:
    """Three stages of two convolutions (32, 64, 128) with group normalisation, ten classes (input 3 × 32 × 32)."""
    from torch import nn

    layers: list[Any] = []
    before = 3
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.GroupNorm(8, width), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


def train(name: str, given: argparse.Namespace, group: Group, pictures: Pictures, network: Callable[[], Any]) -> None:
    """Train on pictures and tell: the device, one line an epoch, then duration, cost and accuracy.

    Raises:
        BadInput: PyTorch is not installed, or a flag does not fit.
    """
    try:
        import torch
    except ImportError as error:
        raise needs("torch", "torch", error) from None
    from maestro.training.models.torch_fit import Fitting, choose_device, fit_module, join, leave

    torch.set_num_threads(given.threads)
    device = choose_device(given.device)
    data = {"name": pictures.name, "version": pictures.version, "source": pictures.source, "rows": len(pictures.train)}
    record = Record(name, group, data=data, cores=given.threads if device == "cpu" else 1, gpus=int(device == "cuda"))
    record.say(f"device: {device}" + (f" × {group.world} workers" if group.world > 1 else ""))
    record.say(f"data: {pictures.about}")
    flags = {key: getattr(given, key) for key in ("epochs", "batch_size", "lr", "seed", "checkpoint_steps")}
    record.params(flags | {"device": device, "workers": group.world})
    torch.manual_seed(given.seed)
    module = network()
    checkpoints = None
    if given.checkpoint_dir is not None:
        identity = digest({"script": name, "data": pictures.version, "flags": flags, "workers": group.world})
        checkpoints = Checkpoints(given.checkpoint_dir, identity, writes=group.leads)
        saved = checkpoints.latest()
        if saved is not None:
            record.say(f"going on from the checkpoint after step {saved.step}")
    metrics: dict[str, float] = {}

    def told(epoch: int, loss: float, seconds: float) -> None:
        began = time.perf_counter()
        module.eval()
        metrics["accuracy"] = accuracy(module, pictures.test, pictures.test_labels, device)
        module.train()
        metrics["loss"] = loss
        record.epoch(
            epoch, given.epochs, {"loss": loss, "accuracy": metrics["accuracy"]}, seconds + time.perf_counter() - began
        )

    how = Fitting(given.epochs, given.batch_size, given.lr, given.seed, device, given.checkpoint_steps)
    join(group, device)
    fit_module(
        module, pictures.train, pictures.train_labels, _loss, how, group, checkpoints=checkpoints, told=told if group.leads else None
    )  # fmt: skip
    leave(group)
    if not metrics:
        metrics["accuracy"] = accuracy(module, pictures.test, pictures.test_labels, "cpu")
    if group.leads:
        record.end(metrics, _save(module, given))


def accuracy(module: Any, images: np.ndarray, labels: np.ndarray, device: str) -> float:
    """The share of pictures that are told right."""
    import torch

    right = 0
    with torch.no_grad():
        for start in range(0, len(images), 1000):
            answers = module(torch.from_numpy(images[start : start + 1000]).to(device)).argmax(1).cpu().numpy()
            right += int((answers == labels[start : start + 1000]).sum())
    return right / len(images)


def _loss(module: Any, inputs: Any, targets: Any) -> Any:
    from torch.nn import functional

    return functional.cross_entropy(module(inputs), targets)


def _save(module: Any, given: argparse.Namespace) -> Path | None:
    if given.output is None:
        return None
    import torch

    path = Path(given.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), path)
    return path
