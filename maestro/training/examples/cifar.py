"""CIFAR-10's own files (the Python version's batches), read without running code."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from maestro.core.errors import Malformed, NotFound

BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
"""The files of each part, in the folder `cifar-10-batches-py`."""
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"),
    ("_codecs", "encode"),
}  # fmt: skip


class _Data(pickle.Unpickler):
    """Restores numbers, texts and arrays, and nothing that runs code."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what arrays are made of."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not data")
        return super().find_class(module, name)


def read_cifar10(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n × 3 × 32 × 32, uint8) and labels (n) of `train` or `test`, from the folder of batches or the archive beside it.

    Raises:
        NotFound: a batch is missing.
        Malformed: a batch is damaged; it is named.
    """
    images, labels = [], []
    for name in BATCHES[part]:
        found = _batch(_bytes(folder, name), name)
        images.append(found[0])
        labels.append(found[1])
    return np.concatenate(images), np.concatenate(labels)


def _bytes(folder: Path, name: str) -> bytes:
    for path in (folder / name, folder / "cifar-10-batches-py" / name):
        if path.is_file():
            return path.read_bytes()
    archive = folder / "cifar-10-python.tar.gz"
    if archive.is_file():
        try:
            with tarfile.open(archive) as files:
                member = files.extractfile(f"cifar-10-batches-py/{name}")
                if member is not None:
                    return member.read()
        except (tarfile.TarError, OSError, KeyError, EOFError) as error:
            raise _malformed(str(archive), str(error)) from error
    raise NotFound(
        f"{folder} holds no {name}",
        field="--data-dir",
        remedy="name the folder of the CIFAR-10 batches (Python version)",
    )


def _batch(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        found = _Data(io.BytesIO(data), encoding="bytes").load()
        images = np.asarray(found[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(found[b"labels"], dtype=np.int64)
    except Exception as error:
        raise _malformed(name, f"{type(error).__name__}: {error}") from error
    if len(images) != len(labels) or not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise _malformed(name, "images and labels do not belong together")
    return images, labels


def _malformed(name: str, why: str) -> Malformed:
    return Malformed(f"{name} is no CIFAR-10 batch: {why}", field="--data-dir", remedy="fetch the file again")
