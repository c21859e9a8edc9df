"""ONNX in this process: ONNX Runtime with one thread. The format holds no code, so it may be deserialised here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput
from maestro.serving.runtimes._base import Answers, ModelFailed
from maestro.serving.runtimes.cost import Costs, Measured, measure
from maestro.serving.table import Batch, Matrix, Prediction

FILE = "model.onnx"
Labels = Literal["graph", "scores"]
"""Where a class comes from: the graph's own output, or the first class whose score is the highest up to `TIE`."""
TIE = 1e-6
_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class OnnxRuntime(Measured):
    """Feeds one matrix, or one column an input, as the model declares.

    Args:
        folder: the version's private folder, with `model.onnx`.
        contract: names and types of the features, classes of the answer.
        labels: where a class comes from.
        costs: microseconds by rows, where they have been measured before.
    """

    kind: ClassVar[str] = "onnx"

    def __init__(
        self, folder: Path, contract: ModelContract, *, labels: Labels = "graph", costs: Costs | None = None
    ) -> None:
        self._folder = folder
        self._contract = contract
        self._labels = labels
        self._costs = costs
        self._classes = class_array(contract)
        self._session: Any = None
        self._inputs: list[tuple[str, Any, int | None]] = []
        self._outputs: list[str] = []

    @property
    def path(self) -> str:
        """ONNX Runtime."""
        return "onnx"

    def load(self) -> None:
        """Read the model from bytes, so that it can name no other file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            data = (self._folder / FILE).read_bytes()
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises its own untyped exceptions
            raise BadInput(
                f"{FILE} is not a model that ONNX Runtime loads: {_first_line(error)}",
                field=FILE,
                remedy="export the model again, with its weights inside the file",
            ) from None
        self._inputs = self._bind(session.get_inputs())
        self._outputs = [output.name for output in session.get_outputs()]
        self._session = session

    def _bind(self, declared: list[Any]) -> list[tuple[str, Any, int | None]]:
        """(input name, dtype, feature index or None for the whole matrix)."""
        names = self._contract.names
        for item in declared:
            if item.type not in _DTYPES:
                raise BadInput(
                    f"{FILE}: input {item.name!r} has type {item.type}", field=FILE, remedy="export plain tensors"
                )
        if {item.name for item in declared} == set(names) and (len(names) > 1 or "string" in self._types()):
            return [(item.name, _DTYPES[item.type], names.index(item.name)) for item in declared]
        if len(declared) != 1:
            raise BadInput(
                f"{FILE} takes inputs {[item.name for item in declared][:8]}, the contract's features are {list(names)[:8]}",
                field=FILE,
                remedy="export with one matrix input, or with one input named as each feature",
            )
        only = declared[0]
        width = only.shape[1] if len(only.shape) == 2 else None
        if len(only.shape) != 2 or (isinstance(width, int) and width != len(names)):
            raise BadInput(
                f"{FILE} takes shape {only.shape}, the contract has {len(names)} features",
                field=FILE,
                remedy="export the model that the contract describes",
            )
        if "string" in self._types() and only.type != "tensor(string)":
            raise BadInput(
                f"{FILE} takes numbers, the contract has text features", field=FILE, remedy="export one input a column"
            )
        return [(only.name, _DTYPES[only.type], None)]

    def _types(self) -> tuple[str, ...]:
        return tuple(feature.type for feature in self._contract.features)

    def warm_up(self, sample: Batch) -> None:
        """Answer the sample a few times, and measure where that has not been done before."""
        for _ in range(5):
            self.answer(sample, 10.0)
        if self._costs is None:
            self._costs = measure(lambda batch: self.answer(batch, 10.0), sample)

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        """Run the session; it cannot be interrupted, so the data plane's own timeout is what callers see."""
        return self.answer(batch, timeout_s).prediction()

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        """Run the session."""
        session = self._session
        if session is None:
            raise ModelFailed("the ONNX model is closed", remedy="ask again: the graph has moved on")
        try:
            results = session.run(None, {name: _feed(batch, dtype, index) for name, dtype, index in self._inputs})
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises its own untyped exceptions
            raise ModelFailed(f"the ONNX model failed: {_first_line(error)}", remedy="see the server's log") from None
        return self._read(results, batch.size)

    def _read(self, results: list[Any], size: int) -> Answers:
        first = np.asarray(results[0])
        if len(first) != size:
            raise ModelFailed(
                f"the ONNX model gave {len(first)} answers for {size} rows", remedy="export it with a free batch axis"
            )
        classes = self._classes
        if len(results) > 1:
            scores = _scores(results[1], size)
            if self._labels == "scores" and scores is not None and classes is not None:
                return Answers(classes[first_of_ties(scores)], scores)
            return Answers(_flat(first, size), scores)
        if first.ndim == 2 and first.shape[1] > 1 and classes is not None and first.shape[1] == len(classes):
            return Answers(classes[first.argmax(axis=1)], first.astype(np.float64))
        return Answers(_flat(first, size))

    def close(self) -> None:
        """Let the session go."""
        self._session = None


def class_value(text: str) -> int | str:
    """A class as models answer it: a number when it is written as one.

    >>> class_value("1"), class_value("benign")
    (1, 'benign')
    """
    return int(text) if text.lstrip("-").isdigit() else text


def first_of_ties(scores: Matrix) -> NDArray[np.intp]:
    """The first column of each row that holds the row's highest score up to `TIE`.

    >>> first_of_ties(np.array([[0.5, 0.5000001], [0.2, 0.8]])).tolist()
    [0, 1]
    """
    found: NDArray[np.intp] = (scores >= scores.max(axis=1, keepdims=True) - TIE).argmax(axis=1)
    return found


def class_array(contract: ModelContract) -> NDArray[Any] | None:
    """The contract's classes as models answer them, in its order; None when it names none."""
    classes = contract.output.classes
    if classes is None:
        return None
    values = [class_value(text) for text in classes]
    return np.array(values, dtype=np.int64 if all(isinstance(value, int) for value in values) else object)


def _feed(batch: Batch, dtype: Any, index: int | None) -> NDArray[Any]:
    if index is not None:
        return batch.column(index).astype(dtype, copy=False).reshape(-1, 1)
    if batch.matrix is not None:
        return batch.matrix if dtype is np.float64 else batch.matrix.astype(dtype)
    return np.column_stack([batch.column(i) for i in range(len(batch.names))]).astype(dtype)


def _flat(values: NDArray[Any], size: int) -> NDArray[Any]:
    return values.reshape(size) if values.size == size else values.reshape(size, -1)


def _scores(values: Any, size: int) -> Matrix | None:
    if isinstance(values, list) and values and isinstance(values[0], dict):  # a ZipMap: a mapping by class a row
        keys = list(values[0])
        return np.array([[row[key] for key in keys] for row in values], dtype=np.float64)
    array = np.asarray(values)
    if array.dtype.kind != "f" or len(array) != size:
        return None
    return array.reshape(size, -1).astype(np.float64)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
