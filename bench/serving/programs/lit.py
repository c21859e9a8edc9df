"""LitServe with its batching."""

import sys
from pathlib import Path
from typing import Any

import litserve  # type: ignore[import-not-found]  # installed where it runs
import numpy as np
from predictor import predictor  # type: ignore[import-not-found]  # beside this program

folder, port, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


class Api(litserve.LitAPI):  # type: ignore[misc]  # as above
    """Rows of one or more requests at a time."""

    def setup(self, device: Any) -> None:
        """Load."""
        self.predictor = predictor(folder, kind)

    def decode_request(self, request: dict[str, Any]) -> Any:
        """A request's rows."""
        return np.array(request["instances"], dtype=np.float32)

    def batch(self, inputs: Any) -> Any:
        """Several requests' rows."""
        self.sizes = [len(rows) for rows in inputs]
        return np.concatenate(inputs)

    def predict(self, rows: Any) -> Any:
        """Classes."""
        return self.predictor(rows)

    def unbatch(self, output: Any) -> Any:
        """A request's classes."""
        return np.split(output, np.cumsum(self.sizes)[:-1])

    def encode_response(self, output: Any) -> Any:
        """As JSON."""
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(max_batch_size=64, batch_timeout=0.001), accelerator="cpu", workers_per_device=1)
    server.run(port=port, log_level="error", generate_client_file=False)
