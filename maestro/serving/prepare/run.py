"""Prepare one version: convert what the original is made of, prove each candidate against it, measure, choose, and write the plan."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from maestro.core.clock import SystemClock
from maestro.core.contract import ModelContract
from maestro.core.errors import BadInput, MaestroError
from maestro.serving.contract import Validator
from maestro.serving.prepare.asking import CannotAnswer, OriginalAnswers, OriginalProcess
from maestro.serving.prepare.candidates import Candidate, candidates
from maestro.serving.prepare.choice import choose
from maestro.serving.prepare.proof import TOLERANCE, compare, take
from maestro.serving.prepare.rows import (
    RANDOM_ROWS,
    bisected_rows,
    example_rows,
    joined,
    random_rows,
    threshold_rows,
    unknown_texts,
)
from maestro.serving.runtimes._base import ModelRuntime
from maestro.serving.runtimes.cost import measure, tiled
from maestro.serving.runtimes.forest import Forest
from maestro.serving.runtimes.plan import (
    PLAN,
    OriginalModel,
    Plan,
    PlanStore,
    Proof,
    ProvenPath,
    RefusedPath,
    measured,
    runtime_versions,
)
from maestro.serving.table import Batch

log = logging.getLogger(__name__)

SEED = 20261
PATH_SIZES = (1, 4, 16, 64, 256, 4096)
ORIGINAL_SIZES = (1, 16, 256)
Say = Callable[[float, str], None]


def prepare(
    files: Path,
    contract: ModelContract,
    digest: str,
    store: PlanStore,
    *,
    private: Sequence[Path] = (),
    say: Say = lambda _fraction, _message: None,
    again: bool = False,
) -> Plan:
    """The plan of a version, made now unless one holds already (or `again`).

    Args:
        files: the version's private folder, an MLflow model whose bytes have been verified.
        contract: of the version.
        digest: of the version.
        store: where the plan goes.
        private: what the original's process must not be able to read.
        say: told what is being done, with the fraction that is done.

    Raises:
        BadInput: the original cannot be loaded here, or cannot answer a row that its contract allows.
        Refused: this machine cannot confine it.
        Unreachable: its process died.
    """
    with _alone(store, digest):
        found = None if again else store.find(digest)
        if found is not None:
            return found[0]
        staging = Path(tempfile.mkdtemp(dir=store.root, prefix=f".{digest.removeprefix('sha256:')[:16]}."))
        try:
            plan = _prepared(files, contract, digest, staging, private, say)
            _place(staging, store.folder(digest), plan)
            return plan
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _prepared(
    files: Path, contract: ModelContract, digest: str, staging: Path, private: Sequence[Path], say: Say
) -> Plan:
    began = time.monotonic()
    is_number = contract.output.kind != "classification"
    rng = np.random.default_rng(SEED)
    say(0.0, "loading the original in its own process")
    with OriginalProcess(files, private) as original:
        description = original.describe(contract.names)
        say(0.3, "answering random rows with the original")
        rows = [random_rows(contract, description.texts, rng, RANDOM_ROWS)]
        example = example_rows(contract, description.example)
        if example is not None:
            rows.insert(0, example)
        try:
            answers = original.answer(rows[-1])
        except CannotAnswer as error:
            raise BadInput(
                f"the original cannot answer rows that its contract allows: {error}",
                field="contract.json",
                remedy="correct ranges, types or `nullable` in the contract, or the model",
            ) from None
        refused: list[RefusedPath] = []
        found = candidates(original, files, contract, description.classes, staging, refused)
        say(0.45, "finding the edges of its answers")
        edges = _edges(contract, rows[-1], original, answers, found, rng)
        every = joined(contract, [*rows, *edges])
        try:
            truth = original.answer(every)
        except CannotAnswer as error:
            raise BadInput(
                f"the original cannot answer rows at its own edges: {error}",
                field="contract.json",
                remedy="refuse values out of range in the contract (on_out_of_range)",
            ) from None
        unknown = unknown_texts(contract, rows[-1])
        refuses_unknown = unknown is not None and not _answers(original, unknown)
        say(0.6, "proving fast paths")
        proven: list[ProvenPath] = []
        for candidate in found:
            if candidate.name in {path.name for path in proven}:
                continue
            path = _proven(candidate, every, truth, unknown, refuses_unknown, is_number, refused, staging)
            if path is not None:
                proven.append(path)
        say(0.85, "measuring the original")
        sample = Validator(contract).sample() if not description.texts else take(rows[-1], 0, 1)
        us = {size: original.time_us(tiled(sample, size)) for size in ORIGINAL_SIZES}
    return Plan(
        digest=digest,
        versions=runtime_versions(),
        prepared=SystemClock().now(),
        seconds=round(time.monotonic() - began, 3),
        original=OriginalModel(kind=description.kind, us=_rounded(us)),
        proof=Proof(
            tolerance=TOLERANCE,
            rows=every.size,
            example_rows=0 if example is None else example.size,
            random_rows=rows[-1].size,
            boundary_rows=sum(batch.size for batch in edges),
            seed=SEED,
        ),
        paths=tuple(proven),
        choices=choose(proven, PATH_SIZES),
        refused=tuple(refused),
    )


def _edges(
    contract: ModelContract,
    base: Batch,
    original: OriginalProcess,
    answers: OriginalAnswers,
    found: Sequence[Candidate],
    rng: np.random.Generator,
) -> list[Batch]:
    """Rows at thresholds that the trees tell, and at those that only the answers tell."""
    edges: list[Batch | None] = []
    forest: Forest | None = next((candidate.forest for candidate in found if candidate.forest is not None), None)
    if forest is not None:
        edges.append(threshold_rows(contract, base, forest.boundaries(), rng))

    def ask(batch: Batch) -> np.ndarray:
        told = original.answer(batch)
        return told.scores if told.scores is not None else np.array(told.values, dtype=object)

    try:
        edges.append(bisected_rows(contract, base, ask, rng))
    except CannotAnswer as error:
        log.info("edges were not searched: %s", error)
    return [batch for batch in edges if batch is not None]


def _answers(original: OriginalProcess, batch: Batch) -> bool:
    try:
        original.answer(batch)
    except CannotAnswer:
        return False
    return True


def _proven(
    candidate: Candidate,
    rows: Batch,
    truth: OriginalAnswers,
    unknown: Batch | None,
    refuses_unknown: bool,
    is_number: bool,
    refused: list[RefusedPath],
    staging: Path,
) -> ProvenPath | None:
    best: tuple[ModelRuntime, ProvenPath] | None = None
    reasons: list[str] = []
    try:
        candidate.place()
        for labels in candidate.label_rules:
            runtime = candidate.make(labels)
            runtime.load()
            verdict = compare(runtime, rows, truth, is_number=is_number)
            if verdict.reason is None and unknown is not None and refuses_unknown and _runs(runtime, unknown):
                verdict = type(verdict)(verdict.largest_difference, reason="it answers texts that the original refuses")
            if verdict.reason is not None:
                reasons.append(verdict.reason)
                runtime.close()
                continue
            path = ProvenPath(
                name=candidate.name,
                origin=candidate.origin,
                labels=labels,
                files=measured(staging, *candidate.files),
                us={},
                largest_difference=verdict.largest_difference,
                tied_labels=verdict.tied_labels,
            )
            if best is None or path.tied_labels < best[1].tied_labels:
                best = runtime, path
            if path.tied_labels == 0:
                break
    except MaestroError as error:
        reasons.append(error.detail)
    if best is None:
        refused.append(
            RefusedPath(name=f"{candidate.name} ({candidate.origin})", reason=reasons[0] if reasons else "?")
        )
        return None
    runtime, path = best
    costs = measure(lambda batch: runtime.answer(batch, 60.0), take(rows, 0, min(rows.size, 512)), PATH_SIZES)
    runtime.close()
    return path.model_copy(update={"us": _rounded(costs.measured)})


def _runs(runtime: ModelRuntime, batch: Batch) -> bool:
    try:
        runtime.answer(batch, 60.0)
    except MaestroError:
        return False
    return True


def _rounded(us: dict[int, float]) -> dict[int, float]:
    return {size: round(cost, 2) for size, cost in us.items()}


@contextmanager
def _alone(store: PlanStore, digest: str) -> Iterator[None]:
    """One preparation of a version at a time; the lock goes with its holder."""
    store.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    store.root.chmod(0o700)
    lock = os.open(
        store.root / f".{digest.removeprefix('sha256:')[:16]}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _place(staging: Path, target: Path, plan: Plan) -> None:
    """Put the plan and the files that it names in place of whatever is there."""
    wanted = {entry.path for path in plan.paths for entry in path.files}
    for path in staging.iterdir():
        if path.name not in wanted:
            path.unlink()
        else:
            path.chmod(0o600)
    (staging / PLAN).write_text(plan.model_dump_json(by_alias=True, indent=2) + "\n")
    (staging / PLAN).chmod(0o600)
    staging.chmod(0o700)
    if target.exists():
        old = target.with_name(f".{target.name[:16]}.old-{os.getpid()}")
        target.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    staging.rename(target)
