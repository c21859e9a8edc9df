"""Quarantine: what is loaded is a private copy whose bytes were hashed while they were copied.

Order of a load: quarantine, digests, signature, statement, format, deserialise. Nothing here imports, parses or executes anything of the
artifact but its manifest. Since the copy is what gets loaded, bytes swapped in the source afterwards change nothing.
"""

from __future__ import annotations

import hmac
import json
import os
import shutil
from pathlib import Path

from pydantic import ValidationError

from maestro.core.canonical import canonical_bytes
from maestro.core.errors import Refused, TooLarge, Unreachable, Untrusted
from maestro.core.manifest import FileEntry, VersionManifest
from maestro.security.artifact import FILES, ArtifactLimits, folder, hash_file, read_small, scan

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 2**20


def read_manifest(version_dir: Path, expected_digest: str | None = None) -> VersionManifest:
    """The manifest in a version's folder.

    Raises:
        Untrusted: there is none, it is malformed, or its digest is not `expected_digest`.
    """
    with folder(version_dir) as root:
        return _manifest(root, expected_digest)


def take_in(
    version_dir: Path, private_dir: Path, expected_digest: str, limits: ArtifactLimits | None = None
) -> VersionManifest:
    """Copy a version into `private_dir` (mode 0700, files 0400), checking every byte against the pinned digest.

    `private_dir` holds the same paths as `version_dir` (`manifest.json`, `files/...`) when this returns, and does not exist when it raises.
    The source is read once and never executed.

    Args:
        version_dir: the version's folder; may belong to anybody.
        private_dir: a path that does not exist, or an empty folder; its parent must exist or be creatable.
        expected_digest: the version's digest, as a graph pins it.
        limits: how large it may be.

    Raises:
        Untrusted: a file is missing, extra or changed, a link, a device or a hard link, a path is not plain, or the manifest has another digest.
        TooLarge: it is over `limits`.
        Refused: `private_dir` holds something.
        Unreachable: the copy cannot be written.
    """
    limits = limits or ArtifactLimits()
    partial = private_dir.with_name(f".{private_dir.name}.partial-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        if private_dir.is_symlink() or (private_dir.exists() and not _is_empty_folder(private_dir)):
            raise Refused(f"{private_dir} is not empty", remedy="take the version in into a new folder")
        private_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.mkdir(mode=0o700)
        with folder(version_dir) as root:
            manifest = _manifest(root, expected_digest)
            _require_same_files(manifest, scan(root, limits), limits)
            for entry in manifest.files:
                _copy(root, entry, partial)
        _write(partial / MANIFEST, [canonical_bytes(manifest.document())])
        os.replace(partial, private_dir)
        private_dir.chmod(0o700)
    except OSError as error:
        raise Unreachable(
            f"private copy {private_dir} cannot be written: {error.strerror}",
            remedy="free disk space or correct the folder's owner",
        ) from error
    finally:
        if partial.exists():
            shutil.rmtree(partial)
    return manifest


def _manifest(root: int, expected_digest: str | None) -> VersionManifest:
    content = read_small(root, MANIFEST, MAX_MANIFEST_BYTES)
    try:
        manifest = VersionManifest.model_validate(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Untrusted(f"{MANIFEST}: {where}: {first['msg']}", field=where) from None
    except (ValueError, RecursionError):
        raise Untrusted(f"{MANIFEST} is not JSON", field=MANIFEST) from None
    if expected_digest is not None and not hmac.compare_digest(manifest.content_digest(), expected_digest):
        raise Untrusted(
            f"the version's digest is {manifest.content_digest()}, expected {expected_digest}",
            field=MANIFEST,
            remedy="restore the version's folder, or pin the digest that was approved",
        )
    return manifest


def _require_same_files(manifest: VersionManifest, found: dict[str, int], limits: ArtifactLimits) -> None:
    listed = {entry.path: entry.size for entry in manifest.files}
    for path in listed:
        if not path.startswith(FILES + "/"):
            raise Untrusted(f"manifest path {path!r} does not lie below {FILES}/", field=path)
    if missing := sorted(listed.keys() - found.keys()):
        raise Untrusted(f"artifact file {missing[0]!r} is missing ({len(missing)} in all)", field=missing[0])
    if extra := sorted(found.keys() - listed.keys()):
        raise Untrusted(
            f"artifact file {extra[0]!r} is not in the manifest ({len(extra)} in all)",
            field=extra[0],
            remedy="remove it, or register the version again",
        )
    for path, size in listed.items():
        if found[path] != size:
            raise Untrusted(f"artifact file {path!r} has {found[path]} bytes, the manifest says {size}", field=path)
    if sum(listed.values()) > limits.total_bytes:
        raise TooLarge(f"the artifact is larger than {limits.total_bytes} bytes", field=MANIFEST)


def _copy(root: int, entry: FileEntry, private: Path) -> None:
    target = private / entry.path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o400)
    with os.fdopen(descriptor, "wb") as copy:
        checksum, size = hash_file(root, entry.path, entry.size, copy.write)
    if size != entry.size or not hmac.compare_digest(checksum, entry.digest):
        raise Untrusted(
            f"artifact file {entry.path!r} was changed: its digest is {checksum}, the manifest says {entry.digest}",
            field=entry.path,
            remedy="restore the version's folder",
        )


def _write(target: Path, parts: list[bytes]) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(parts)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
