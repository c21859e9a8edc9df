"""Who is measured: how each is installed, started and asked."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.serving.models import FEATURES, Served

PROGRAMS = Path(__file__).parent / "programs"
SHARED_PYTHON = "/usr/bin/python3"
"""The distribution's Python, which comes with its shared library: Triton's backend loads that."""


def _instances(rows: Sequence[Sequence[float]]) -> Any:
    return {"instances": rows}


def _open_inference(rows: Sequence[Sequence[float]]) -> Any:
    flat = [value for row in rows for value in row]
    return {"inputs": [{"name": "predict", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": flat}]}


_INFER = "/v2/models/m/infer"


def _rows_tensor(rows: Sequence[Sequence[float]]) -> Any:
    document = _open_inference(rows)
    document["inputs"][0]["name"] = "rows"
    return document


def _listed(answer: Any) -> list[int]:
    return [int(value) for value in answer]


def _tensor(answer: Any) -> list[int]:
    return [int(value) for value in answer["outputs"][0]["data"]]


def _rows(rows: Sequence[Sequence[float]]) -> Any:
    return {"rows": rows}


@dataclass(frozen=True)
class Peer:
    """One server.

    Args:
        table: `limit`, `ours`, `a` or `b`.
        packages: of its environment; empty for ours.
        python: what its environment is made from, where not any Python will do.
        command: from its Python, the model and the port.
        path: of the route.
        body: from rows.
        read: the classes of an answer.
    """

    name: str
    table: str
    packages: tuple[str, ...]
    command: Callable[[str, Served, int], list[str]]
    path: str = "/predict"
    body: Callable[[Sequence[Sequence[float]]], Any] = _instances
    read: Callable[[Any], list[int]] = lambda answer: [int(float(value)) for value in answer["predictions"]]
    environment: dict[str, str] = field(default_factory=dict)
    python: str = ""


def _program(name: str, *extra: str) -> Callable[[str, Served, int], list[str]]:
    return lambda python, served, port: [python, str(PROGRAMS / name), str(served.folder), str(port), *extra]


def _ours(python: str, served: Served, port: int) -> list[str]:
    return [python, "-m", "maestro.serving.main", "--home", str(served.folder / "home"), "--port", str(port)]


def _mlflow(python: str, served: Served, port: int) -> list[str]:
    return [
        str(Path(python).with_name("mlflow")), "models", "serve", "-m", str(served.folder / "mlflow"), "--env-manager", "local",
        "-h", "127.0.0.1", "-p", str(port), "-w", "1",
    ]  # fmt: skip


def peers() -> list[Peer]:
    """All of them, the limit first."""
    models = (
        f"scikit-learn=={version('scikit-learn')}",
        f"numpy=={version('numpy')}",
        "xgboost-cpu",
        "joblib",
        "skops",
    )
    onnx = (f"onnxruntime=={version('onnxruntime')}", f"numpy=={version('numpy')}")
    web = ("fastapi", "uvicorn[standard]")
    return [
        Peer("bare ASGI application (computes nothing)", "limit", ("uvicorn[standard]",), _program("bare.py"), read=lambda answer: []),
        Peer("Maestro", "ours", (), _ours),
        Peer("FastAPI, scikit-learn API", "a", (*web, *models), _program("web.py", "joblib")),
        Peer("mlflow models serve", "a", (f"mlflow=={version('mlflow')}", *models), _mlflow, path="/invocations"),
        Peer("LitServe", "a", ("litserve", *models), _program("lit.py", "joblib")),
        Peer("BentoML", "a", ("bentoml", *models), _program("bento.py", "joblib"), body=_rows, read=_listed),
        Peer("BentoML, adaptive batching", "a", ("bentoml", *models), _program("bento.py", "joblib", "batched"), body=_rows, read=_listed),
        Peer("MLServer", "a", ("mlserver", *models), _program("mls.py", "joblib"), path=_INFER, body=_open_inference, read=_tensor),
        Peer("FastAPI, ONNX Runtime", "b", (*web, *onnx), _program("web.py", "onnx")),
        Peer("LitServe, ONNX Runtime", "b", ("litserve", *onnx), _program("lit.py", "onnx")),
        Peer("BentoML, ONNX Runtime", "b", ("bentoml", *onnx), _program("bento.py", "onnx", "batched"), body=_rows, read=_listed),
        Peer(
            "Triton, dynamic batching, ONNX Runtime", "b", ("nvidia-pytriton>=0.5.10", onnx[0], "numpy<2"), _program("tri.py", "onnx", str(FEATURES)),
            path=_INFER, body=_rows_tensor, read=_tensor, python=SHARED_PYTHON,
        ),
        Peer("MLServer, ONNX Runtime", "b", ("mlserver", *onnx), _program("mls.py", "onnx"), path=_INFER, body=_open_inference, read=_tensor),
    ]  # fmt: skip


def python_of(peer: Peer, cache: Path) -> str:
    """The Python of a peer's environment, which is made when it is not there.

    Raises:
        RuntimeError: it cannot be installed.
    """
    if not peer.packages:
        return sys.executable
    wanted = json.dumps(peer.packages)
    name = re.split("[^a-z-]", peer.packages[0])[0]
    folder = cache / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    marker = folder / "installed.json"
    if marker.is_file() and marker.read_text() == wanted:
        return str(python)
    for command in (
        ["uv", "venv", "--clear", "--python", peer.python or sys.executable, str(folder)],
        ["uv", "pip", "install", "-q", "--python", str(python), *peer.packages],
    ):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "VIRTUAL_ENV": ""}
        )
        if done.returncode != 0:
            raise RuntimeError((done.stderr.strip().splitlines() or ["it failed"])[-1][:200])
    marker.write_text(wanted)
    return str(python)
