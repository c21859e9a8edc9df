"""A version's folder as one archive, for a model server that shares no disk with the control plane."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from maestro.core.errors import NotFound, Unreachable

MANIFEST = "manifest.json"
PIECE = 2**20


def pack(folder: Path) -> Iterator[bytes]:
    """An uncompressed tar of the plain files below `folder`: the manifest, by which all others are checked as they arrive, then `files/` and statements.

    The same folder gives the same bytes. They come in pieces of at most `PIECE`, each read when it is asked for: no archive is held in memory.

    Raises:
        NotFound: the folder is not there; at once.
        Unreachable: a file became shorter while it was read; in mid-archive.
    """
    if not (folder / MANIFEST).is_file():
        raise NotFound(
            f"the files of {folder.parent.name}@{folder.name} are not here",
            remedy="restore them from a backup, or register the run again",
        )
    return _pieces(folder)


def _pieces(folder: Path) -> Iterator[bytes]:
    total = 0
    for path in _files(folder):
        entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
        entry.size = path.stat().st_size
        head = entry.tobuf(format=tarfile.PAX_FORMAT)
        yield head
        yield from _content(path, entry.size)
        padding = -entry.size % tarfile.BLOCKSIZE
        yield bytes(padding)
        total += len(head) + entry.size + padding
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(total + end) % tarfile.RECORDSIZE)


def _files(folder: Path) -> list[Path]:
    found = []
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and not path.is_symlink() and path.is_file():
            found.append(path)
    return sorted(found, key=lambda path: (path != folder / MANIFEST, path))


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left:
            piece = file.read(min(left, PIECE))
            if not piece:
                raise Unreachable(f"{path.name} became shorter while it was read", remedy="ask again")
            left -= len(piece)
            yield piece
