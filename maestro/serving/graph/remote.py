"""A model elsewhere, asked over the Open Inference Protocol (REST, version 2)."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput
from maestro.observability.tracing import traceparent
from maestro.serving.breaker import CircuitBreaker
from maestro.serving.graph._base import Answer, Call
from maestro.serving.graph.guarded import guarded
from maestro.serving.graph.remote_http import RemoteClient, RemoteUnheard
from maestro.serving.runtimes._base import ModelFailed, ModelTimeout
from maestro.serving.table import Prediction, Table

UNKNOWN_VERSION = "remote"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class RemoteRunner:
    """Sends the rows as one FP64 tensor, or as one tensor a column when a value is not a number.

    Args:
        url: `http://host/v2/models/NAME[/versions/VERSION]`.
        client: shared.
        breaker: of that server, shared by all who ask it.
        version: what metrics call it; the answer's own `model_version` is what callers see.
    """

    def __init__(
        self,
        name: str,
        url: str,
        timeout_s: float,
        client: RemoteClient,
        breaker: CircuitBreaker,
        version: str = UNKNOWN_VERSION,
    ) -> None:
        self.name = name
        self.version = version
        self._url = url.rstrip("/") + "/infer"
        self._timeout_s = timeout_s
        self._client = client
        self.breaker = breaker

    @property
    def contracts(self) -> tuple[ModelContract, ...]:
        """None here: the other server holds the contract."""
        return ()

    async def answer(self, call: Call) -> Answer:
        """Ask, within the node's timeout, unless that server has failed too often."""
        return await guarded(self.breaker, f"node {self.name!r} ({self._url})", lambda: self._ask(call))

    async def _ask(self, call: Call) -> Answer:
        parent = traceparent()
        try:
            status, body = await self._client.post(
                self._url,
                _encode({"inputs": tensors(call.table)}),
                timeout_s=self._timeout_s,
                headers=(("traceparent", parent),) if parent else (),
            )
        except TimeoutError:
            raise ModelTimeout(
                f"node {self.name!r} ({self._url}) did not answer within {self._timeout_s * 1000:.0f} ms",
                remedy="look at that server, or raise timeout_ms of the node",
            ) from None
        except (RemoteUnheard, ValueError) as error:
            raise ModelFailed(
                f"node {self.name!r}: {self._url} cannot be asked: {error}", remedy="look at that server"
            ) from None
        if status in (400, 404, 413, 422):
            raise BadInput(
                f"node {self.name!r} refused the rows: {_reason(body)}",
                field=call.table.where,
                remedy="correct the rows",
            )
        if status != 200:
            raise ModelFailed(f"node {self.name!r} answered {status}: {_reason(body)}", remedy="look at that server")
        return self._read(body, len(call.table))

    def _read(self, body: bytes, rows: int) -> Answer:
        try:
            document = _decode(body)
            output = document["outputs"][0]
            data, shape = output["data"], output["shape"]
            width = 1 if len(shape) < 2 else int(shape[1])
            values: list[Any] = data if width == 1 else [data[i : i + width] for i in range(0, len(data), width)]
            if data and isinstance(data[0], list):
                values = [item[0] if len(item) == 1 else item for item in data]
            if len(values) != rows:
                raise ValueError(f"{len(values)} answers for {rows} rows")
            version = str(document.get("model_version") or self.version)
        except (msgspec.DecodeError, ValueError, KeyError, IndexError, TypeError) as error:
            raise ModelFailed(
                f"node {self.name!r} did not answer in the Open Inference Protocol: {error}",
                remedy="look at that server",
            ) from None
        return Answer(Prediction(values), version, self.name)


def tensors(table: Table) -> list[dict[str, Any]]:
    """A table as Open Inference tensors."""
    if table.matrix is not None and table.names is None:
        return [_tensor("input-0", list(table.matrix.shape), "FP64", table.matrix.ravel().tolist())]
    names, rows = _rows(table)
    if names is None:
        if all(isinstance(value, int | float) and not isinstance(value, bool) for row in rows for value in row):
            flat = [float(value) for row in rows for value in row]
            return [_tensor("input-0", [len(rows), len(rows[0]) if rows else 0], "FP64", flat)]
        raise BadInput(
            f"{table.where}: rows with text, booleans or missing values need column names here",
            field=table.where,
            remedy="send objects",
        )
    result = []
    for position, name in enumerate(names):
        column = [row[position] for row in rows]
        datatype = "BYTES"
        if all(isinstance(value, bool) for value in column):
            datatype = "BOOL"
        elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in column):
            datatype = "FP64"
        result.append(_tensor(name, [len(rows), 1], datatype, column))
    return result


def _rows(table: Table) -> tuple[tuple[str, ...] | None, list[list[Any]]]:
    if table.records is not None:
        names = tuple(dict.fromkeys(name for record in table.records for name in record))
        return names, [[record.get(name) for name in names] for record in table.records]
    if table.matrix is not None:
        return table.names, table.matrix.tolist()
    rows = table.rows or ()
    if any(len(row) != len(rows[0]) for row in rows):
        raise BadInput(f"{table.where}: rows differ in width", field=table.where, remedy="send rows of one width")
    return table.names, [list(row) for row in rows]


def _tensor(name: str, shape: list[int], datatype: str, data: list[Any]) -> dict[str, Any]:
    if datatype == "FP64" and not all(map(math.isfinite, data)):
        raise ValueError("a number is not finite, and JSON has no word for it")
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def _reason(body: bytes) -> str:
    try:
        document = _decode(body)
    except msgspec.DecodeError:
        return body.decode(errors="replace")[:200]
    if isinstance(document, dict):
        return str(document.get("detail") or document.get("error") or document)[:300]
    return str(document)[:300]
