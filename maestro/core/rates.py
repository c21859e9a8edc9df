"""The rate card: what an hour of a core, a GPU or a GiB of memory costs."""

from __future__ import annotations

from fractions import Fraction
from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import Field, StringConstraints

from maestro.core.model import Model
from maestro.core.money import MICROS_PER_USD

_HOUR = 3600


class RateCard(Model):
    """Prices per hour of allocation. Spot machines cost `spot_factor` of the price."""

    version: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}$")]
    currency: Literal["USD"] = "USD"
    cpu_core_hour: float = Field(ge=0.0, le=1e6)
    gpu_hour: float = Field(ge=0.0, le=1e6)
    memory_gib_hour: float = Field(default=0.0, ge=0.0, le=1e6)
    spot_factor: float = Field(default=1.0, gt=0.0, le=1.0)

    def micros(
        self,
        *,
        core_seconds: float | Fraction = 0.0,
        gpu_seconds: float | Fraction = 0.0,
        gib_seconds: float | Fraction = 0.0,
        spot: bool = False,
    ) -> Fraction:
        """The exact price in micro-dollars of the given amounts; rounding is left to whoever writes the bill.

        >>> float(load_rates().micros(core_seconds=4 * 3600, gpu_seconds=3600))
        450000.0
        """
        hours = (
            _price(self.cpu_core_hour) * Fraction(core_seconds)
            + _price(self.gpu_hour) * Fraction(gpu_seconds)
            + _price(self.memory_gib_hour) * Fraction(gib_seconds)
        )
        return hours * MICROS_PER_USD * (_price(self.spot_factor) if spot else 1) / _HOUR


def _price(rate: float) -> Fraction:
    # A rate means the decimal number that people read in the card, not its nearest binary fraction.
    return Fraction(repr(rate))


def parse_rates(text: str) -> RateCard:
    """A rate card from YAML.

    Raises:
        ValueError: the text is not YAML, or a field is unknown, missing or out of range (pydantic's error names it).

    >>> parse_rates("{version: 2026-01, cpu_core_hour: 0.04, gpu_hour: 0.2}").gpu_hour
    0.2
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"rate card: not YAML: {error}") from error
    return RateCard.model_validate(document)


def load_rates() -> RateCard:
    """The rate card that the package brings (`maestro/core/rates.yaml`).

    >>> load_rates().cpu_core_hour, load_rates().gpu_hour
    (0.05, 0.25)
    """
    return parse_rates(resources.files("maestro.core").joinpath("rates.yaml").read_text(encoding="utf-8"))
