"""The model-feature contract: its order digest is checked, and what breaks callers is told from what does not."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from maestro.core.contract import Feature, ModelContract, Output

FEATURES = (Feature(name="mean_radius", min=6.9, max=28.2), Feature(name="mean_texture", nullable=True))
OUTPUT = Output(kind="classification", classes=("0", "1"))


def test_a_contract_survives_json() -> None:
    contract = ModelContract.build(FEATURES, OUTPUT, entity_keys=("patient_id",))
    assert ModelContract.model_validate(contract.document()) == contract
    assert contract.names == ("mean_radius", "mean_texture")


def test_an_order_that_is_not_the_features_is_refused() -> None:
    document = ModelContract.build(FEATURES, OUTPUT).document()
    document["features"].reverse()
    with pytest.raises(ValidationError, match="order is not the digest"):
        ModelContract.model_validate(document)


def test_feature_names_differ() -> None:
    with pytest.raises(ValidationError, match="feature names must differ"):
        ModelContract.build((FEATURES[0], FEATURES[0]), OUTPUT)


def test_ranges_do_not_break_callers_and_order_does() -> None:
    contract = ModelContract.build(FEATURES, OUTPUT)
    wider = ModelContract.build((Feature(name="mean_radius", max=99.0), FEATURES[1]), OUTPUT)
    turned = ModelContract.build(FEATURES[::-1], OUTPUT)
    other = ModelContract.build(FEATURES, Output(kind="regression"))
    assert not contract.breaks(wider)
    assert contract.breaks(turned)
    assert contract.breaks(other)
