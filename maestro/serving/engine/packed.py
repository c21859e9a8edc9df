"""Bodies that a caller has compressed (`Content-Encoding: gzip` or `deflate`)."""

from __future__ import annotations

import zlib

from maestro.core.errors import Malformed, TooLarge
from maestro.serving.protocols.adapter import UnsupportedMedia

CODINGS = ("gzip", "deflate")
_EITHER = 32 + zlib.MAX_WBITS
"""zlib's word for: gzip's head or zlib's, whichever stands there."""


def unpacked(body: bytes, coding: str, limit: int) -> bytes:
    """The body as it was before.

    >>> unpacked(zlib.compress(b"{}"), "deflate", 10)
    b'{}'

    Raises:
        UnsupportedMedia: the coding is another one.
        TooLarge: it holds more than `limit` bytes; no more than those are ever made.
        Malformed: it is not of that coding, or is cut off.
    """
    if coding not in CODINGS:
        raise UnsupportedMedia(
            f"content encoding {coding[:40]!r} is not read here",
            field="Content-Encoding",
            remedy=f"send {' or '.join(CODINGS)}, or the body as it is",
        )
    reader = zlib.decompressobj(_EITHER)
    try:
        data = reader.decompress(body, limit + 1)
    except zlib.error as error:
        raise Malformed(
            f"the body is not {coding}: {error}", field="Content-Encoding", remedy="send the body as it is"
        ) from None
    if len(data) > limit:
        raise TooLarge(
            f"the body holds more than {limit} bytes",
            field="body",
            remedy="send fewer rows in one request, or raise MAESTRO_SERVING__MAX_BODY_BYTES",
        )
    if not reader.eof or reader.unused_data:
        raise Malformed(f"the body is not whole {coding}", field="Content-Encoding", remedy="send the body as it is")
    return data
