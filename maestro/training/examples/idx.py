"""MNIST's own files: the IDX format, plain or gzipped, checked before it is believed.

Format: two zero bytes, a type (8: unsigned byte), the number of dimensions, each size as four bytes big-endian, then the values (http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from maestro.core.errors import Malformed, NotFound

_MOST_BYTES = 1 << 30
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}  # fmt: skip
"""Images and labels of each part; each may end in `.gz`, and `-idx` may be written `.idx`."""


def read_idx(path: Path) -> np.ndarray:
    """The values of one file, shaped as its header says (uint8).

    Raises:
        NotFound: there is no such file.
        Malformed: it is cut short, too long, damaged, or of another type; the file is named.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            with gzip.open(path) as stream:
                data = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(
            f"{path} does not exist", field="--data-dir", remedy="name the folder of the MNIST files"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise _malformed(path, f"it cannot be unpacked: {error}") from error
    if len(data) < 4 or data[:2] != b"\0\0":
        raise _malformed(path, "it does not begin as an IDX file")
    if data[2] != 8:
        raise _malformed(path, f"its values are of type {data[2]}, not unsigned bytes")
    dimensions = data[3]
    head = 4 + 4 * dimensions
    if not 1 <= dimensions <= 4 or len(data) < head:
        raise _malformed(path, "its header is cut short")
    shape = tuple(int.from_bytes(data[4 + 4 * at : 8 + 4 * at], "big") for at in range(dimensions))
    wanted = math.prod(shape)
    if len(data) - head != wanted:
        raise _malformed(path, f"it holds {len(data) - head} values where its header says {wanted}")
    return np.frombuffer(data, dtype=np.uint8, offset=head).reshape(shape)


def read_mnist(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n × 28 × 28, uint8) and labels (n) of `train` or `test`.

    Raises:
        NotFound: a file is missing.
        Malformed: a file is damaged, or images and labels do not belong together.
    """
    images, labels = (read_idx(_find(folder, name)) for name in FILES[part])
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not len(labels):
        raise Malformed(
            f"{folder}: {len(images)} images and {len(labels)} labels of {part} do not belong together",
            field="--data-dir",
            remedy="fetch the files again",
        )
    if int(labels.max()) > 9:
        raise Malformed(
            f"{folder}: a label of {part} is {labels.max()}", field="--data-dir", remedy="fetch the files again"
        )
    return images, labels


def _find(folder: Path, name: str) -> Path:
    names = [name + end for end in ("", ".gz")] + [name.replace("-idx", ".idx") + end for end in ("", ".gz")]
    for place in (folder, folder / "MNIST" / "raw"):
        for each in names:
            if (place / each).is_file():
                return place / each
    return folder / name


def _malformed(path: Path, why: str) -> Malformed:
    return Malformed(f"{path} is no MNIST file: {why}", field="--data-dir", remedy="fetch the file again")
