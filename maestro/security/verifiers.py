"""Authentication without database: the model server knows keys by a file of verifiers, which holds no secret, and follows it when it changes."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import MaestroError, Malformed, from_validation
from maestro.core.model import Model
from maestro.core.principals import Principal
from maestro.security.credential import Credential, KeyVerifier, recognise
from maestro.security.private_file import decode_text, read_guarded, write_atomically

log = logging.getLogger(__name__)


class VerifierFile(Model):
    """The file `server-keys.json`."""

    schema_: Literal["maestro.verifiers/1"] = Field(default="maestro.verifiers/1", alias="schema")
    keys: tuple[KeyVerifier, ...] = ()


def write_verifiers(path: Path, keys: Sequence[KeyVerifier]) -> None:
    """Replace the file, atomically.

    Raises:
        Unreachable: it cannot be written.
    """
    text = json.dumps(VerifierFile(keys=tuple(keys)).document(), indent=2) + "\n"
    write_atomically(path, text.encode())


def read_verifiers(path: Path) -> tuple[KeyVerifier, ...]:
    """The verifiers of a file.

    Raises:
        NotFound: there is none.
        Refused: others than its owner may write it.
        BadInput: it is malformed.
    """
    return tuple(_read(path).values())


class KeyVerifiers:
    """The verifiers of a file, read again when the file changes. Thread-safe.

    A new file that cannot be read leaves the verifiers as they were, and `problem` says why: a server does not lock everybody out, or let
    anybody in, because a disk was full.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._keys = _read(path)
        self.problem = ""

    @classmethod
    def load(cls, path: Path, clock: Clock | None = None) -> KeyVerifiers:
        """Read the file.

        Raises:
            NotFound: there is none.
            Refused: others than its owner may write it.
            BadInput: it is malformed.
        """
        return cls(path, clock)

    def authenticate(self, token: str) -> Principal:
        """The principal whose key `token` is.

        Raises:
            Unauthenticated: it is nobody's, expired, revoked, or its principal is disabled.
        """
        credential = Credential.parse(token)
        self._follow()
        return recognise(credential, self._keys.get(credential.key_id), self._clock.now())

    def _follow(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        with self._lock:
            if stamp == self._stamp:
                return
            try:
                self._keys = _read(self._path)
                self.problem = ""
            except MaestroError as error:
                self.problem = error.detail
                log.warning("the verifiers of keys stay as they were: %s", error.detail)
            self._stamp = stamp

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> dict[str, KeyVerifier]:
    what = f"verifiers of keys {path}"
    try:
        document = VerifierFile.model_validate(json.loads(decode_text(read_guarded(path, "verifiers of keys"), what)))
    except ValidationError as error:
        raise from_validation(error, what) from None
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON", remedy="export it again (maestro keys list)") from None
    return {key.key_id: key for key in document.keys}
