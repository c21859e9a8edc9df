"""Kubernetes quantities as numbers.

Source: Kubernetes API concepts, "Resource quantities".
"""

from __future__ import annotations

import re

from maestro.core.errors import BadInput

_SUFFIX = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([numkMGTPE]?i?)")


def quantity(text: str) -> float:
    """Cores, bytes or a count.

    Raises:
        BadInput: it is no quantity.

    >>> quantity("250m"), quantity("2Gi"), quantity("4")
    (0.25, 2147483648.0, 4.0)
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in _SUFFIX:
        raise BadInput(f"{text!r} is no quantity", field="resources", remedy="write 500m, 2, 1.5 or 512Mi")
    return float(match[1]) * _SUFFIX[match[2]]
