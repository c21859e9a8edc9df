"""The program of the model process: loads one MLflow model and answers for it. It imports nothing of ours.

stdin and stdout carry frames: four bytes of length (big-endian), then msgpack. The first answer has id 0 and says that the model has loaded
or why not. A request holds `id`, `names`, `types`, `columns` (bytes of little-endian float64 for float64, else a list); an answer holds `id`
and `values` or `error`.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, BinaryIO

MAX_FRAME = 256 * 2**20


def main(folder: str) -> int:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the model prints must not land between frames
    requests = sys.stdin.buffer
    try:
        model = load(folder)
    except BaseException as error:  # noqa: BLE001 - whatever a model's code raises is the answer
        traceback.print_exc()
        send(answers, {"id": 0, "error": described(error)})
        return 1
    send(answers, {"id": 0, "values": []})
    while (request := receive(requests)) is not None:
        try:
            send(answers, {"id": request["id"], "values": _predict(model, request)})
        except BaseException as error:  # noqa: BLE001 - as above
            traceback.print_exc()
            send(answers, {"id": request["id"], "error": described(error)})
    return 0


def load(folder: str) -> Any:
    """The model in an MLflow model folder. Runs its code: only where that is confined."""
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(folder)


def _predict(model: Any, request: dict[str, Any]) -> list[Any]:
    return plain(model.predict(frame(request)))


def frame(request: dict[str, Any]) -> Any:
    """The request's columns as a DataFrame, typed as the contract says."""
    import numpy as np
    import pandas as pd

    series: dict[str, Any] = {}
    for name, kind, column in zip(request["names"], request["types"], request["columns"], strict=True):
        if kind == "float64":
            series[name] = np.frombuffer(column, dtype="<f8").copy()
        elif kind == "string":
            series[name] = np.array(column, dtype=object)
        else:
            missing = any(value is None for value in column)
            dtype = {"int64": "Int64", "bool": "boolean"}[kind] if missing else {"int64": "int64", "bool": "bool"}[kind]
            series[name] = pd.array(column, dtype=dtype)
    return pd.DataFrame(series)


def plain(result: Any) -> list[Any]:
    """One JSON value a row, whatever the model answered with."""
    if hasattr(result, "columns") and hasattr(
        result, "to_numpy"
    ):  # a DataFrame: one column is the answer, several are a list a row
        result = result.iloc[:, 0].to_numpy() if result.shape[1] == 1 else result.to_numpy()
    elif hasattr(result, "to_numpy"):
        result = result.to_numpy()
    if hasattr(result, "tolist"):
        result = result.tolist()
    values = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in result]
    return [value.item() if hasattr(value, "item") else value for value in values]


def described(error: BaseException) -> str:
    """The error in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:400]


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Write one frame."""
    import msgspec

    data = msgspec.msgpack.encode(message)
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """Read one frame; None when the stream has ended."""
    import msgspec

    header = stream.read(4)
    if len(header) < 4:
        return None
    data = stream.read(int.from_bytes(header, "big"))
    message: dict[str, Any] = msgspec.msgpack.decode(data)
    return message


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
