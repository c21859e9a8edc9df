"""A version's folder as one archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from maestro.core.errors import NotFound
from maestro.governance.versions.archive import pack


def test_plain_files_alone_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "files/model.onnx").write_bytes(b"weights")
    (tmp_path / "files/link").symlink_to("/etc/passwd")
    (tmp_path / ".lock").touch()
    first = pack(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert archive.getnames() == ["files/model.onnx", "manifest.json"]
        assert archive.extractfile("files/model.onnx").read() == b"weights"  # type: ignore[union-attr]  # it is a file
    (tmp_path / "manifest.json").touch()
    assert pack(tmp_path) == first


def test_a_version_whose_files_are_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="are not here"):
        pack(tmp_path / "gone")
