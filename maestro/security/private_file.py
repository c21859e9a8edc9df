"""Files that only their owner may read, and files that only their owner may write: read with that checked, replaced atomically."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from maestro.core.errors import Malformed, NotFound, Refused, TooLarge, Unreachable

MAX_BYTES = 4 * 2**20
"""No key, policy, statement or list of verifiers is larger."""


def read_private(path: Path, what: str) -> bytes:
    """The bytes of a secret file.

    Args:
        path: the file; a symbolic link is refused.
        what: how errors name it, such as `private key`.

    Raises:
        NotFound: there is none.
        Refused: it is no regular file, belongs to somebody else, or others may read or write it.
    """
    return _read(path, what, forbidden=0o077, owned=True, follow=False)


def read_guarded(path: Path, what: str) -> bytes:
    """The bytes of a public file that decides what is trusted: others may read it, only its owner may write it.

    Symbolic links are followed, since mounted configuration consists of them.

    Raises:
        NotFound: there is none.
        Refused: it is no regular file, or others may write it.
    """
    return _read(path, what, forbidden=0o022, owned=False, follow=True)


def _read(path: Path, what: str, *, forbidden: int, owned: bool, follow: bool) -> bytes:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise NotFound(f"{what} {path} does not exist", field=str(path)) from None
    except OSError as error:
        raise Refused(
            f"{what} {path} cannot be opened: {error.strerror}",
            remedy="make it a regular file that belongs to this user",
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{what} {path} is not a regular file", remedy="replace it by a regular file")
        if owned and status.st_uid != os.geteuid():
            raise Refused(f"{what} {path} belongs to another user", remedy=f"chown $(id -u) {path}")
        if status.st_mode & forbidden:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            wanted = "600" if owned else "go-w"
            raise Refused(f"{what} {path} has mode {mode}, which is too open", remedy=f"chmod {wanted} {path}")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise TooLarge(f"{what} {path} is larger than {MAX_BYTES} bytes")
    return content


def write_atomically(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `content`, durable when it returns; a reader sees the old bytes or the new ones, never a part.

    Raises:
        Unreachable: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise Unreachable(
            f"{path} cannot be written: {error.strerror}", remedy="free disk space or correct the folder's owner"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def decode_text(content: bytes, what: str) -> str:
    """The text of a file that must be UTF-8.

    Raises:
        Malformed: it is not.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"{what} is not UTF-8 text", remedy="restore it from its source") from None
