"""A version's archive, written below a folder as it arrives: never in memory as a whole, bounded, every byte hashed on its way to the disk."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Self

from maestro.core.errors import Malformed, TooLarge, Unreachable, Untrusted
from maestro.core.manifest import FileEntry
from maestro.security.artifact import CHUNK, FILES
from maestro.security.quarantine import MANIFEST, read_manifest

MAX_BYTES = 4 * 2**30
MAX_FILES = 10_000
_MAX_HEADER = 2**20
_ROOM = 64 * 2**20
"""For what an archive holds beside its files: headers and padding."""
_READ = 2**16


def unpack(pieces: Iterable[bytes], folder: Path, name: str, digest: str) -> None:
    """Write the plain files of an archive below a folder; anything else in it is refused.

    An archive that begins with the version's manifest is refused at its first file that the manifest does not list with this size and these bytes;
    any other one at its end.

    Args:
        pieces: the archive's bytes in their order.
        folder: where to; what it holds after an error is of no use.
        name: of the version, for people.
        digest: of the version, as a graph pins it.

    Raises:
        Malformed: it is no archive, or holds what is no plain file below its own folder.
        TooLarge: its files are larger than `MAX_BYTES` together, or more than `MAX_FILES`.
        Untrusted: its files are not those of the version with this digest.
        Unreachable: the disk does not take it.
    """
    written: dict[str, tuple[int, str]] = {}
    listed: Mapping[str, FileEntry] | None = None
    total = 0
    arriving = _Arriving(pieces, name)
    try:
        with tarfile.open(fileobj=arriving, mode="r|", bufsize=_READ, tarinfo=_Entry) as archive:  # type: ignore[call-overload]  # it reads, and that is all that is needed
            for member in archive:
                _require_plain(member, name)
                total += member.size
                if total > MAX_BYTES or len(written) >= MAX_FILES:
                    raise TooLarge(f"{name} is larger than {MAX_BYTES} bytes, or of more than {MAX_FILES} files")
                path = PurePosixPath(member.name).as_posix()
                if path in written:
                    raise Malformed(f"{name}: {path!r} stands twice in its archive")
                if listed is not None:
                    _require_listed(listed, path, member.size, name)
                written[path] = _write(archive.extractfile(member), folder / path)
                if path == MANIFEST:
                    listed = {entry.path: entry for entry in read_manifest(folder, digest).files}
                elif listed is not None:
                    _require_same(listed, path, written[path], name)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise Malformed(f"{name}: what was sent is no archive: {error}") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Malformed(f"{name}: a path of its archive cannot be written: {error.strerror}") from None
    except OSError as error:
        raise Unreachable(f"{name} cannot be written: {error.strerror}", remedy="free disk space") from None
    if listed is None:
        raise Malformed(f"{name}: its archive holds no {MANIFEST}")
    for path, found in written.items():
        _require_listed(listed, path, found[0], name)
        _require_same(listed, path, found, name)
    if missing := sorted(listed.keys() - written.keys()):
        raise Untrusted(f"{name}: {missing[0]!r} is not in its archive ({len(missing)} files in all)")


class _Arriving:
    """Pieces as something that is read."""

    def __init__(self, pieces: Iterable[bytes], name: str) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._kept = bytearray()
        self._total = 0
        self._name = name

    def read(self, size: int) -> bytes:
        """As many bytes, or what is left."""
        while len(self._kept) < size and (piece := next(self._pieces, None)) is not None:
            self._total += len(piece)
            if self._total > MAX_BYTES + _ROOM:
                raise TooLarge(f"the archive of {self._name} is larger than {MAX_BYTES + _ROOM} bytes")
            self._kept += piece
        data = bytes(self._kept[:size])
        del self._kept[:size]
        return data


class _Entry(tarfile.TarInfo):
    """A header; those that are read into memory whole have to be small."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.size > _MAX_HEADER and found.type not in tarfile.REGULAR_TYPES:
            raise Malformed(f"{found.name[:80]!r} in the archive has a header of {found.size} bytes")
        return found


def _require_plain(member: tarfile.TarInfo, name: str) -> None:
    path = PurePosixPath(member.name)
    if not member.isreg() or member.issparse() or path.is_absolute() or ".." in path.parts or not path.parts:
        raise Malformed(f"{name}: {member.name!r} in its archive is no plain file below it")


def _require_listed(listed: Mapping[str, FileEntry], path: str, size: int, name: str) -> None:
    if path.startswith(f"{FILES}/") and (path not in listed or listed[path].size != size):
        raise Untrusted(f"{name}: {path!r} with {size} bytes is not in its manifest")


def _require_same(listed: Mapping[str, FileEntry], path: str, found: tuple[int, str], name: str) -> None:
    if path in listed and (listed[path].size, listed[path].digest) != found:
        raise Untrusted(
            f"{name}: {path!r} arrived with digest {found[1]}, its manifest says {listed[path].digest}",
            remedy="restore the version's files at the control plane",
        )


def _write(source: IO[bytes] | None, target: Path) -> tuple[int, str]:
    """Size and digest of what was written."""
    checksum, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while source is not None and (data := source.read(CHUNK)):
            checksum.update(data)
            size += len(data)
            file.write(data)
    return size, "sha256:" + checksum.hexdigest()
