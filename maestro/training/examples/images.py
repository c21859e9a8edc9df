"""The pictures that the scripts train on: the real sets from `--data-dir`, else small real ones that packages bring, named for what they are."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from maestro.training.examples.cifar import read_cifar10
from maestro.training.examples.idx import read_mnist


@dataclass(frozen=True)
class Pictures:
    """Grey values or colours from 0 to 1 (float32, n × channels × height × width) and labels (int64) of both parts.

    `name` is what the set is called in MLflow; `about` says in words what it is.
    """

    name: str
    about: str
    source: str
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray

    @property
    def version(self) -> str:
        """The first twelve hex digits of the digest of every value."""
        hasher = sha256()
        for values in (self.train, self.train_labels, self.test, self.test_labels):
            hasher.update(np.ascontiguousarray(values).tobytes())
        return hasher.hexdigest()[:12]


def mnist(folder: Path | None) -> Pictures:
    """MNIST from `folder`, else scikit-learn's digits enlarged to 28 × 28.

    Raises:
        NotFound, Malformed: a file of `folder` is missing or damaged.
    """
    if folder is not None:
        (images, labels), (test, test_labels) = read_mnist(folder, "train"), read_mnist(folder, "test")
        return Pictures(
            "mnist", f"MNIST from {folder}: {len(labels)} pictures to train on, {len(test_labels)} to test", str(folder),
            _grey(images), labels.astype(np.int64), _grey(test), test_labels.astype(np.int64),
        )  # fmt: skip
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = (bunch.images / 16.0).astype(np.float32)
    large = np.zeros((len(small), 1, 28, 28), dtype=np.float32)
    # 8 × 8 cells of 3 × 3 in the middle of a frame, as MNIST's figures have
    large[:, 0, 2:26, 2:26] = np.repeat(np.repeat(small, 3, axis=1), 3, axis=2)
    rng = np.random.default_rng(2026)
    order = rng.permutation(len(large))
    train, test_rows = order[: int(0.8 * len(order))], order[int(0.8 * len(order)) :]
    labels = bunch.target.astype(np.int64)
    return Pictures(
        "digits", f"no --data-dir: not MNIST but scikit-learn's {len(large)} digits (8 × 8, enlarged)", "scikit-learn load_digits",
        large[train], labels[train], large[test_rows], labels[test_rows],
    )  # fmt: skip


def cifar(folder: Path | None, *, rows: int = 4000) -> Pictures:
    """CIFAR-10 from `folder`, else 32 × 32 patches of scikit-learn's two photographs in ten classes: which photograph, and which of five rotations or flips.

    Raises:
        NotFound, Malformed: a batch of `folder` is missing or damaged.
    """
    if folder is not None:
        (images, labels), (test, test_labels) = read_cifar10(folder, "train"), read_cifar10(folder, "test")
        return Pictures(
            "cifar10", f"CIFAR-10 from {folder}: {len(labels)} pictures to train on, {len(test_labels)} to test", str(folder),
            _unit(images), labels, _unit(test), test_labels,
        )  # fmt: skip
    from sklearn.datasets import load_sample_images

    photographs = [np.asarray(image).transpose(2, 0, 1) for image in load_sample_images().images]
    rng = np.random.default_rng(2026)
    turns = (lambda p: p, lambda p: np.rot90(p, 1, (1, 2)), lambda p: np.rot90(p, 2, (1, 2)), lambda p: np.rot90(p, 3, (1, 2)), lambda p: p[:, :, ::-1])  # fmt: skip
    pictures = np.empty((rows, 3, 32, 32), dtype=np.uint8)
    classes = rng.integers(0, 10, rows)
    part = np.arange(rows) < int(0.8 * rows)
    for at, label in enumerate(classes):
        photograph = photographs[label % 2]
        # left three quarters to train on, the right quarter to test: no pixel is on both sides
        width = photograph.shape[2]
        low, high = (0, width * 3 // 4 - 32) if part[at] else (width * 3 // 4, width - 32)
        y, x = int(rng.integers(0, photograph.shape[1] - 32)), int(rng.integers(low, high))
        pictures[at] = turns[label // 2](photograph[:, y : y + 32, x : x + 32])
    return Pictures(
        "photograph_patches", f"no --data-dir: not CIFAR-10 but {rows} patches of two photographs of scikit-learn, shaped as CIFAR-10's pictures", "scikit-learn load_sample_images",
        _unit(pictures[part]), classes[part].astype(np.int64), _unit(pictures[~part]), classes[~part].astype(np.int64),
    )  # fmt: skip


def _grey(images: np.ndarray) -> np.ndarray:
    return (images.astype(np.float32) / 255.0)[:, None]


def _unit(images: np.ndarray) -> np.ndarray:
    values: np.ndarray = images.astype(np.float32) / 255.0
    return values
