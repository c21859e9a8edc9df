"""A version's folder as one archive."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from maestro.core.errors import NotFound, Unreachable
from maestro.governance.versions.archive import PIECE, pack


def test_plain_files_alone_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "files/model.onnx").write_bytes(b"weights")
    (tmp_path / "files/link").symlink_to("/etc/passwd")
    (tmp_path / ".lock").touch()
    first = b"".join(pack(tmp_path))
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["manifest.json", "files/model.onnx"], "the manifest first"
        assert archive.extractfile("files/model.onnx").read() == b"weights"  # type: ignore[union-attr]  # it is a file
    (tmp_path / "manifest.json").touch()
    assert b"".join(pack(tmp_path)) == first


@pytest.mark.parametrize("name", ["model.onnx", "ö" * 60 + ".bin", "a/" * 60 + "b"], ids=["plain", "no ASCII", "deep"])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 20_000])
def test_any_name_and_size_is_read_back(tmp_path: Path, name: str, size: int) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    content = bytes(range(256)) * 79
    (tmp_path / "files" / name).parent.mkdir(parents=True)
    (tmp_path / "files" / name).write_bytes(content[:size])
    made = b"".join(pack(tmp_path))
    assert len(made) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        assert archive.extractfile(f"files/{name}").read() == content[:size]  # type: ignore[union-attr]  # it is a file


def test_no_more_than_a_piece_is_held_in_memory(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(64 * PIECE)
    tracemalloc.start()
    total = sum(len(piece) for piece in pack(tmp_path))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 64 * PIECE
    assert most < 8 * PIECE


def test_a_file_that_becomes_shorter_ends_the_archive_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "weights").write_bytes(b"0" * 3 * PIECE)
    pieces = pack(tmp_path)
    with pytest.raises(Unreachable, match="became shorter"):  # noqa: PT012 - it begins well
        for piece in pieces:
            if len(piece) == PIECE:
                (tmp_path / "weights").write_bytes(b"")


def test_a_version_whose_files_are_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="are not here"):
        pack(tmp_path / "gone")
