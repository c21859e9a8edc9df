"""What a runtime owes the data plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from maestro.core.errors import Unreachable
from maestro.serving.table import Batch, Matrix, Prediction

ORIGINAL = "original"
"""The path of a version that answers by the very files that were logged, deserialised by the library that wrote them."""
INLINE_ROWS = 16
INLINE_US = 500.0
"""A batch of `INLINE_ROWS` rows that takes less may be answered on the event loop."""


class ModelFailed(Unreachable):
    """The model raised, died or answered something that is not a prediction for every row."""


class ModelTimeout(Unreachable):
    """The model did not answer in time."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One value a row as an array (numbers, or objects for text), and the class scores (rows × classes) when the model gives them."""

    values: NDArray[Any]
    scores: Matrix | None = None

    def prediction(self) -> Prediction:
        """The same as JSON values."""
        return Prediction(self.values.tolist(), self.scores)


class ModelRuntime(Protocol):
    """Loads one version's files and answers for them.

    Obligations:
        - Files come from a private folder that nobody else writes, already verified; a runtime reads nothing else of the version.
        - A runtime whose format executes code when it is deserialised never deserialises in the server's own process.
        - `load` is called once, then `warm_up`, then `predict` any number of times, then `close`, which may be called at any time, twice,
          and from another thread; after it `predict` raises ModelFailed.
        - `predict` may be called from several threads at once, gives one value a row in the order of the rows, does not alter the batch,
          and gives the same answer for a row alone as in a batch (up to the model's own rounding).
        - A failure of one prediction leaves the runtime usable, or makes it repair itself: calls in between raise ModelFailed at once.
    """

    kind: ClassVar[str]

    @property
    def quick(self) -> bool:
        """Whether one row is answered in well under a millisecond, so that the event loop may wait for it."""
        ...

    @property
    def path(self) -> str:
        """The name of what answers: `original`, `onnx`, `trees`, or several joined by `+` when the batch's size decides."""
        ...

    @property
    def inline(self) -> bool:
        """Whether a batch of `INLINE_ROWS` rows is answered in under `INLINE_US`, as measured, so that the event loop may do it itself."""
        ...

    def cost_us(self, rows: int) -> float:
        """The microseconds that a batch of so many rows takes, by measurement; infinity when nothing was measured."""
        ...

    def load(self) -> None:
        """Deserialise.

        Raises:
            BadInput: the files are not of this format, or do not fit the contract; the old version stays.
        """
        ...

    def warm_up(self, sample: Batch) -> None:
        """Answer `sample` until answers come at full speed.

        Raises:
            ModelFailed: the model cannot answer a row that its contract allows.
        """
        ...

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        """One value a row.

        Raises:
            ModelFailed: the model raised or died.
            ModelTimeout: no answer within `timeout_s` seconds.
        """
        ...

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        """As `predict`, in arrays."""
        ...

    def close(self) -> None:
        """Release memory, processes and files."""
        ...
