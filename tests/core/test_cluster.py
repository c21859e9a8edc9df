"""The settings of the cluster."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from maestro.core.cluster import ClusterServing, ClusterSettings


def test_defaults_are_the_promised_names() -> None:
    options = ClusterSettings()
    assert (options.training.namespace, options.serving.namespace) == ("kubeflow-training", "ml-serving")
    assert (options.serving.champion, options.serving.challenger) == ("model-champion", "model-challenger")
    assert (options.serving.graph, options.serving.service) == ("ab-test-config", "mlflow-model-server")


def test_an_unknown_way_of_moving_traffic_is_refused() -> None:
    with pytest.raises(ValidationError, match="router"):
        ClusterServing.model_validate({"traffic": "ingress"})
