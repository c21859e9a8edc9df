"""Money as integer micro-dollars, and the one way to divide it without losing any."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import TypeAlias

MicroUsd: TypeAlias = int
"""A sum of money in millionths of a US dollar."""

MICROS_PER_USD = 1_000_000


def from_usd(amount: str | int | float | Decimal) -> MicroUsd:
    """Dollars as micro-dollars, rounded half to even. A float is read as it is printed.

    >>> from_usd("0.25"), from_usd(0.05)
    (250000, 50000)
    """
    exact = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    return int((exact * MICROS_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))


def to_usd(micros: MicroUsd) -> Decimal:
    """Micro-dollars as an exact decimal number of dollars.

    >>> to_usd(1_250_000)
    Decimal('1.250000')
    """
    return Decimal(micros).scaleb(-6)


def format_usd(micros: MicroUsd, *, places: int = 4) -> str:
    """Dollars for people: a sign, a `$` and `places` decimals.

    >>> format_usd(-12_345)
    '-$0.0123'
    """
    quantum = Decimal(1).scaleb(-places)
    return f"{'-' if micros < 0 else ''}${abs(to_usd(micros)).quantize(quantum, rounding=ROUND_HALF_EVEN)}"


def round_micros(exact: Fraction) -> MicroUsd:
    """The nearest whole micro-dollar, half to even.

    >>> round_micros(Fraction(5, 2)), round_micros(Fraction(7, 2))
    (2, 4)
    """
    return round(exact)


def split(total: MicroUsd, weights: Sequence[int | float | Fraction]) -> tuple[MicroUsd, ...]:
    """Divide a sum in proportion to `weights` so that the parts add up to it exactly (largest remainder).

    Each part is within one micro-dollar of its exact share; of equal remainders the earlier part wins.

    Raises:
        ValueError: no weights, a weight that is negative or not finite, or weights that are all zero while there is money
            to divide.

    >>> split(100, [1, 1, 1])
    (34, 33, 33)
    >>> split(7, [0.5, 0, 0.5])
    (4, 0, 3)
    """
    if not weights:
        raise ValueError("weights: at least one part is needed to split a sum")
    try:
        exact = [Fraction(weight) for weight in weights]
    except (OverflowError, ValueError) as error:
        raise ValueError("weights: every weight must be finite") from error
    if min(exact) < 0:
        raise ValueError("weights: a weight must not be negative")
    whole = sum(exact, Fraction(0))
    if whole == 0:
        if total == 0:
            return (0,) * len(exact)
        raise ValueError("weights: all are zero, so the sum has no owner")
    if total < 0:
        return tuple(-part for part in split(-total, exact))
    shares = [total * weight / whole for weight in exact]
    parts = [int(share) for share in shares]
    missing = total - sum(parts)
    by_remainder = sorted(range(len(shares)), key=lambda i: (parts[i] - shares[i], i))
    for i in by_remainder[:missing]:
        parts[i] += 1
    return tuple(parts)
