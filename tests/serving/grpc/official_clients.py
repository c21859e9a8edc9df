"""Asks a running server with the protocol's official clients, unchanged. Run by the interpreter of their own environment.

python official_clients.py HTTP_ADDRESS GRPC_ADDRESS MODEL ROWS_JSON; prints one JSON document: what each client answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np


def triton_http(address: str, model: str, rows: Any) -> list[int]:
    """Binary tensors over HTTP, as the client sends them by default."""
    import tritonclient.http as triton

    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model)
    assert client.get_model_metadata(model)["name"] == model
    tensor = triton.InferInput("input-0", rows.shape, "FP64")
    tensor.set_data_from_numpy(rows)
    found: list[int] = client.infer(model, [tensor]).as_numpy("predict").tolist()
    return found


def triton_grpc(address: str, model: str, rows: Any) -> list[int]:
    """Raw contents over gRPC."""
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model)
    assert client.get_model_metadata(model).name == model
    tensor = triton.InferInput("input-0", rows.shape, "FP64")
    tensor.set_data_from_numpy(rows)
    found: list[int] = client.infer(model, [tensor]).as_numpy("predict").tolist()
    return found


def kserve_rest(address: str, model: str, rows: Any) -> list[int]:
    """KServe's own REST client."""
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def ask() -> list[int]:
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        tensor = InferInput("input-0", list(rows.shape), "FP64", data=rows.tolist())
        request = InferRequest(model_name=model, infer_inputs=[tensor])
        answer = await client.infer(f"http://{address}", request, model_name=model)
        await client.close()
        return next(list(output.data) for output in answer.outputs if output.name == "predict")

    return asyncio.run(ask())


def kserve_grpc(address: str, model: str, rows: Any) -> list[int]:
    """KServe's own gRPC client."""
    from kserve import InferenceGRPCClient, InferInput, InferRequest

    async def ask() -> list[int]:
        client = InferenceGRPCClient(url=address)
        assert await client.is_server_live()
        tensor = InferInput("input-0", list(rows.shape), "FP64", data=rows.ravel().tolist())
        answer = await client.infer(InferRequest(model_name=model, infer_inputs=[tensor]))
        await client.close()
        return next(list(output.data) for output in answer.outputs if output.name == "predict")

    return asyncio.run(ask())


def main(http: str, grpc: str, model: str, rows_json: str) -> None:
    """Ask with each."""
    rows = np.array(json.loads(rows_json), dtype=np.float64)
    clients = [(triton_http, http), (triton_grpc, grpc), (kserve_rest, http), (kserve_grpc, grpc)]
    print(json.dumps({client.__name__: client(address, model, rows) for client, address in clients}))


if __name__ == "__main__":
    main(*sys.argv[1:])
