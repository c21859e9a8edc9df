"""Archives as they arrive: what is not the pinned version's is refused, at its first byte where that can be known, and nothing is held in memory."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from maestro.core.canonical import canonical_bytes
from maestro.core.errors import Malformed, TooLarge, Untrusted
from maestro.governance.versions.archive import pack
from maestro.security.artifact import measure
from maestro.serving import unpacking
from maestro.serving.unpacking import unpack

NAME = "m@1.0.0"
FILES = {"files/contract.json": b"{}", "files/model.onnx": b"weights" * 1000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A version's folder."""
    found = tmp_path / "version"
    for path, content in FILES.items():
        (found / path).parent.mkdir(parents=True, exist_ok=True)
        (found / path).write_bytes(content)
    (found / "statements").mkdir()
    (found / "statements/promotion.json").write_text("{}")
    return found


@pytest.fixture
def digest(folder: Path) -> str:
    """What a graph pins; the manifest is written."""
    manifest = measure(folder, model="m", version="1.0.0", run_id="r")
    (folder / "manifest.json").write_bytes(canonical_bytes(manifest.document()))
    return manifest.content_digest()


def archive(*entries: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    """One made by hand."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for entry, content in entries:
            header = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            header.size = header.size or len(content)
            made.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def small(data: bytes) -> Iterator[bytes]:
    """In pieces that fit nothing."""
    return (data[start : start + 37] for start in range(0, len(data), 37))


@pytest.mark.parametrize("manifest_first", [True, False])
def test_a_version_arrives_whole(folder: Path, digest: str, tmp_path: Path, manifest_first: bool) -> None:
    data = b"".join(pack(folder))
    if not manifest_first:
        with tarfile.open(fileobj=io.BytesIO(data)) as packed:
            entries = [(each.name, packed.extractfile(each).read()) for each in packed]  # type: ignore[union-attr]  # files
        data = archive(*reversed(entries))
    unpack(small(data), tmp_path / "taken", NAME, digest)
    paths = ["manifest.json", "statements/promotion.json", *FILES]
    for path in paths:
        assert (tmp_path / "taken" / path).read_bytes() == (folder / path).read_bytes()
    assert sum(each.is_file() for each in (tmp_path / "taken").rglob("*")) == len(paths)


def test_a_changed_file_is_refused_before_the_next_is_read(
    folder: Path, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "files/contract.json").write_bytes(b"[]")
    monkeypatch.setattr(unpacking, "_READ", 512)
    asked = []

    def told() -> Iterator[bytes]:
        for piece in pack(folder):
            asked.append(piece)
            yield piece

    with pytest.raises(Untrusted, match=r"'files/contract\.json' arrived with digest"):
        unpack(told(), tmp_path / "taken", NAME, digest)
    assert FILES["files/model.onnx"] not in asked


def test_a_file_more_or_longer_is_refused_by_its_header(folder: Path, digest: str, tmp_path: Path) -> None:
    manifest = (folder / "manifest.json").read_bytes()
    for number, header in enumerate((tarfile.TarInfo("files/more.py"), tarfile.TarInfo("files/model.onnx"))):
        header.size = 2**30
        begin = archive(("manifest.json", manifest))[: 512 + len(manifest) + -len(manifest) % 512]
        target = tmp_path / f"taken-{number}"
        with pytest.raises(Untrusted, match="is not in its manifest"):
            unpack([begin + header.tobuf()], target, NAME, digest)
        assert not (target / header.name).exists()


def test_a_file_that_is_missing_is_told(folder: Path, digest: str, tmp_path: Path) -> None:
    (folder / "files/model.onnx").unlink()
    with pytest.raises(Untrusted, match=r"'files/model\.onnx' is not in its archive"):
        unpack(pack(folder), tmp_path / "taken", NAME, digest)


def test_another_version_is_refused(folder: Path, digest: str, tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="expected sha256:0"):
        unpack(pack(folder), tmp_path / "taken", NAME, "sha256:" + "0" * 64)


def test_without_a_manifest_it_is_no_version(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r"no manifest\.json"):
        unpack([archive(("files/model.onnx", b"x"))], tmp_path / "taken", NAME, "sha256:" + "0" * 64)


@pytest.mark.parametrize("cut", [1, 512, 700, 5000, -1100])
def test_an_archive_that_ends_too_soon(folder: Path, digest: str, tmp_path: Path, cut: int) -> None:
    data = b"".join(pack(folder)).rstrip(b"\0")
    with pytest.raises((Malformed, Untrusted)):
        unpack([data[:cut]], tmp_path / "taken", NAME, digest)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "files/../../outside", "."])
def test_a_path_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="no plain file"):
        unpack([archive((name, b""))], tmp_path / "in", NAME, "")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    entry = tarfile.TarInfo("files/link")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(Malformed, match="no plain file"):
        unpack([archive((entry, b""))], tmp_path, NAME, "")


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="stands twice"):
        unpack([archive(("files/a", b"1"), ("./files/a", b"2"))], tmp_path, NAME, "")


def test_a_file_where_a_folder_is_needed_is_told(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="cannot be written"):
        unpack([archive(("files", b"1"), ("files/a", b"2"))], tmp_path, NAME, "")


@pytest.mark.parametrize("data", [b"hello" * 200, b"", bytes(10240), b"\x1f\x8b" + bytes(600)])
def test_what_is_no_archive_is_told(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        unpack([data], tmp_path, NAME, "")


def test_too_many_bytes_or_files_are_refused(
    folder: Path, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_BYTES", 5000)
    with pytest.raises(TooLarge, match="5000 bytes"):
        unpack(pack(folder), tmp_path / "large", NAME, digest)
    monkeypatch.setattr(unpacking, "MAX_FILES", 3)
    with pytest.raises(TooLarge, match="3 files"):
        unpack(pack(folder), tmp_path / "many", NAME, digest)


def test_bytes_that_belong_to_no_file_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tarfile.TarInfo("x")
    long.type, long.size = tarfile.XHDTYPE, 2**31
    with pytest.raises(Malformed, match="header of 2147483648 bytes"):
        unpack([long.tobuf()], tmp_path, NAME, "")
    monkeypatch.setattr(unpacking, "MAX_BYTES", 0)
    monkeypatch.setattr(unpacking, "_ROOM", 2**16)
    headers = (tarfile.TarInfo(f"files/{number}").tobuf() for number in range(1000))
    with pytest.raises(TooLarge, match="the archive of"):
        unpack(headers, tmp_path, NAME, "")


def test_no_more_than_a_piece_is_held_in_memory(tmp_path: Path) -> None:
    folder = tmp_path / "version"
    (folder / "files").mkdir(parents=True)
    with (folder / "files/weights").open("wb") as file:
        file.truncate(64 * 2**20)
    manifest = measure(folder, model="m", version="1.0.0", run_id="r")
    (folder / "manifest.json").write_bytes(canonical_bytes(manifest.document()))
    tracemalloc.start()
    unpack(pack(folder), tmp_path / "taken", NAME, manifest.content_digest())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "taken/files/weights").stat().st_size == 64 * 2**20
    assert most < 8 * 2**20
