"""What the server exports: the names of the platform and no other, and numbers that add up."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from maestro.core.metric_names import METRICS
from maestro.serving.metrics import ServerMetrics
from tests.serving.conftest import ENTITY, Serve, Trained, Workshop, node, split


def families(text: str) -> dict[str, list[tuple[dict[str, str], float, str]]]:
    return {
        family.name: [(dict(sample.labels), float(sample.value), sample.name) for sample in family.samples]
        for family in text_string_to_metric_families(text)
    }


@pytest.mark.door
@pytest.mark.shows("I10", env="laptop")
def test_names_labels_and_sums(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    a = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    b = workshop.register("1.1.0", {"model.onnx": trained.onnx}, trained.contract, statement="authorisation")
    workshop.graph({"a": node(a), "b": node(b), "ab": split("a", "b", 5000)}, "ab")
    client = serve()
    for unit in range(20):
        client.post("/predict", json={"instances": trained.rows[:3].tolist(), "context": {ENTITY: unit}})
    client.post("/predict", json={"instances": [[1e9, 15, 80, 500]]})
    client.post("/predict", json={"instances": [[1]]})
    client.post("/predict", content=b"")
    found = families(client.get("/metrics").text)
    standard = {name for name in found if name.startswith("process_")}
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "process_start_time_seconds"} <= standard
    found = {name: samples for name, samples in found.items() if name not in standard}
    known = {name.removesuffix("_total") for name in METRICS}
    assert found.keys() <= known
    for name, samples in found.items():
        spec = METRICS.get(name) or METRICS[f"{name}_total"]
        for labels, _, _ in samples:
            assert set(labels) - {"le"} == set(spec.labels), name
    requests = found["maestro_inference_requests"]
    assert sum(value for _, value, _ in requests) == 22
    assert sum(value for labels, value, _ in requests if labels["outcome"] == "contract") == 1
    latency = found["maestro_inference_latency_seconds"]
    assert sum(value for _, value, name in latency if name.endswith("_count")) == 22
    responses = {labels["status"]: value for labels, value, _ in found["maestro_responses"]}
    assert responses == {"200": 21.0, "422": 1.0, "400": 1.0}
    assert found["maestro_inference_out_of_range"] == [
        ({"model": "m", "feature": "x0"}, 1.0, "maestro_inference_out_of_range_total")
    ]
    sizes = found["maestro_inference_batch_size"]
    assert [value for _, value, name in sizes if name.endswith("_sum")] == [62.0]


def test_an_arm_is_counted_by_its_first_attempts() -> None:
    metrics = ServerMetrics()
    arm = metrics.arm("m", "1.0.0", "a")
    arm.observe("ok", 0.0004)
    arm.observe("timeout", 0.1)
    arm.observe("error", 30.0)
    assert arm.outcomes == {"ok": 1, "error": 1, "timeout": 1, "contract": 0}
    assert arm.latency.cumulative()["0.1"] == 2  # a bucket holds its own bound
    assert arm.latency.cumulative()["1.0"] == 2
    assert arm.latency.cumulative()["+Inf"] == 3
    assert metrics.arm("m", "1.0.0", "a") is arm
