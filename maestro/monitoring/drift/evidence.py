"""The decision of a drift check as numbers that can be kept and judged again.

The verdict reads of the current data only how many values lie at or below, and below, each point of the reference's profile, and how often each category
occurs. Those integers, not the rows, are kept: they hold no personal record and are a few hundred kilobytes.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError

from maestro.core.canonical import canonical_bytes, digest
from maestro.core.decision import DecisionRecord, Subject, Verdict
from maestro.core.errors import BadInput, NotFound
from maestro.core.model import Model
from maestro.decisions.drift import DriftVerdict, ReferenceProfile, judge_drift
from maestro.decisions.drift.reference import CategoricalProfile, NumericProfile, counted, finite
from maestro.monitoring.drift.batch import DriftCheck, DriftOptions

if TYPE_CHECKING:
    import pandas as pd

KIND = "drift"


class NumericCounts(Model):
    """Values at or below, and below, each point of the reference's profile, among `n`."""

    kind: Literal["numeric"] = "numeric"
    n: int
    at_or_below: tuple[int, ...]
    below: tuple[int, ...]


class CategoricalCounts(Model):
    """How often each category occurs."""

    kind: Literal["categorical"] = "categorical"
    counts: dict[str, int]


class DriftEvidence(Model):
    """All that the verdict rests on."""

    schema_: Literal["maestro.drift-evidence/1"] = Field(default="maestro.drift-evidence/1", alias="schema")
    reference: ReferenceProfile
    current: dict[str, Annotated[NumericCounts | CategoricalCounts, Field(discriminator="kind")]]


class DriftDecision(Model):
    """The parts of a decision record that a drift check fixes; whoever keeps the log adds time, code, actor and chain."""

    kind: Literal["drift"] = "drift"
    subject: Subject
    inputs: dict[str, Any]
    verdict: Verdict
    reasons: tuple[dict[str, Any], ...]


def decide(
    check: DriftCheck, profile: ReferenceProfile, current: pd.DataFrame, folder: Path, *, version: str = "unversioned"
) -> DriftDecision:
    """Keep the evidence of a check in `folder`, under its digest, and give the decision that names it.

    Args:
        check: the result.
        profile: the reference's.
        current: the batch.
        folder: `$MAESTRO_HOME/drift`.
        version: the model version that the data was given to, when one is known.
    """
    evidence = DriftEvidence(
        reference=profile,
        current={name: _counts(name, base, current[name].to_numpy()) for name, base in profile.columns.items()},
    )
    document = evidence.document()
    identity = digest(document)
    _keep(folder, identity, canonical_bytes(document))
    columns = [*check.verdict.columns, *(check.target.columns if check.target else ())]
    return DriftDecision(
        subject=Subject(model=check.dataset, version=version, digest=digest(document["current"])),
        inputs={
            "evidence": identity,
            "options": check.options.document(),
            "rows": [check.rows_reference, check.rows_current],
        },
        verdict=Verdict.DRIFT if check.drift else Verdict.NO_DRIFT,
        reasons=tuple(
            {
                "column": each.column,
                "test": each.test,
                "effect": each.effect,
                "lower": each.effect_lower,
                "margin": check.options.material,
                "p_adjusted": each.p_adjusted,
                "reason": each.reason,
            }
            for each in columns
            if each.drift
        ),
    )


def replay_drift(record: DecisionRecord, folder: Path) -> Verdict:
    """Judge the evidence of a record again.

    Raises:
        NotFound: the evidence is gone, or what lies under its digest is something else.
        BadInput: the record's inputs are not those of a drift check.
    """
    try:
        identity, options = str(record.inputs["evidence"]), DriftOptions.model_validate(record.inputs["options"])
    except (KeyError, ValidationError) as error:
        raise BadInput(
            f"record {record.id} does not hold the inputs of a drift check: {error}", field="inputs"
        ) from None
    path = _file(folder, identity)
    try:
        evidence = DriftEvidence.model_validate_json(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, zlib.error, ValidationError):
        raise _gone(identity, path) from None
    if evidence.content_digest() != identity:
        raise _gone(identity, path)
    verdicts = judge_evidence(evidence, options)
    return Verdict.DRIFT if any(each.drift for each in verdicts) else Verdict.NO_DRIFT


def judge_evidence(evidence: DriftEvidence, options: DriftOptions) -> tuple[DriftVerdict, ...]:
    """The verdict of the features and, when one is named, of the target."""
    names = list(evidence.reference.columns)
    verdicts = []
    for group in (
        [name for name in names if name != options.target],
        [name for name in names if name == options.target],
    ):
        if group:
            reference = ReferenceProfile(columns={name: evidence.reference.columns[name] for name in group})
            columns = {name: _values(evidence, name) for name in group}
            verdicts.append(
                judge_drift(
                    reference,
                    columns,
                    threshold=options.threshold,
                    material=options.material,
                    confidence=options.confidence,
                    high=options.high,
                    critical=options.critical,
                )
            )
    return tuple(verdicts)


def _counts(
    name: str, base: NumericProfile | CategoricalProfile, values: ArrayLike
) -> NumericCounts | CategoricalCounts:
    if isinstance(base, CategoricalProfile):
        return CategoricalCounts(counts=counted(values)[0])
    x, _ = finite(name, values)
    points = np.asarray(base.points)
    return NumericCounts(
        n=int(x.size),
        at_or_below=tuple(np.searchsorted(x, points, side="right").tolist()),
        below=tuple(np.searchsorted(x, points, side="left").tolist()),
    )


def _values(evidence: DriftEvidence, name: str) -> NDArray[Any]:
    """A sample with the same counts: as many values on each point and between each two as there were."""
    base, seen = evidence.reference.columns[name], evidence.current[name]
    if isinstance(base, NumericProfile) and isinstance(seen, NumericCounts):
        points = np.asarray(base.points)
        # below the first point, on it, between it and the next, …, above the last
        on = np.asarray(seen.at_or_below) - np.asarray(seen.below)
        between = np.append(np.asarray(seen.below), seen.n) - np.append(0, np.asarray(seen.at_or_below))
        gaps = np.concatenate(([points[0] - 1.0], points[:-1] + np.diff(points) / 2.0, [points[-1] + 1.0]))
        return np.repeat(np.concatenate((points, gaps)), np.concatenate((on, between)))
    if isinstance(base, CategoricalProfile) and isinstance(seen, CategoricalCounts):
        return np.repeat(np.array(list(seen.counts), dtype=object), list(seen.counts.values()))
    raise BadInput(f"the evidence of column {name} is of another kind than its reference", field=name)


def _keep(folder: Path, identity: str, content: bytes) -> None:
    path = _file(folder, identity)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as handle:
        handle.write(gzip.compress(content, mtime=0))
    Path(handle.name).replace(path)


def _file(folder: Path, identity: str) -> Path:
    return folder / f"{identity.removeprefix('sha256:')}.json.gz"


def _gone(identity: str, path: Path) -> NotFound:
    return NotFound(
        f"the evidence {identity} is gone or was changed",
        field="inputs.evidence",
        remedy=f"restore {path} from a backup",
    )
