"""Networks: parameters are checked before a framework is needed, and the saved one answers with numpy alone."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from maestro.core.errors import BadInput
from maestro.training.models import model_type
from maestro.training.models.network import ClassifyingNetwork, Network


@pytest.mark.parametrize("name", ["pytorch", "tensorflow"])
@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"hidden": []}, "params.hidden"),
        ({"hidden": [0]}, "params.hidden"),
        ({"hidden": 64}, "params.hidden"),
        ({"lr": 0}, "params.lr"),
        ({"epochs": 1.5}, "params.epochs"),
        ({"batch_size": True}, "params.batch_size"),
        ({"colour": 1}, "params.colour"),
        ({"task": "ranking"}, "params.task"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, params: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        model_type(name).build(params, 0)
    assert caught.value.field == field


@pytest.mark.parametrize(("name", "package"), [("pytorch", "torch"), ("tensorflow", "tensorflow")])
def test_a_framework_that_is_missing_is_named(name: str, package: str) -> None:
    if find_spec(package) is not None:
        assert model_type(name).build({}, 0) is not None
        return
    with pytest.raises(BadInput, match=f"{package} is not installed here") as caught:
        model_type(name).build({}, 0)
    assert caught.value.field == "model_type"


def test_layers_are_what_they_say() -> None:
    layers = [(np.array([[1.0, -1.0]]), np.array([0.0, 0.0])), (np.array([[2.0], [3.0]]), np.array([1.0]))]
    plain = Network(layers, np.array([10.0]), np.array([2.0]), None, scale=5.0, shift=100.0)
    # (14 − 10) ÷ 2 = 2 → relu(2, −2) = (2, 0) → 5; (8 − 10) ÷ 2 = −1 → (0, 1) → 4; a gap is the mean → 1
    assert plain.predict(np.array([[14.0], [8.0], [np.nan]])).tolist() == [125.0, 120.0, 105.0]
    both = ClassifyingNetwork([(np.array([[0.0, 1.0]]), np.zeros(2))], np.zeros(1), np.ones(1), np.array([3, 7]))
    assert both.predict(np.array([[-1.0], [1.0]])).tolist() == [3, 7]
    shares = both.predict_proba(np.array([[0.0], [np.log(3.0)]]))
    assert shares == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]))
