"""The real files of MNIST and CIFAR-10 are read strictly; a damaged one is named."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from maestro.core.errors import Malformed, NotFound
from maestro.training.examples.cifar import read_cifar10
from maestro.training.examples.idx import read_idx, read_mnist
from maestro.training.examples.images import cifar, mnist
from tests.training.examples.files import write_cifar10, write_mnist


@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_is_read_plain_and_zipped(tmp_path: Path, zipped: bool) -> None:
    write_mnist(tmp_path, train=30, test=7, zipped=zipped)
    images, labels = read_mnist(tmp_path, "train")
    assert (images.shape, labels.shape, str(images.dtype)) == ((30, 28, 28), (30,), "uint8")
    assert (images[np.arange(30), 5, 2 + 2 * labels.astype(int)] == 255).all()
    pictures = mnist(tmp_path)
    assert (pictures.name, len(pictures.test), float(pictures.train.max())) == ("mnist", 7, 1.0)


def _idx(*shape: int, kind: int = 8, values: int | None = None) -> bytes:
    count = int(np.prod(shape)) if values is None else values
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + bytes(count)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not begin"),
        (b"<html>", "does not begin"),
        (_idx(3, kind=13), "type 13"),
        (_idx(2, 2, values=3), "holds 3 values where its header says 4"),
        (_idx(2, 2, values=5), "holds 5 values"),
        (_idx(4_000_000_000, 4_000_000_000, values=0), "holds 0 values"),
        (_idx(2, 2)[:9], "cut short"),
        (gzip.compress(_idx(2, 2), mtime=0)[:-3], "cannot be unpacked"),
        (b"\x1f\x8bnothing", "cannot be unpacked"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(Malformed, match=words) as caught:
        read_idx(tmp_path / "file")
    assert str(tmp_path / "file") in caught.value.detail


def test_missing_and_mismatched_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="train-images-idx3-ubyte"):
        read_mnist(tmp_path, "train")
    write_mnist(tmp_path, train=10, test=2, zipped=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(_idx(9))
    with pytest.raises(Malformed, match="do not belong together"):
        read_mnist(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(_idx(10)[:-1] + b"\x0b")
    with pytest.raises(Malformed, match="label of train is 11"):
        read_mnist(tmp_path, "train")


def test_cifar_is_read_from_its_folder_and_its_archive(tmp_path: Path) -> None:
    write_cifar10(tmp_path, rows=4)
    images, labels = read_cifar10(tmp_path, "train")
    assert (images.shape, labels.shape) == ((20, 3, 32, 32), (20,))
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "cifar-10-python.tar.gz", "w:gz") as archive:
        for path in tmp_path.glob("*_batch*"):
            archive.add(path, f"cifar-10-batches-py/{path.name}")
    assert (read_cifar10(packed, "train")[0] == images).all()
    assert len(read_cifar10(packed, "test")[0]) == 4


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.mkdir, (Path("ran"),))


def test_a_batch_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path, rows=2)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": _Runs(), b"labels": [1]}))
    with pytest.raises(Malformed, match=r"test_batch.*is not data"):
        read_cifar10(tmp_path, "test")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x02}q\x00.", pickle.dumps({b"data": [1, 2], b"labels": [1]})])
def test_a_damaged_batch_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "test_batch").write_bytes(data)
    with pytest.raises(Malformed, match="test_batch"):
        read_cifar10(tmp_path, "test")


@pytest.mark.shows("A12", env="laptop")
def test_without_files_small_real_sets_are_taken_and_named_for_what_they_are() -> None:
    digits, patches = mnist(None), cifar(None, rows=200)
    assert "not MNIST" in digits.about
    assert digits.train.shape[1:] == (1, 28, 28)
    assert len(digits.train) + len(digits.test) == 1797
    assert "not CIFAR-10" in patches.about
    assert patches.name == "photograph_patches"
    assert patches.train.shape == (160, 3, 32, 32)
    assert set(patches.train_labels) == set(range(10))
    assert digits.version == mnist(None).version
