"""What parent and workers say to each other."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from maestro.core.contract import ModelContract
from maestro.core.errors import MaestroError
from maestro.serving.graph._base import Observation, Unit
from maestro.serving.graph.drawn import Drawn
from maestro.serving.sampling import Sample
from maestro.serving.table import Batch, Prediction

PREPARE, COMMIT, OPEN, DRAIN = "prepare", "commit", "open", "drain"
"""The parent's: load a revision; answer on it; take connections; end."""
SEEN, CONTROL, PREDICT, FEATURES, SAMPLES = "seen", "control", "predict", "features", "samples"
"""A worker's: an arm's first attempt; a control request; rows for a model that the parent holds; entities to look up; rows of the traffic to watch."""
FAILED, TICKET, PROBED = "attempt_failed", "ticket", "probed"
"""A worker's, about what a circuit breaker guards: an attempt has failed; may one be made; how one that was not made while it was closed ended."""


class Start(msgspec.Struct):
    """What a worker is started with.

    Args:
        slot: its number; its successor has the same.
        private: paths that a model's own process must not be able to read.
        rate_key: of the table of callers, in hexadecimal.
        breakers: the bank in which the parent says how the circuit breakers stand.
        attempts: the bank in which this worker counts what they count.
        grpc: the address of the gRPC port, which all workers share; None without one.
        remote_key: the file with the key by which remote nodes are asked.
    """

    slot: int
    listen: int
    channel: int
    bank: str
    plans: str
    graphs: str
    units: str
    verifiers: str
    private: list[str]
    auth: str
    oidc: tuple[str, str, str] | None
    max_body: int
    max_rows: int
    queue_limit: int
    max_connections: int
    rate_per_s: float | None
    rate_burst: int
    rate_table: str
    rate_key: str
    tls: tuple[str, str] | None
    log_level: str
    breakers: str
    attempts: str
    grpc: str | None = None
    remote_key: str | None = None
    prediction_cache_bytes: int = 0
    prediction_cache_ttl_s: float = 60.0
    feature_timeout_s: float = 2.0


class VersionMessage(msgspec.Struct):
    """A version that the parent has verified and loaded.

    Args:
        local: whether the worker loads it; else it asks the parent.
        folder: the parent's private copy.
    """

    node: str
    model: str
    version: str
    digest: str
    folder: str
    kind: str
    purpose: str
    local: bool
    signed: bool
    contract: dict[str, Any]


class PrepareMessage(msgspec.Struct):
    """A revision to load. `generation` rises with every revision that the parent publishes, whatever the graph file numbers it."""

    generation: int
    content: str
    graph: dict[str, Any]
    versions: list[VersionMessage]


class CommitMessage(msgspec.Struct):
    """Answer on a revision that is loaded; of the versions, those with these digests are still needed."""

    generation: int
    model: str
    keep: list[str]


class BatchMessage(msgspec.Struct):
    """Rows in a contract's order: the bytes of a float64 matrix, or a list a column."""

    size: int
    matrix: bytes | None
    columns: list[list[Any]] | None


class PredictMessage(msgspec.Struct):
    """Rows for a version that the parent holds."""

    digest: str
    batch: BatchMessage
    timeout_s: float


class PredictionMessage(msgspec.Struct):
    """Its answer; or how it failed."""

    values: list[Any]
    scores: list[list[float]] | None = None
    error: str | None = None
    detail: str = ""


class FeaturesMessage(msgspec.Struct):
    """Entities to look up."""

    service: str
    rows: list[dict[str, Any]]


class SeenMessage(msgspec.Struct):
    """An observation."""

    model: str
    arm: str
    version: str
    revision: int
    experiment: str | None
    propensity: float
    key: str | None
    units: list[tuple[str | None, list[tuple[str, str]]]]
    values: list[Any] | None
    batch: BatchMessage | None
    latency_s: float
    outcome: str
    drawn: Drawn | None = None


class SampleMessage(msgspec.Struct):
    """Rows and answers of one arm at one revision."""

    model: str
    arm: str
    version: str
    revision: int
    values: list[Any]
    batch: BatchMessage | None = None
    scores: bytes | None = None
    classes: int = 0


class ProbedMessage(msgspec.Struct):
    """How an attempt ended; `ok` is None when the ticket is handed back."""

    key: str
    ticket: int
    ok: bool | None


def refusal(error: MaestroError) -> str:
    """An error as text: what kind it is, and what it says."""
    return f"{error.slug}:{error.detail}"


def batch_message(batch: Batch) -> BatchMessage:
    """Rows to send."""
    if batch.matrix is not None:
        return BatchMessage(batch.size, np.ascontiguousarray(batch.matrix, dtype="<f8").tobytes(), None)
    columns = [batch.column(position).tolist() for position in range(len(batch.names))]
    return BatchMessage(batch.size, None, columns)


def batch_of(message: BatchMessage, contract: ModelContract) -> Batch:
    """Rows that were sent."""
    names = contract.names
    types = tuple(feature.type for feature in contract.features)
    if message.matrix is not None:
        matrix = np.frombuffer(message.matrix, dtype="<f8").reshape(message.size, len(names))
        return Batch(names, types, message.size, matrix)
    columns = tuple(
        np.array(column, dtype=object if kind == "string" else np.float64)
        for column, kind in zip(message.columns or [], types, strict=True)
    )
    return Batch(names, types, message.size, None, columns)


def sample_messages(samples: list[Sample]) -> list[SampleMessage]:
    """Samples to send, those of one arm at one revision together."""
    groups: dict[tuple[Any, ...], list[Sample]] = {}
    for sample in samples:
        batch = sample.batch
        shape = None if batch is None else (batch.names, batch.matrix is None)
        classes = 0 if sample.scores is None else sample.scores.shape[1]
        place = (sample.model, sample.arm, sample.version, sample.revision, shape, classes)
        groups.setdefault(place, []).append(sample)
    found = []
    for (model, arm, version, revision, _, classes), members in groups.items():
        message = SampleMessage(model, arm, version, revision, [value for each in members for value in each.values])
        message.batch = _joined([each.batch for each in members if each.batch is not None])
        if classes:
            scores = np.concatenate([each.scores for each in members if each.scores is not None])
            message.scores, message.classes = np.ascontiguousarray(scores, dtype="<f8").tobytes(), classes
        found.append(message)
    return found


def sample_of(message: SampleMessage, contract: ModelContract | None) -> Sample:
    """A sample that was sent."""
    batch = None if message.batch is None or contract is None else batch_of(message.batch, contract)
    scores = None if message.scores is None else np.frombuffer(message.scores, dtype="<f8").reshape(-1, message.classes)
    return Sample(
        message.model, message.arm, message.version, message.revision, contract, batch, message.values, scores
    )


def _joined(batches: list[Batch]) -> BatchMessage | None:
    if not batches:
        return None
    size = sum(batch.size for batch in batches)
    if batches[0].matrix is not None:
        matrix = np.concatenate([batch.matrix for batch in batches if batch.matrix is not None])
        return BatchMessage(size, np.ascontiguousarray(matrix, dtype="<f8").tobytes(), None)
    columns = [
        [value for batch in batches for value in batch.column(position).tolist()]
        for position in range(len(batches[0].names))
    ]
    return BatchMessage(size, None, columns)


def seen_message(model: str, seen: Observation) -> SeenMessage:
    """An observation to send; rows travel only where a record is made of them."""
    recorded = seen.experiment is not None and seen.batch is not None
    return SeenMessage(
        model=model,
        arm=seen.arm,
        version=seen.version,
        revision=seen.revision,
        experiment=seen.experiment,
        propensity=seen.propensity,
        key=seen.key,
        units=[(unit.entity, list(unit.keys)) for unit in seen.units],
        values=None if seen.prediction is None else seen.prediction.values,
        batch=batch_message(seen.batch) if recorded and seen.batch is not None else None,
        latency_s=seen.latency_s,
        outcome=seen.outcome,
        drawn=seen.drawn,
    )


def observation(message: SeenMessage, contract: ModelContract | None) -> Observation:
    """An observation that was sent."""
    batch = None if message.batch is None or contract is None else batch_of(message.batch, contract)
    return Observation(
        arm=message.arm,
        version=message.version,
        revision=message.revision,
        experiment=message.experiment,
        propensity=message.propensity,
        key=message.key,
        units=tuple(Unit(entity, tuple(keys)) for entity, keys in message.units),
        prediction=None if message.values is None else Prediction(message.values),
        batch=batch,
        contract=contract,
        latency_s=message.latency_s,
        outcome=message.outcome,
        drawn=message.drawn,
    )
