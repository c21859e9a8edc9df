"""Train a small convolutional network on MNIST (PyTorch)."""

import sys

try:
    from maestro.training.examples.train_mnist import main
except ModuleNotFoundError as error:
    print(f"{error}; activate the environment first: source .venv/bin/activate, or run make setup", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
