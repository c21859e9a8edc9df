"""Reading an artifact that nobody vouches for yet: no link is followed, no device opened, every byte counted.

Everything is opened below one folder's descriptor, component by component and never through a link, so that a folder swapped in
between leads nowhere.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maestro.core.errors import TooLarge, Untrusted
from maestro.core.manifest import FileEntry, VersionManifest

FILES = "files"
"""The folder below a version's folder that the manifest lists; its entries' paths begin with it."""

CHUNK = 2**20


@dataclass(frozen=True)
class ArtifactLimits:
    """What is refused as too large: bytes of all files together, files, folders inside folders."""

    total_bytes: int = 16 * 2**30
    files: int = 10_000
    depth: int = 32


def measure(
    version_dir: Path, *, model: str, version: str, run_id: str, limits: ArtifactLimits | None = None
) -> VersionManifest:
    """The manifest of what lies in `version_dir/files`, sorted by path.

    Raises:
        Untrusted: there is nothing, or something that is neither a folder nor a plain file.
        TooLarge: it is over `limits`.
    """
    limits = limits or ArtifactLimits()
    with folder(version_dir) as root:
        listed = scan(root, limits)
        entries = []
        for path in sorted(listed):
            checksum, size = hash_file(root, path, listed[path], lambda _: None)
            entries.append(FileEntry(path=path, size=size, digest=checksum))
    if not entries:
        raise Untrusted(f"{version_dir / FILES} holds no file")
    return VersionManifest(model=model, version=version, run_id=run_id, files=tuple(entries))


@contextmanager
def folder(path: Path) -> Iterator[int]:
    """A descriptor of the folder; the last component of `path` may not be a link."""
    descriptor = _open(str(path), os.O_DIRECTORY, None, str(path))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def plain_file(root: int, path: str) -> Iterator[int]:
    """A descriptor of a regular file below `root` that has one name only.

    Raises:
        Untrusted: a component is a link or missing, or it is a device, a pipe, a socket, or has a second name (a hard link).
    """
    *parents, name = path.split("/")
    opened: list[int] = []
    current = root
    try:
        for parent in parents:
            current = _open(parent, os.O_DIRECTORY, current, path)
            opened.append(current)
        try:
            before = os.stat(name, dir_fd=current, follow_symlinks=False)
        except OSError as error:
            raise Untrusted(f"artifact file {path!r}: {error.strerror}", field=path) from None
        _require_plain(before, path)
        descriptor = _open(name, 0, current, path)
        opened.append(descriptor)
        _require_plain(os.fstat(descriptor), path)
        yield descriptor
    finally:
        for descriptor in reversed(opened):
            os.close(descriptor)


def scan(root: int, limits: ArtifactLimits) -> dict[str, int]:
    """Path to size of every file below `files/`.

    Raises:
        Untrusted: something is neither a folder nor a plain file, or a name is not UTF-8.
        TooLarge: more files, bytes or depth than `limits`.
    """
    found: dict[str, int] = {}
    total = 0
    pending = [(FILES, 1)]
    while pending:
        path, depth = pending.pop()
        if depth > limits.depth:
            raise TooLarge(f"artifact folder {path!r} is deeper than {limits.depth}", field=path)
        with _below(root, path) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                below = f"{path}/{entry.name}"
                _require_text(below)
                if entry.is_dir(follow_symlinks=False):
                    pending.append((below, depth + 1))
                    continue
                status = entry.stat(follow_symlinks=False)
                _require_plain(status, below)
                found[below] = status.st_size
                total += status.st_size
                if len(found) > limits.files or total > limits.total_bytes:
                    raise TooLarge(
                        f"the artifact is over its limit of {limits.files} files or {limits.total_bytes} bytes",
                        field=below,
                    )
    return found


def hash_file(root: int, path: str, limit: int, sink: Callable[[bytes], object]) -> tuple[str, int]:
    """Digest and size of a file, each chunk handed to `sink` as it was hashed; at most `limit` bytes.

    Raises:
        Untrusted: it is longer than `limit`, or no plain file.
    """
    checksum, size = hashlib.sha256(), 0
    with plain_file(root, path) as descriptor:
        while chunk := os.read(descriptor, CHUNK):
            size += len(chunk)
            if size > limit:
                raise Untrusted(f"artifact file {path!r} is longer than {limit} bytes", field=path)
            checksum.update(chunk)
            sink(chunk)
    return "sha256:" + checksum.hexdigest(), size


def read_small(root: int, path: str, limit: int) -> bytes:
    """The bytes of a small plain file below `root`.

    Raises:
        Untrusted: there is none, it is no plain file, or it is longer than `limit`.
    """
    parts: list[bytes] = []
    hash_file(root, path, limit, parts.append)
    return b"".join(parts)


@contextmanager
def _below(root: int, path: str) -> Iterator[int]:
    current = os.dup(root)
    try:
        for part in path.split("/"):
            following = _open(part, os.O_DIRECTORY, current, path)
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)


def _open(name: str, flags: int, parent: int | None, shown: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | flags, dir_fd=parent)
    except OSError as error:
        raise Untrusted(
            f"artifact path {shown!r} is missing, a link or not what it should be: {error.strerror}", field=shown
        ) from None


def _require_plain(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Untrusted(f"artifact path {path!r} is a link, device, pipe or socket, not a file", field=path)
    if status.st_nlink != 1:
        raise Untrusted(f"artifact file {path!r} has a second name (hard link)", field=path, remedy="copy the file")


def _require_text(path: str) -> None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise Untrusted(f"artifact path {path!r} is not UTF-8", field=ascii(path)) from None
