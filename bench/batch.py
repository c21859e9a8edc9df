"""Batch inference from Parquet to Parquet beside ONNX Runtime called by hand on the same rows in memory.

By hand means: the rows lie in memory as the matrix that the graph takes, one session with a thread a core answers them in blocks, nothing is read,
checked or written. Ours reads Parquet, holds every row against the contract, predicts and writes Parquet, with a process a core; its processes' start is
told apart, since it does not grow with the rows.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = int(os.environ.get("MAESTRO_BENCH_ROWS", "2000000"))
FEATURES = 30
BLOCK = 8192


def compare() -> list[str]:
    """Rows a second of both, their ratio, and whether the labels are equal."""
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier

    from maestro.clients.mlflow_model import save_sklearn
    from maestro.core.canonical import canonical_bytes
    from maestro.core.contract import Feature, ModelContract, Output
    from maestro.security.artifact import measure
    from maestro.serving.batch.run import BatchModel, predict
    from maestro.serving.prepare.run import prepare
    from maestro.serving.runtimes.plan import PlanStore

    rng = np.random.default_rng(2026)
    train = rng.normal(size=(5000, FEATURES))
    target = ((train[:, 0] + train[:, 1] * train[:, 2] + rng.normal(size=5000) * 0.5) > 0).astype(int)
    names = [f"x{i}" for i in range(FEATURES)]
    frame = pd.DataFrame(train, columns=names)
    model = RandomForestClassifier(100, max_depth=10, random_state=0).fit(frame, target)
    rows = rng.normal(size=(ROWS, FEATURES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version = folder / "version"
        version.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            save_sklearn(
                version / "files", model, inputs=frame.head(5), outputs=model.predict(frame.head(5)), run_id=None, model_id=None,
                requirements=["scikit-learn"],
            )  # fmt: skip
        contract = ModelContract.build(
            tuple(Feature(name=feature, min=-6.0, max=6.0) for feature in names),
            Output(kind="classification", classes=("0", "1")),
        )
        (version / "files" / "contract.json").write_bytes(canonical_bytes(contract.document()))
        manifest = measure(version, model="m", version="1.0.0", run_id="bench")
        (version / "manifest.json").write_bytes(canonical_bytes(manifest.document()))
        store = PlanStore(folder / "plans")
        plan = prepare(version / "files", contract, manifest.content_digest(), store)
        pq.write_table(
            pa.table({name: rows[:, i] for i, name in enumerate(names)}), folder / "in.parquet", row_group_size=131_072
        )
        pq.write_table(pa.table({name: rows[:1, i] for i, name in enumerate(names)}), folder / "one.parquet")
        taken = BatchModel(version / "files", contract, manifest.content_digest(), store.root)
        start = predict(taken, folder / "one.parquet", folder / "one-out.parquet", overwrite=True).seconds
        result = predict(taken, folder / "in.parquet", folder / "out.parquet")
        ours = pq.read_table(folder / "out.parquet")["prediction"].to_numpy()
        onnx = (store.folder(manifest.content_digest()) / "model.onnx").read_bytes()
    seconds, labels = by_hand(onnx, rows)
    cores = len(os.sched_getaffinity(0))
    hand, whole, steady = ROWS / seconds, ROWS / result.seconds, ROWS / max(result.seconds - start, 1e-9)
    return [
        f"{ROWS:,} rows x {FEATURES} features, RandomForest 100 x 10, {cores} cores; path {', '.join(result.paths)} ({json.dumps([c.document() for c in plan.choices])})",
        f"{'ONNX Runtime by hand, in memory':<46} {hand:>12,.0f} rows/s",
        f"{'maestro predict, Parquet to Parquet, whole':<46} {whole:>12,.0f} rows/s  {whole / hand:.2f} of by hand",
        f"{'the same without starting its processes':<46} {steady:>12,.0f} rows/s  {steady / hand:.2f} of by hand  (start {start:.2f} s)",
        f"labels that differ: {int((ours != labels).sum())}",
    ]


def by_hand(onnx: bytes, rows: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds and labels of ONNX Runtime on rows in memory, at the better of two ways: blocks, or all at once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    fed = np.ascontiguousarray(rows, dtype=np.float32 if given.type == "tensor(float)" else np.float64)
    best, labels = float("inf"), np.empty(0)
    for block in (BLOCK, len(fed)):
        began = time.perf_counter()
        found: list[Any] = [
            session.run(None, {given.name: fed[first : first + block]})[0] for first in range(0, len(fed), block)
        ]
        best = min(best, time.perf_counter() - began)
        labels = np.concatenate(found)
    return best, labels
