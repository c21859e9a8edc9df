"""Entities as numbers: the first 8 bytes, big-endian, of the SHA-256 of the entity's key text.

The key text is the values of the entity keys joined by `|`. `trained_entities.npy` holds the sorted numbers of everybody that a training or its offline gate saw, so
that a rollout can judge quality on others only, without the model's folder naming anyone.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def entity_number(*values: object) -> int:
    """The number of one entity.

    >>> entity_number(7) == int.from_bytes(sha256(b"7").digest()[:8], "big")
    True
    """
    return int.from_bytes(sha256("|".join(map(str, values)).encode()).digest()[:8], "big")


def entity_numbers(keys: pd.DataFrame) -> np.ndarray:
    """The number of each row of entity keys (uint64)."""
    import numpy as np

    return np.fromiter(
        (entity_number(*row) for row in keys.itertuples(index=False, name=None)), dtype=np.uint64, count=len(keys)
    )
