"""Files in the formats of MNIST and CIFAR-10, written independently of the readers."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np


def write_mnist(folder: Path, *, train: int, test: int, zipped: bool = True) -> None:
    """The four files; the label of a picture is where its bright column is."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, 2 + 2 * label : 4 + 2 * label] = 255
        for name, head, values in (
            (f"{part}-images-idx3-ubyte", struct.pack(">HBB3I", 0, 8, 3, count, 28, 28), images),
            (f"{part}-labels-idx1-ubyte", struct.pack(">HBBI", 0, 8, 1, count), labels),
        ):
            data = head + values.tobytes()
            (folder / (name + (".gz" if zipped else ""))).write_bytes(gzip.compress(data) if zipped else data)


def write_cifar10(folder: Path, *, rows: int) -> None:
    """Five batches and a test batch of `rows` pictures each."""
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        content = {
            b"batch_label": name.encode(), b"labels": rng.integers(0, 10, rows).tolist(),
            b"data": rng.integers(0, 256, (rows, 3072)).astype(np.uint8), b"filenames": [b"x.png"] * rows,
        }  # fmt: skip
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
