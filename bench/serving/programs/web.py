"""FastAPI as its documentation shows it: a model of the body, a plain function."""

import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from predictor import predictor  # type: ignore[import-not-found]  # beside this program
from pydantic import BaseModel

predict = predictor(Path(sys.argv[1]), sys.argv[3])


class Request(BaseModel):
    """Rows of numbers."""

    instances: list[list[float]]


app = FastAPI()


@app.post("/predict")
def answer(request: Request) -> dict[str, list[Any]]:
    """One class a row."""
    return {"predictions": predict(request.instances).tolist()}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="error")
