"""Triton with its dynamic batching, as PyTriton starts it. Its backend runs this process's Python through libpython, so that has to be one with a shared library."""

import sys
from pathlib import Path

import numpy as np
from predictor import predictor  # type: ignore[import-not-found]  # beside this program
from pytriton.decorators import batch  # type: ignore[import-not-found]  # installed where it runs
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor  # type: ignore[import-not-found]  # as above
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found]  # as above

folder, port, kind, columns = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
predict = predictor(folder, kind)


@batch  # type: ignore[untyped-decorator]  # as above
def answer(rows: np.ndarray) -> dict[str, np.ndarray]:
    """One class a row."""
    return {"classes": np.asarray(predict(rows), dtype=np.int64).reshape(-1, 1)}


if __name__ == "__main__":
    settings = TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=settings) as triton:
        triton.bind(
            model_name="m",
            infer_func=answer,
            inputs=[Tensor(name="rows", dtype=np.float64, shape=(columns,))],
            outputs=[Tensor(name="classes", dtype=np.int64, shape=(1,))],
            config=ModelConfig(max_batch_size=256, batcher=DynamicBatcher(max_queue_delay_microseconds=500)),
        )
        triton.serve()
