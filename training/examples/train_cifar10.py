"""Train a convolutional network on CIFAR-10 with DistributedDataParallel (PyTorch)."""

import sys

try:
    from maestro.training.examples.train_cifar10 import main
except ModuleNotFoundError as error:
    print(f"{error}; activate the environment first: source .venv/bin/activate, or run make setup", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
