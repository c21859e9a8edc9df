"""What may enter a stream."""

from __future__ import annotations

import math

from maestro.core.errors import BadInput


def finite_value(value: float) -> float:
    """The value itself.

    Raises:
        BadInput: it is NaN or infinite: one of them would blind a detector for good.
    """
    if not math.isfinite(value):
        raise BadInput(
            f"the stream's value is {value}", field="value", remedy="count missing values apart; send finite numbers"
        )
    return value
