"""References: from a file, from Feast, or from a stored profile, so that training data need not be read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field, ValidationError

from maestro.core.canonical import digest_bytes
from maestro.core.errors import BadInput, Malformed, NotFound, from_validation
from maestro.core.model import Digest, Model
from maestro.decisions.drift import ReferenceProfile, profile
from maestro.monitoring.drift.tables import ColumnTypes, choose_columns, read_table, require_columns

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ROWS = 10_000
"""Rows of a reference that are kept for the report's pictures; no decision reads them."""

SEED = 20260101


class FeatureFrames(Protocol):
    """Where features of the past come from (`maestro.clients.feast.FeatureRepository`).

    Obligations: point-in-time correct; one row for each row of `entities`, in their order, the entities' own columns carried along.
    """

    def training_frame(self, service: str, entities: pd.DataFrame) -> pd.DataFrame:
        """The features of `service` as they were known at each row's event timestamp."""
        ...


class StoredReference(Model):
    """The file of a stored profile. The sample lies beside it, by name and digest."""

    schema_: Literal["maestro.drift-reference/1"] = Field(default="maestro.drift-reference/1", alias="schema")
    source: str
    rows: int = Field(gt=0)
    types: ColumnTypes
    profile: ReferenceProfile
    sample: str
    sample_digest: Digest


class Reference:
    """What current data is compared with: the profile that decides, and a sample for the report.

    Args:
        source: where it came from, for people.
        rows: rows that were profiled.
        types: the watched columns.
        profile: at most 1,000 quantiles or the counts of each column, whatever the source, so that a file and its stored profile give the same verdict.
        sample: at most `SAMPLE_ROWS` rows.
    """

    def __init__(
        self, source: str, rows: int, types: ColumnTypes, made: ReferenceProfile, sample: pd.DataFrame
    ) -> None:
        self.source, self.rows, self.types, self.profile, self.sample = source, rows, types, made, sample

    @classmethod
    def of(
        cls, table: pd.DataFrame, source: str, *, columns: Sequence[str] = (), categorical: Sequence[str] = ()
    ) -> Reference:
        """Profile a table.

        Raises:
            BadInput: a column is not there or holds no value, or nothing can be watched.
        """
        types = choose_columns(table, columns, categorical)
        made = profile({name: table[name].to_numpy() for name in types.kinds}, types.kinds)
        for name, column in made.columns.items():
            if column.n == 0:
                raise BadInput(
                    f"column {name} has no value in the reference",
                    field=name,
                    remedy="leave it out: name the others with --columns",
                )
        return cls(source, len(table), types, made, sample_of(table[list(types.kinds)]))

    def only(self, columns: Sequence[str]) -> Reference:
        """The same reference for some of its columns.

        Raises:
            BadInput: a column is not in it.
        """
        if not columns:
            return self
        require_columns(list(self.types.kinds), columns, "the reference")
        types = ColumnTypes(kinds={name: self.types.kinds[name] for name in columns}, skipped=self.types.skipped)
        made = ReferenceProfile(columns={name: self.profile.columns[name] for name in columns})
        return Reference(self.source, self.rows, types, made, self.sample[list(columns)])


def sample_of(table: pd.DataFrame) -> pd.DataFrame:
    """At most `SAMPLE_ROWS` rows, the same ones each time."""
    return table if len(table) <= SAMPLE_ROWS else table.sample(SAMPLE_ROWS, random_state=SEED).sort_index()


def load_reference(
    path: Path, field: str, *, columns: Sequence[str] = (), categorical: Sequence[str] = ()
) -> Reference:
    """The reference in a Parquet or CSV file, or in a stored profile (`.json`).

    Raises:
        NotFound, Malformed, BadInput: the file or a column is not usable; it is named.
    """
    if path.suffix.lower() != ".json":
        return Reference.of(read_table(path, field), path.name, columns=columns, categorical=categorical)
    if not path.is_file():
        raise NotFound(f"{field}: {path} does not exist", field=field, remedy="check the path")
    try:
        stored = StoredReference.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise from_validation(
            error, f"{field}: profile {path.name}", remedy="write it again with `maestro drift profile`"
        ) from None
    beside = path.parent / stored.sample
    if (
        beside.parent != path.parent
        or not beside.is_file()
        or digest_bytes(beside.read_bytes()) != stored.sample_digest
    ):
        raise Malformed(
            f"{field}: the sample {stored.sample} beside {path.name} is missing or is another one",
            field=field,
            remedy="copy both files together, or write them again with `maestro drift profile`",
        )
    reference = Reference(stored.source, stored.rows, stored.types, stored.profile, read_table(beside, field))
    return reference.only(columns)


def save_reference(reference: Reference, path: Path) -> StoredReference:
    """Store a profile at `path` (ends in `.json`), its sample beside it.

    Raises:
        BadInput: the name does not end in `.json`.
    """
    if path.suffix.lower() != ".json":
        raise BadInput(f"{path} is no name for a profile", field="out", remedy="let it end in .json")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".sample.parquet")
    reference.sample.to_parquet(beside, index=False)
    stored = StoredReference(
        source=reference.source,
        rows=reference.rows,
        types=reference.types,
        profile=reference.profile,
        sample=beside.name,
        sample_digest=digest_bytes(beside.read_bytes()),
    )
    path.write_text(json.dumps(stored.document(), separators=(",", ":")) + "\n")
    return stored


def reference_from_features(
    frames: FeatureFrames,
    service: str,
    entities: pd.DataFrame,
    *,
    columns: Sequence[str] = (),
    categorical: Sequence[str] = (),
) -> Reference:
    """The reference distributions of a feature service, as a model was trained on them.

    Args:
        frames: the feature store.
        service: the feature service.
        entities: entity keys and event timestamps of the training rows.
        columns: watch only these features; all that the service adds to `entities` by default.
        categorical: numbers that are codes.

    Raises:
        NotFound: no such service.
        BadInput: an entity key is missing, or nothing can be watched.
    """
    frame = frames.training_frame(service, entities)
    features = [str(name) for name in frame.columns if name not in set(entities.columns)]
    return Reference.of(frame[features], f"feature service {service}", columns=columns, categorical=categorical)
