"""Which code decided: the package's version and the digest of what its arithmetic rests on."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from maestro import __version__
from maestro.core.canonical import digest

LOCKED = ("numpy", "scipy", "pydantic", "pydantic-core", "rfc8785")
"""The libraries whose version can change the bytes of a record."""


@lru_cache(maxsize=1)
def code_identity() -> str:
    """`<version>+lock:sha256:<hex>`, the lock being the installed versions of `LOCKED` and of Python."""
    installed = {"python": platform.python_version()}
    for name in LOCKED:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "absent"
    return f"{__version__}+lock:{digest(installed)}"
