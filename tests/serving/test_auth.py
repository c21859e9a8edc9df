"""Who may ask: by the network, or by a key."""

from __future__ import annotations

import pytest

from maestro.core.principals import PrincipalRole
from tests.serving.conftest import Serve, Trained, Workshop, node

pytestmark = pytest.mark.door

BODY = {"instances": [[12, 15, 80, 500]]}


def test_with_a_key_every_inference_route_wants_one(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    client = serve(auth="key")
    paths = ("/predict", "/invocations", "/v2/models/m/infer", "/v2/models/m/versions/1.0.0/infer")
    for path in paths:
        response = client.post(path, json=BODY)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert "Authorization" in response.json()["remedy"] or "key" in response.json()["remedy"]
    for path in ("/v2", "/v2/models/m", "/v2/models/m/ready"):
        assert client.get(path).status_code == 401
    for path in ("/healthz", "/ping", "/v2/health/live", "/v2/health/ready", "/metrics"):
        assert client.get(path).status_code == 200
    header = {"Authorization": f"Bearer {workshop.key(name='caller')}"}  # any key: inference needs no role
    assert client.post("/predict", json=BODY, headers=header).status_code == 200
    assert client.get("/v2", headers=header).status_code == 200
    assert client.post("/predict", json=BODY, headers={"Authorization": "Bearer mk_no"}).status_code == 401


def test_a_key_that_is_taken_away_works_no_longer(workshop: Workshop, trained: Trained, serve: Serve) -> None:
    from maestro.security.verifiers import write_verifiers

    version = workshop.register("1.0.0", {"model.onnx": trained.onnx}, trained.contract)
    workshop.graph({"a": node(version)}, "a")
    header = {"Authorization": f"Bearer {workshop.key(PrincipalRole.OPERATOR)}"}
    client = serve(auth="key")
    assert client.post("/predict", json=BODY, headers=header).status_code == 200
    write_verifiers(workshop.home.server_keys, [])
    assert client.post("/predict", json=BODY, headers=header).status_code == 401
