"""FastAPI as its documentation shows it: a model of the body, a plain function."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

Rows = list[list[float]]
folder, port, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

if kind == "onnx":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    name = session.get_inputs()[0].name

    def predict(rows: Rows) -> list[Any]:
        """By ONNX Runtime."""
        return list(session.run(None, {name: np.array(rows, dtype=np.float32)})[0].tolist())

else:
    import joblib

    model = joblib.load(folder / "model.joblib")

    def predict(rows: Rows) -> list[Any]:
        """By the library that trained it."""
        return list(model.predict(np.array(rows, dtype=np.float32)).tolist())


class Request(BaseModel):
    """Rows of numbers."""

    instances: list[list[float]]


app = FastAPI()


@app.post("/predict")
def answer(request: Request) -> dict[str, list[Any]]:
    """One class a row."""
    return {"predictions": predict(request.instances)}


if __name__ == "__main__":
    uvicorn.run(app, port=port, access_log=False, log_level="error")
