"""The model-feature contract (`contract.json`): what a model accepts and answers."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from maestro.core.canonical import digest
from maestro.core.model import Digest, Model, Name

FeatureType = Literal["float64", "int64", "string", "bool"]
RangeRule = Literal["accept_and_count", "refuse"]


class Feature(Model):
    """One input column with the range that training saw."""

    name: str = Field(min_length=1, max_length=256)
    type: FeatureType = "float64"
    min: float | None = None
    max: float | None = None
    nullable: bool = False
    pii: bool = False


class FeatureServiceRef(Model):
    """The Feast feature service by name and by the fingerprint of its definition."""

    name: Name
    fingerprint: Digest


class Output(Model):
    """What a prediction is."""

    kind: Literal["classification", "regression", "anomaly", "forecast"]
    classes: tuple[str, ...] | None = None


class ModelContract(Model):
    """Feature names, types, order and output. Positional rows are allowed when the width matches."""

    schema_: Literal["maestro.contract/1"] = Field(default="maestro.contract/1", alias="schema")
    features: tuple[Feature, ...] = Field(min_length=1)
    order: Digest
    feature_service: FeatureServiceRef | None = None
    entity_keys: tuple[str, ...] = ()
    output: Output
    on_out_of_range: RangeRule = "accept_and_count"

    @classmethod
    def build(cls, features: tuple[Feature, ...], output: Output, **fields: Any) -> Self:
        """A contract with its `order` digest computed."""
        return cls(features=features, output=output, order=feature_order(features), **fields)

    @model_validator(mode="after")
    def _order_matches(self) -> Self:
        if self.order != feature_order(self.features):
            raise ValueError("order is not the digest of the feature names and types in sequence")
        if len({feature.name for feature in self.features}) != len(self.features):
            raise ValueError("feature names must differ")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in the model's order."""
        return tuple(feature.name for feature in self.features)

    def breaks(self, other: ModelContract) -> bool:
        """Whether callers of this contract would break under `other`: inputs or output changed."""
        return self.order != other.order or self.output != other.output or self.entity_keys != other.entity_keys


def feature_order(features: tuple[Feature, ...]) -> str:
    """The digest of names and types in the model's order."""
    return digest([[feature.name, feature.type] for feature in features])
