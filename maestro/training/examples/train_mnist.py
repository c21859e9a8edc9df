"""`train_mnist.py`: Train a small convolutional network on MNIST."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maestro.training.distribution import Group
from maestro.training.examples import options
from maestro.training.examples.images import mnist
from maestro.training.examples.pictures_torch import mnist_network, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parse = options.parser(
        "train_mnist.py", "Train a small convolutional network on MNIST.", epochs=2, batch=64, lr=0.001
    )
    parse.add_argument("--output", type=Path, default=None, help="write the weights to this file")
    return options.run(sys.argv[1:] if arguments is None else arguments, parse, _train, MODULE)


MODULE = "maestro.training.examples.train_mnist"


def _train(given: argparse.Namespace, group: Group) -> None:
    train("mnist", given, group, mnist(given.data_dir), mnist_network)


if __name__ == "__main__":
    sys.exit(main())
