"""Canonical JSON (RFC 8785) and digests over it."""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def canonical_bytes(value: Any) -> bytes:
    """The canonical JSON bytes of a JSON value.

    Raises:
        ValueError: the value holds NaN, an infinity, or an integer that is not how a double is written, which
            RFC 8785 cannot express.

    >>> canonical_bytes({"b": 1.0, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    try:
        try:
            return rfc8785.dumps(value)
        except rfc8785.IntegerDomainError:
            return rfc8785.dumps(_large_integers_as_doubles(value))
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"not canonical JSON: {error}") from error


def _large_integers_as_doubles(value: Any) -> Any:
    # 1e16 is written without a fraction, so that whoever reads the document back holds an integer beyond 2**53.
    if isinstance(value, dict):
        return {key: _large_integers_as_doubles(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_large_integers_as_doubles(item) for item in value]
    if type(value) is int and 2**53 <= abs(value) < 10**21 and rfc8785.dumps(float(value)) == str(value).encode():
        return float(value)
    return value


def digest(value: Any) -> str:
    """`sha256:` + hex of the canonical JSON bytes.

    >>> digest({})
    'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'
    """
    return digest_bytes(canonical_bytes(value))


def digest_bytes(data: bytes) -> str:
    """`sha256:` + hex of raw bytes.

    >>> digest_bytes(b"")
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    return "sha256:" + hashlib.sha256(data).hexdigest()
