"""Tree models walked by compiled C in this process. The program is the same for every model; the model is checked data."""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput
from maestro.serving.runtimes._base import Answers, ModelFailed
from maestro.serving.runtimes.cost import Costs, Measured, measure
from maestro.serving.runtimes.encoding import Encoding
from maestro.serving.runtimes.forest import FILE, LINKS, RULES, Forest, decode
from maestro.serving.runtimes.onnx import class_array
from maestro.serving.table import Batch, Prediction

log = logging.getLogger(__name__)

PROGRAM = "forest.so"
SOURCE = Path(__file__).with_name("forest.c")


_NARROW_TEST = np.dtype([("threshold", np.float32), ("feature", np.uint32), ("keep", np.uint64)])
_WIDE_TEST = np.dtype([("threshold", np.float64), ("keep", np.uint64), ("feature", np.uint32), ("", np.uint32)])


class _Forest(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in (
                "features", "sums", "width", "trees", "steps", "is_wide", "is_narrow_sum", "is_bounded", "link", "rule", "outputs", "tested"
            )
        ),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "nodes", "payload", "roots", "depths", "columns", "step_kinds", "leaves", "start", "step_values", "tests", "exits",
                "first_tests", "first_missing", "first_exits"
            )
        ),
    ]  # fmt: skip


class TreesRuntime(Measured):
    """A forest of classes gives their scores too.

    Args:
        folder: with `forest.msgpack` and `forest.so`, in storage that only the server writes.
        contract: names and types of the features, classes of the answer.
        costs: microseconds by rows, where they have been measured before.
    """

    kind: ClassVar[str] = "trees"

    def __init__(self, folder: Path, contract: ModelContract, *, costs: Costs | None = None) -> None:
        self._folder = folder
        self._contract = contract
        self._costs = costs
        self._classes: NDArray[Any] | None = None
        self._encoding: Encoding | None = None
        self._outputs = 0
        self._kept: tuple[object, ...] = ()
        self._model: Any = None
        self._run: Any = None

    @property
    def path(self) -> str:
        """Compiled trees."""
        return "trees"

    def load(self) -> None:
        """Read and check the forest, and open the program."""
        forest = decode((self._folder / FILE).read_bytes(), len(self._contract.features))
        classes = class_array(self._contract)
        if self._contract.output.kind == "classification":
            if classes is None or len(classes) != forest.outputs:
                raise BadInput(
                    f"{FILE} gives {forest.outputs} scores, the contract's classes are {self._contract.output.classes}",
                    field="output.classes",
                    remedy="name every class in the contract",
                )
            self._classes = classes
        elif forest.outputs != 1:
            raise BadInput(f"{FILE} gives {forest.outputs} numbers a row", field=FILE, remedy="use another path")
        try:
            program = ctypes.CDLL(str(self._folder / PROGRAM))
            run = program.forest_answer
        except OSError as error:
            raise BadInput(f"{PROGRAM} cannot be loaded: {error}", field=PROGRAM, remedy="prepare again") from None
        run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
        run.restype = ctypes.c_int
        self._outputs = forest.outputs
        has_texts = any(feature.type == "string" for feature in self._contract.features)
        plain = not has_texts and forest.encoding.is_plain(len(self._contract.features))
        self._encoding = None if plain else forest.encoding
        self._kept, self._model = _in_c(forest, program.forest_tests)
        self._run = run

    def warm_up(self, sample: Batch) -> None:
        """Touch the arrays, and measure where that has not been done before."""
        for _ in range(5):
            self.answer(sample, 10.0)
        if self._costs is None:
            self._costs = measure(lambda batch: self.answer(batch, 10.0), sample)

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        """Walk the trees."""
        return self.answer(batch, timeout_s).prediction()

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        """Walk the trees; other threads run meanwhile."""
        model, run = self._model, self._run
        if model is None:
            raise ModelFailed("the trees are closed", remedy="ask again: the graph has moved on")
        if self._encoding is not None:
            rows = self._encoding.encode(batch)
        else:
            assert batch.matrix is not None  # noqa: S101 - without text features a batch is a matrix
            rows = np.ascontiguousarray(batch.matrix, dtype=np.float64)
        scores = np.empty((batch.size, self._outputs))
        labels = np.empty(batch.size, dtype=np.int32)
        status = run(
            ctypes.byref(model), rows.ctypes.data, batch.size, scores.ctypes.data, labels.ctypes.data
        )  # rows, scores and labels live until here
        if status:
            raise ModelFailed(
                "a value is beyond single precision" if status == 2 else "out of memory",
                remedy="send values below 3.4e38" if status == 2 else "send fewer rows",
            )
        if self._classes is None:
            return Answers(scores[:, 0])
        return Answers(self._classes[labels], scores)

    def close(self) -> None:
        """Let the arrays go."""
        self._model = None


def _in_c(forest: Forest, write_tests: Any) -> tuple[tuple[object, ...], _Forest]:
    """The structure, and the arrays that it points into; `write_tests` is the program's."""
    count, trees = len(forest.left), len(forest.roots)
    is_wide = forest.threshold.dtype == np.float64
    arrays: dict[str, NDArray[Any]] = {
        "nodes": forest.nodes(),
        "tests": np.zeros(count, dtype=_WIDE_TEST if is_wide else _NARROW_TEST),
        "exits": np.zeros(count, dtype=np.int32),
        "first_tests": np.zeros(trees + 1, dtype=np.int32),
        "first_missing": np.zeros(trees, dtype=np.int32),
        "first_exits": np.zeros(trees, dtype=np.int32),
    }
    for name in ("payload", "roots", "depths", "columns", "step_kinds", "leaves", "start", "step_values"):
        arrays[name] = np.ascontiguousarray(getattr(forest, name))
    model = _Forest(
        features=forest.features,
        sums=len(forest.start),
        width=forest.leaves.shape[1],
        trees=trees,
        steps=len(forest.step_kinds),
        is_wide=is_wide,
        is_narrow_sum=forest.narrow_sum,
        is_bounded=forest.bounded,
        link=LINKS.index(forest.link),
        rule=RULES.index(forest.rule),
        outputs=forest.outputs,
        **{name: array.ctypes.data for name, array in arrays.items()},
    )
    model.tested = write_tests(ctypes.byref(model), ctypes.c_int32(count))
    return tuple(arrays.values()), model
