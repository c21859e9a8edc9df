"""Drift in served traffic, through the door: predictions and features are watched, a change is exported and alerted on."""

from __future__ import annotations

import numpy as np
import pytest

from maestro.core.seams import Alert
from maestro.serving.streaming import StreamMonitor
from tests.serving.conftest import ENTITY, Client, Serve, Trained, Workshop, node


def send(client: Client, rows: np.ndarray, start: int = 0) -> None:
    for unit, row in enumerate(rows.tolist(), start):
        body = {"instances": [row], "entities": [{ENTITY: unit}]}
        assert client.post("/predict", json=body).status_code == 200


@pytest.mark.door
@pytest.mark.shows("I8", "I11", env="laptop")
def test_a_change_in_traffic_is_found_exported_and_alerted_on(
    workshop: Workshop, trained: Trained, serve: Serve
) -> None:
    workshop.graph({"a": node(workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract))}, "a")
    client = serve()
    alerts: list[Alert] = []
    monitor = StreamMonitor(detector="page-hinkley", alert=alerts.append, flush_s=60)
    client.server.streams.close()
    client.server.streams = monitor
    rng = np.random.default_rng(1)
    low, high = trained.rows.min(axis=0), trained.rows.max(axis=0)
    still = rng.uniform(low, (low + high) / 2, (1200, 4))
    send(client, still)
    monitor.flush()
    assert not alerts
    moved = still[:600].copy()
    moved[:, 3] += (high - low)[3]
    send(client, moved, start=5000)
    monitor.flush()
    assert any("x3 changed" in alert.title for alert in alerts)
    assert not any("x1 changed" in alert.title for alert in alerts)
    shown = client.get("/metrics").text
    assert 'maestro_drift_signals_total{column="x3",dataset="m@1.0.0"}' in shown
    effects = {
        line.split('column="')[1].split('"')[0]: float(line.split()[-1])
        for line in shown.splitlines()
        if line.startswith("maestro_drift_effect{")
    }
    assert effects["x3"] > 0.9
    assert effects["x1"] < 0.2
    assert "prediction" in effects
