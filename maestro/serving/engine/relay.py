"""What a worker has the parent do: models that run in processes of their own, the feature store, the control routes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, ClassVar

import msgspec

from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError, NotFound, Unreachable
from maestro.serving.engine.channel import CallFailed, Channel, ChannelClosed
from maestro.serving.engine.control import ControlAnswer, ControlRequest
from maestro.serving.engine.messages import (
    CONTROL,
    FEATURES,
    PREDICT,
    FeaturesMessage,
    PredictionMessage,
    PredictMessage,
    batch_message,
)
from maestro.serving.runtimes._base import Answers, ModelFailed, ModelTimeout
from maestro.serving.table import Batch, Prediction

_answer = msgspec.msgpack.Decoder(ControlAnswer).decode
_prediction = msgspec.msgpack.Decoder(PredictionMessage).decode
_rows = msgspec.msgpack.Decoder(list[dict[str, Any] | str]).decode


class RelayControl:
    """Control routes, which the parent answers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def answer(self, request: ControlRequest) -> ControlAnswer:
        """Ask the parent."""
        try:
            return _answer(await self._channel.ask(CONTROL, request))
        except (ChannelClosed, CallFailed) as error:
            problem = Unreachable(f"the server's parent process cannot be asked: {error}", remedy="ask again")
            return ControlAnswer(
                503, b"application/problem+json", msgspec.json.encode(problem.problem()), ((b"retry-after", b"1"),)
            )


class _Asking:
    """Asks from a thread that is not the event loop's."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def ask(self, kind: str, payload: Any, timeout_s: float) -> msgspec.Raw:
        assert threading.get_ident() != self._thread  # noqa: S101 - it would wait for itself
        asked = asyncio.run_coroutine_threadsafe(self._channel.ask(kind, payload), self._loop)
        try:
            return asked.result(timeout_s)
        except TimeoutError:
            asked.cancel()
            raise


class RelayRuntime:
    """A version whose process the parent holds: one process a version, however many workers there are."""

    kind: ClassVar[str] = "relay"

    def __init__(self, channel: Channel, digest: str, contract: ModelContract, path: str) -> None:
        self._asking = _Asking(channel)
        self._digest = digest
        self._contract = contract
        self._path = path
        self._closed = False

    @property
    def quick(self) -> bool:
        """Never: another process answers."""
        return False

    @property
    def path(self) -> str:
        """As the parent has it."""
        return self._path

    @property
    def inline(self) -> bool:
        """Never."""
        return False

    def cost_us(self, rows: int) -> float:
        """Not measured."""
        return float("inf")

    def load(self) -> None:
        """The parent has."""

    def warm_up(self, sample: Batch) -> None:
        """The parent has."""

    def predict(self, batch: Batch, timeout_s: float) -> Prediction:
        """Ask the parent; not on the event loop's thread."""
        if self._closed:
            raise ModelFailed("the model is closed", remedy="ask again: the graph has moved on")
        try:
            told = self._asking.ask(
                PREDICT, PredictMessage(self._digest, batch_message(batch), timeout_s), timeout_s + 1
            )
        except TimeoutError:
            raise ModelTimeout(
                f"the model did not answer within {timeout_s * 1000:.0f} ms", remedy="raise timeout_ms"
            ) from None
        except (ChannelClosed, CallFailed) as error:
            raise ModelFailed(f"the model cannot be asked: {error}", remedy="ask again") from None
        answer = _prediction(told)
        if answer.error is not None:
            raise (ModelTimeout if answer.error == "timeout" else ModelFailed)(
                answer.detail, remedy="see the server's log"
            )
        import numpy as np

        return Prediction(answer.values, None if answer.scores is None else np.array(answer.scores, dtype=np.float64))

    def answer(self, batch: Batch, timeout_s: float) -> Answers:
        """As `predict`, in arrays."""
        import numpy as np

        prediction = self.predict(batch, timeout_s)
        return Answers(np.array(prediction.values), prediction.scores)

    def close(self) -> None:
        """Ask no more."""
        self._closed = True


class RelayFeatures:
    """The feature store, whose library only the parent loads."""

    def __init__(self, channel: Channel, timeout_s: float) -> None:
        self._asking = _Asking(channel)
        self._timeout_s = timeout_s

    def open(self, feature_service: str) -> None:
        """The parent has."""

    def close(self) -> None:
        """The channel is the worker's."""

    def get(
        self, feature_service: str, entity_rows: list[dict[str, Any]]
    ) -> list[dict[str, float | None] | MaestroError]:
        """Look up; not on the event loop's thread."""
        try:
            told = _rows(self._asking.ask(FEATURES, FeaturesMessage(feature_service, entity_rows), self._timeout_s))
        except TimeoutError:
            raise Unreachable(
                f"the feature store did not answer within {self._timeout_s:g} s",
                remedy="ask again",
                component="feature store",
            ) from None
        except OverflowError:  # a whole number of more than 64 bits, which is no store's key either
            raise BadInput(
                "an entity's key is out of range", field="entities", remedy="give the keys of the service"
            ) from None
        except CallFailed as error:
            raise _refused(str(error)) from None
        except ChannelClosed:
            raise Unreachable(
                "the feature store cannot be asked", remedy="ask again", component="feature store"
            ) from None
        return [_refused(row) if isinstance(row, str) else row for row in told]


def _refused(text: str) -> MaestroError:
    """What the parent's own look-up got."""
    kind, _, detail = text.partition(":")
    if kind == BadInput.slug:
        return BadInput(detail, field="entities", remedy="give the keys of the service")
    made: type[MaestroError] = NotFound if kind == NotFound.slug else Unreachable
    return made(detail, remedy="apply and materialise the feature repository", component="feature store")
