"""How often one caller may ask, exactly for all processes of a server: each caller's next due time lies in shared memory.

The generic cell rate algorithm (ITU-T I.371): a caller may be ahead of its rate by the burst. Callers are kept under a keyed hash, in a table of fixed size; two
that fall on one entry share a budget, which takes about as many callers as the table has entries.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from mmap import mmap

from maestro.core.errors import TooManyRequests

ENTRIES = 1 << 16
TABLE_BYTES = ENTRIES * 8
_REMEMBERED = 4096


class RateLimit:
    """At most `per_second` requests a caller on average, `burst` at once.

    Args:
        table: `TABLE_BYTES` of zeros that all processes map; memory of its own when None.
        key: of the hash, the same in all processes.
        now: a clock in seconds that all processes share and that does not go back.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        table: bytearray | mmap | None = None,
        key: bytes | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1.0 / per_second
        self._ahead = self._interval * (burst - 1)
        self._due = memoryview(bytearray(TABLE_BYTES) if table is None else table).cast("d")
        self._key = key or secrets.token_bytes(16)
        self._now = now
        self._entries: dict[str, int] = {}

    def admit(self, caller: str) -> None:
        """Let a caller's request through.

        Raises:
            TooManyRequests: it is too early; says when it is not.
        """
        entry = self._entries.get(caller)
        if entry is None:
            entry = self._entry(caller)
        now = self._now()
        due = max(self._due[entry], now)
        if due - now > self._ahead + 1e-9:
            raise TooManyRequests(
                "this caller asks more often than it may",
                remedy="ask less often, or ask for a higher rate (MAESTRO_SERVING__RATE_PER_S)",
                retry_after=max(1, round(due - now - self._ahead)),
            )
        self._due[entry] = due + self._interval

    def _entry(self, caller: str) -> int:
        digest = hashlib.blake2b(caller.encode("utf-8", "replace"), digest_size=8, key=self._key).digest()
        entry = int.from_bytes(digest, "big") % ENTRIES
        if len(self._entries) >= _REMEMBERED:
            self._entries.clear()
        self._entries[caller] = entry
        return entry
