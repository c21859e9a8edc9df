"""How a key is said to another service."""

from __future__ import annotations


def bearer(token: str) -> dict[str, str]:
    """The header that says it; no header for no key.

    >>> bearer("abc"), bearer("")
    ({'Authorization': 'Bearer abc'}, {})

    Raises:
        ValueError: it is not one line of ASCII; the error does not show it, as the complaint about the header would.
    """
    if not (token.isascii() and token.isprintable()):
        raise ValueError("it is not one line of ASCII")
    return {"Authorization": f"Bearer {token}"} if token else {}
