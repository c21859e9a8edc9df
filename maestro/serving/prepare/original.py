"""The program that deserialises a model to be prepared: tells what it is, answers rows, and gives it in forms that hold no code.

Runs confined, as the model process of `maestro.serving.runtimes.pyfunc` does, and speaks its frames over stdin and stdout. Whoever asks must take
every answer for what it is: data from a process in which a stranger's code may have run.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

from maestro.serving.runtimes.pyfunc_worker import described, frame, load, plain, receive, send

_AT_MOST_S = 0.25
_NO_LIBRARY = "code of its own answers, not a model of a library"


def main(folder: str) -> int:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the model prints must not land between frames
    warnings.simplefilter("ignore")
    try:
        original = Original(load(folder))
    except BaseException as error:  # noqa: BLE001 - whatever a model's code raises is the answer
        traceback.print_exc()
        send(answers, {"error": described(error)})
        return 1
    send(answers, {})
    while (request := receive(sys.stdin.buffer)) is not None:
        try:
            send(answers, original.tell(request))
        except BaseException as error:  # noqa: BLE001 - as above
            traceback.print_exc()
            send(answers, {"error": described(error)})
    return 0


class Original:
    """A loaded model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._raw = _raw(model)
        self._told: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "describe": self._describe, "answer": self._answer, "time": self._time, "forest": self._forest, "onnx": self._onnx,
        }  # fmt: skip

    def tell(self, request: dict[str, Any]) -> dict[str, Any]:
        """What `request["op"]` asks for."""
        return self._told[request["op"]](request)

    def _describe(self, request: dict[str, Any]) -> dict[str, Any]:
        classes = getattr(self._raw, "classes_", None)
        raw = self._raw if self._raw is not None else self._model
        return {
            "kind": f"{type(raw).__module__.split('.')[0]}.{_last(raw)}",
            "classes": None if classes is None else [str(value) for value in plain(classes)],
            "example": self._example(request["names"]),
            "texts": _texts(self._raw, request["names"]),
        }

    def _example(self, names: list[str]) -> list[list[Any]] | None:
        """The recorded input example: one list a row, in the order of `names`."""
        try:
            example = self._model.input_example
        except Exception:  # noqa: BLE001 - an example that cannot be read is none
            return None
        if hasattr(example, "columns") and set(names) <= set(example.columns):
            example = example[names]
        elif not hasattr(example, "shape") or len(example.shape) != 2 or example.shape[1] != len(names):
            return None
        rows = example.to_numpy() if hasattr(example, "to_numpy") else example
        return [[None if value != value else value for value in row] for row in rows[:100].tolist()]

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        rows = frame(request)
        found: dict[str, Any] = {"values": plain(self._model.predict(rows)), "scores": None}
        if hasattr(self._raw, "predict_proba"):
            import numpy as np

            scores = np.asarray(_ask(self._raw.predict_proba, rows), dtype="<f8")
            found |= {"scores": np.ascontiguousarray(scores).tobytes(), "width": scores.shape[1]}
        return found

    def _time(self, request: dict[str, Any]) -> dict[str, Any]:
        rows = frame(request)
        taken: list[float] = []
        began = time.perf_counter()
        while len(taken) < 2 or (len(taken) < 20 and time.perf_counter() - began < _AT_MOST_S):
            started = time.perf_counter()
            self._model.predict(rows)
            taken.append((time.perf_counter() - started) * 1e6)
        return {"us": median(taken)}

    def _forest(self, request: dict[str, Any]) -> dict[str, Any]:
        from maestro.serving.prepare.importers import NotForest, forest_of

        if self._raw is None:
            return {"error": _NO_LIBRARY}
        try:
            return {"forest": forest_of(self._raw, request["types"]).encode()}
        except NotForest as error:
            return {"error": str(error)}

    def _onnx(self, request: dict[str, Any]) -> dict[str, Any]:
        from maestro.serving.prepare.convert import convert

        if self._raw is None:
            return {"error": _NO_LIBRARY}
        return {"onnx": convert(self._raw, request["names"], request["types"], request["variant"])}


def _raw(model: Any) -> Any:
    """The library's own object behind MLflow's interface; None where there is none to be had."""
    try:
        return model.get_raw_model()
    except Exception:  # noqa: BLE001 - flavours answer this in ways of their own; the model still answers rows
        return None


def _last(raw: Any) -> str:
    steps = getattr(raw, "steps", None)
    return " → ".join(type(step).__name__ for _, step in steps) if steps else type(raw).__name__


def _ask(method: Callable[[Any], Any], rows: Any) -> Any:
    try:
        return method(rows)
    except (ValueError, TypeError):  # fitted on an array, it may take no names
        return method(rows.to_numpy(dtype="float64"))


def _texts(raw: Any, names: list[str]) -> dict[str, list[str]]:
    """By text feature, the values that its encoder knows."""
    found: dict[str, list[str]] = {}
    waiting = [(raw, names)]
    while waiting:
        part, columns = waiting.pop()
        for _, step in getattr(part, "steps", None) or []:
            waiting.append((step, columns))
        for _, step, chosen in getattr(part, "transformers_", None) or []:
            if isinstance(chosen, str):
                waiting.append((step, [chosen]))
            elif all(isinstance(name, str) for name in chosen):
                waiting.append((step, list(chosen)))
        categories = getattr(part, "categories_", None)
        if categories is not None and len(categories) == len(columns):
            for name, values in zip(columns, categories, strict=True):
                found[name] = [value for value in values.tolist() if isinstance(value, str)][:1000]
    return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
