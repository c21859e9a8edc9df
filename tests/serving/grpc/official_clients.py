"""Asks a running server with the protocols' official clients, unchanged. Run by the interpreter of their own environment.

python official_clients.py JSON, with http and grpc (addresses), model, rows, columns and key; prints one JSON document: what each client answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np


class Asked:
    """What to ask, and where."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.http: str = document["http"]
        self.grpc: str = document["grpc"]
        self.model: str = document["model"]
        self.columns: list[str] = document["columns"]
        self.rows: Any = np.array(document["rows"], dtype=np.float64)
        self.key: str = document["key"]

    @property
    def headers(self) -> dict[str, str]:
        """Anew for each call: tritonclient writes into what it is given."""
        return {"authorization": f"Bearer {self.key}"}


def triton_http(asked: Asked) -> list[Any]:
    """tritonclient over HTTP: binary tensors as it sends them by default, JSON, compressed, asynchronous; metadata and the repository."""
    import tritonclient.http as triton

    with triton.InferenceServerClient(asked.http, concurrency=2) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(asked.model, headers=asked.headers)
        assert client.get_server_metadata(headers=asked.headers)["name"] == "maestro"
        metadata = client.get_model_metadata(asked.model, headers=asked.headers)
        assert metadata["name"] == asked.model
        assert [tensor["name"] for tensor in metadata["inputs"]] == asked.columns
        index = client.get_model_repository_index(headers=asked.headers)
        assert [each["state"] for each in index if each["name"] == asked.model] == ["READY"]
        client.load_model(asked.model, headers=asked.headers)
        try:
            client.unload_model(asked.model, headers=asked.headers)
        except triton.InferenceServerException:
            pass
        else:
            raise AssertionError("a model that a graph pins was unloaded")
        found = []
        for binary in (True, False):
            tensor = triton.InferInput("input-0", asked.rows.shape, "FP64")
            tensor.set_data_from_numpy(asked.rows, binary_data=binary)
            outputs = [triton.InferRequestedOutput("predict", binary_data=binary)]
            found.append(client.infer(asked.model, [tensor], headers=asked.headers).as_numpy("predict").tolist())
            answer = client.infer(asked.model, [tensor], outputs=outputs, request_id="7", headers=asked.headers)
            assert answer.get_response()["id"] == "7"
            found.append(answer.as_numpy("predict").tolist())
        narrow = triton.InferInput("input-0", asked.rows.shape, "FP32")
        narrow.set_data_from_numpy(asked.rows.astype(np.float32))
        waiting = client.async_infer(asked.model, [narrow], headers=asked.headers)
        found.append(waiting.get_result().as_numpy("predict").tolist())
        named = []
        for position, column in enumerate(asked.columns):
            each = triton.InferInput(column, [len(asked.rows), 1], "FP64")
            each.set_data_from_numpy(np.ascontiguousarray(asked.rows[:, position : position + 1]))
            named.append(each)
        found.append(client.infer(asked.model, named, headers=asked.headers).as_numpy("predict").tolist())
        for algorithm in ("gzip", "deflate"):
            answer = client.infer(asked.model, [tensor], headers=asked.headers, request_compression_algorithm=algorithm)
            found.append(answer.as_numpy("predict").tolist())
        return found


def triton_grpc(asked: Asked) -> list[Any]:
    """tritonclient over gRPC: raw contents, metadata, the repository."""
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(asked.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(asked.model, headers=asked.headers)
        assert client.get_server_metadata(headers=asked.headers).name == "maestro"
        assert client.get_model_metadata(asked.model, headers=asked.headers).name == asked.model
        index = client.get_model_repository_index(headers=asked.headers)
        assert [each.state for each in index.models if each.name == asked.model] == ["READY"]
        client.load_model(asked.model, headers=asked.headers)
        tensor = triton.InferInput("input-0", asked.rows.shape, "FP64")
        tensor.set_data_from_numpy(asked.rows)
        found = [client.infer(asked.model, [tensor], headers=asked.headers).as_numpy("predict").tolist()]
        outputs = [triton.InferRequestedOutput("predict")]
        answer = client.infer(asked.model, [tensor], outputs=outputs, request_id="7", headers=asked.headers)
        assert answer.get_response().id == "7"
        found.append(answer.as_numpy("predict").tolist())
        status = ""
        try:
            client.infer("nobody", [tensor], headers=asked.headers)
        except triton.InferenceServerException as error:
            status = error.status()
        assert status == "StatusCode.NOT_FOUND", "a model that is not there"
        return found


def kserve_rest(asked: Asked) -> list[Any]:
    """KServe's REST client: JSON and binary tensors."""
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def ask() -> list[Any]:
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        base = f"http://{asked.http}"
        assert await client.is_server_live(base)
        assert await client.is_server_ready(base)
        assert await client.is_model_ready(base, asked.model, headers=asked.headers)
        assert not await client.is_model_ready(base, "nobody", headers=asked.headers)
        found = []
        for binary in (False, True):
            tensor = InferInput("input-0", list(asked.rows.shape), "FP64")
            tensor.set_data_from_numpy(asked.rows, binary_data=binary)
            request = InferRequest(model_name=asked.model, infer_inputs=[tensor])
            answer = await client.infer(base, request, model_name=asked.model, headers=dict(asked.headers))
            found += [output.as_numpy().tolist() for output in answer.outputs if output.name == "predict"]
        await client.close()
        return found

    return asyncio.run(ask())


def kserve_grpc(asked: Asked) -> list[Any]:
    """KServe's gRPC client: typed and raw contents."""
    from kserve import InferenceGRPCClient, InferInput, InferRequest

    async def ask() -> list[Any]:
        client = InferenceGRPCClient(url=asked.grpc)
        headers = list(asked.headers.items())
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(asked.model, headers=headers)
        found = []
        typed = InferInput("input-0", list(asked.rows.shape), "FP64", data=asked.rows.ravel().tolist())
        raw = InferInput("input-0", list(asked.rows.shape), "FP64")
        raw.set_data_from_numpy(asked.rows, binary_data=True)
        for tensor in (typed, raw):
            answer = await client.infer(InferRequest(model_name=asked.model, infer_inputs=[tensor]), headers=headers)
            found += [output.as_numpy().tolist() for output in answer.outputs if output.name == "predict"]
        await client.close()
        return found

    return asyncio.run(ask())


def mlflow_client(asked: Asked) -> list[Any]:
    """MLflow's client of scoring servers: a frame, a frame without names, an array. It sends no key."""
    import pandas as pd
    from mlflow.pyfunc.scoring_server import client as scoring

    host, _, port = asked.http.partition(":")
    make: Any = scoring.ScoringServerClient  # it has no types
    client = make(host, int(port))
    client.wait_server_ready(timeout=10)
    client.ping()
    assert client.get_version()
    rows = asked.rows
    sent = [pd.DataFrame(rows, columns=asked.columns), pd.DataFrame(rows), rows]
    return [client.invoke(each).get_predictions("ndarray").ravel().tolist() for each in sent]


CLIENTS = (triton_http, triton_grpc, kserve_rest, kserve_grpc, mlflow_client)


def main(text: str) -> None:
    """Ask with each that is named."""
    document = json.loads(text)
    asked = Asked(document)
    print(json.dumps({client.__name__: client(asked) for client in CLIENTS if client.__name__ in document["clients"]}))


if __name__ == "__main__":
    main(sys.argv[1])
