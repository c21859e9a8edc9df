"""`train_cifar10.py`: Train a convolutional network on CIFAR-10, with DistributedDataParallel over several workers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maestro.training.distribution import Group
from maestro.training.examples import options
from maestro.training.examples.images import cifar
from maestro.training.examples.pictures_torch import cifar_network, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parse = options.parser(
        "train_cifar10.py",
        "Train a convolutional network on CIFAR-10, with DistributedDataParallel over several workers.",
        epochs=5,
        batch=128,
        lr=0.002,
    )
    parse.add_argument("--output", type=Path, default=None, help="write the weights to this file")
    return options.run(sys.argv[1:] if arguments is None else arguments, parse, _train, MODULE)


MODULE = "maestro.training.examples.train_cifar10"


def _train(given: argparse.Namespace, group: Group) -> None:
    train("cifar10", given, group, cifar(given.data_dir), cifar_network)


if __name__ == "__main__":
    sys.exit(main())
