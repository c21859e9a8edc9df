"""Whether a path answers as the original does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from maestro.core.errors import MaestroError
from maestro.serving.prepare.asking import OriginalAnswers
from maestro.serving.runtimes._base import Answers, ModelRuntime
from maestro.serving.table import Batch, Matrix

TOLERANCE = 1e-5
"""The largest difference of a score, or difference of a number relative to its size (at least 1), that counts as the same answer."""


@dataclass(frozen=True)
class Verdict:
    """The largest difference that was found and rows of tied classes; `reason` says why the answers are not the same, else it is None."""

    largest_difference: float
    tied_labels: int = 0
    reason: str | None = None


def compare(runtime: ModelRuntime, rows: Batch, original: OriginalAnswers, *, is_number: bool) -> Verdict:
    """Hold a loaded runtime against the original's answers, all rows at once, in odd batches, and some of them alone."""
    try:
        whole = runtime.answer(rows, 60.0)
        verdict = _verdict(whole, original, is_number)
        if verdict.reason is None:
            for begin, size in ((0, 1), (1, 1), (2, 3), (5, 17)):
                if begin + size > rows.size:
                    break
                part = runtime.answer(take(rows, begin, size), 60.0)
                known = OriginalAnswers(
                    original.values[begin : begin + size],
                    None if original.scores is None else original.scores[begin : begin + size],
                )
                alone = _verdict(part, known, is_number)
                if alone.reason is not None:
                    return Verdict(alone.largest_difference, reason=f"in a batch of {size}: {alone.reason}")
    except MaestroError as error:
        return Verdict(float("inf"), reason=error.detail)
    return verdict


def take(batch: Batch, begin: int, size: int) -> Batch:
    """Some rows of a batch."""
    end = begin + size
    return Batch(
        batch.names,
        batch.types,
        size,
        None if batch.matrix is None else batch.matrix[begin:end],
        None if batch.columns is None else tuple(column[begin:end] for column in batch.columns),
    )


def _verdict(found: Answers, original: OriginalAnswers, is_number: bool) -> Verdict:
    if is_number:
        try:
            own = np.array(original.values, dtype=np.float64)
            given = np.asarray(found.values, dtype=np.float64)
        except (TypeError, ValueError):
            return Verdict(float("inf"), reason="its answers are not one number a row")
        if given.shape != own.shape or own.ndim != 1:
            return Verdict(float("inf"), reason="its answers are not one number a row")
        furthest = _largest(np.abs(given - own) / np.maximum(np.abs(own), 1.0))
        return _told(furthest, 0, 0, len(own), "predictions")
    wrong = np.array([not _same(a, b) for a, b in zip(found.values.tolist(), original.values, strict=True)])
    if original.scores is None or found.scores is None:
        if original.scores is not None:
            return Verdict(float("inf"), reason="it gives no scores")
        return _told(0.0, int(wrong.sum()), 0, len(wrong), "scores")
    if found.scores.shape != original.scores.shape:
        return Verdict(float("inf"), reason="its scores have another shape")
    furthest = _largest(np.abs(found.scores - original.scores))
    tied = wrong & _tied(original.scores)
    return _told(furthest, int((wrong & ~tied).sum()), int(tied.sum()), len(wrong), "probabilities")


def _told(furthest: float, wrong: int, tied: int, rows: int, what: str) -> Verdict:
    if wrong or not furthest <= TOLERANCE:
        return Verdict(furthest, tied, f"{wrong} of {rows} classes differ, {what} by up to {furthest:.2g}")
    return Verdict(furthest, tied)


def _largest(differences: Matrix) -> float:
    return float(np.where(np.isnan(differences), np.inf, differences).max())


def _tied(scores: Matrix) -> Any:
    top = np.sort(scores, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0] <= 2 * TOLERANCE


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) != isinstance(other, bool) or isinstance(one, str) != isinstance(other, str):
        return False
    return bool(one == other)
