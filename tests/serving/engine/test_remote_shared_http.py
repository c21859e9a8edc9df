"""Several workers in front of remote nodes: what a worker hears from a node is for its parent too, which keeps the evidence."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from tests.serving.conftest import ENTITY, Process, Workshop, split
from tests.serving.remote_model import RemoteModel, http, standing

pytestmark = pytest.mark.door


@pytest.mark.shows("H4", env="laptop")
def test_whole_numbers_that_no_tensor_holds_are_the_nodes_failure_and_not_the_servers(
    workshop: Workshop, spawn: Callable[..., Process]
) -> None:
    model = RemoteModel()
    with standing(model) as url:
        remote = {"type": "remote", "url": url, "timeout_ms": 5000}
        workshop.graph({"a": remote, "b": remote, "ab": split("a", "b", 5000, experiment="e")}, "ab")
        process = spawn(MAESTRO_SERVING__WORKERS="2").wait_ready()

        def ask(unit: int) -> httpx.Response:
            document = {"instances": [[1.0, 2.0]], "context": {ENTITY: unit}}
            return httpx.post(f"{process.url}/predict", json=document, trust_env=False, timeout=10)

        assert (ask(1).status_code, ask(2).json()) == (200, {"predictions": [3.0]})
        for digits in (b"18446744073709551616", b"1" + b"0" * 300):
            said = b'{"outputs": [{"shape": [1], "datatype": "INT64", "data": [%s]}]}' % digits
            model.fault = lambda rows, said=said: http(200, said)  # type: ignore[misc]
            answer = ask(3)
            assert answer.status_code == 503, answer.text
            assert "more than 64 bits" in answer.json()["detail"]
        model.fault = lambda rows: None
        assert ask(1).status_code == 200
