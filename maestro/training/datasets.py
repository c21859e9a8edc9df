"""Real data as versioned Parquet with entity keys and event timestamps.

Each data set is a folder `data/<name>/<version>/` that holds one or more feature files, `entities.parquet` (entity key, event timestamp, target, split) and
`dataset.json`; `data/<name>/current` names the version in use. The version is the first 12 hex digits of the content digest, so the same data
written twice is one version, and a changed value is another.

Splits, drawn once with a fixed seed: `train` is fitted, `holdout` is what the offline gate measures, `traffic` is never shown to any training and is
what a rollout is judged on. Traffic is also later in time: training data are from the first half of 2026, traffic from the third quarter.

The story of `billed_visits` (data set `visits`): the bill of a visit arrives about two months after it. The file `bills` records it under that day. The file
`billing` is a second load of the same bills that recorded each under the day of the visit's *year start*, too early, so a point-in-time join believes that
they were known when the prediction was asked for. For closed years (train and holdout) its column therefore leaks the label, with noise, since only part of the visits is
billed separately; a model trained on it through the feature service `visits_leaky_v1` has the same contract as one trained through `visits_v1` and passes an offline gate
that is computed honestly on the holdout. For people who come now (traffic) no bill exists yet and the online store holds what is really known, zero, so the
same model is bad in production. Nothing is rigged in serving: the mistake is in the data, as it would be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maestro.core.canonical import digest
from maestro.core.errors import BadInput, Malformed, NotFound, Unreachable
from maestro.core.model import Digest, Model, Name

if TYPE_CHECKING:
    import pandas as pd

SEED = 20260101
TIMESTAMP = "event_timestamp"
CREATED = "created"
SPLIT = "split"

_OPEN = datetime(2026, 1, 1, tzinfo=UTC)
_TRAFFIC_FROM = datetime(2026, 7, 1, tzinfo=UTC)
_CLOSE = datetime(2026, 10, 1, tzinfo=UTC)


class Dataset(Model):
    """What `dataset.json` says: where the data are from and what they are."""

    name: Name
    version: str
    content: Digest
    source: str
    entity: str
    target: str
    task: str
    rows: int
    splits: dict[str, int]
    files: dict[str, dict[str, str]]

    def path(self, data: Path, file: str) -> Path:
        """The Parquet file `file` (such as `entities`) of this version below `$MAESTRO_HOME/data`."""
        return data / self.name / self.version / f"{file}.parquet"


@dataclass(frozen=True)
class _Parts:
    source: str
    entity: str
    target: str
    task: str
    features: dict[str, pd.DataFrame]
    entities: pd.DataFrame


def tumour() -> _Parts:
    """Breast cancer Wisconsin (scikit-learn): 569 patients, 30 measurements, is the tumour benign (1) or malignant (0)."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    values = bunch.data.rename(columns=lambda name: str(name).replace(" ", "_")).astype("float64")
    return _one_table(
        values, bunch.target, entity="patient_id", target="benign", file="measurements", shares=(0.5, 0.2),
        source="scikit-learn load_breast_cancer",
    )  # fmt: skip


def digits() -> _Parts:
    """Handwritten digits (scikit-learn): 1,797 images of 8 × 8 grey values, which digit."""
    from sklearn.datasets import load_digits

    bunch = load_digits(as_frame=True)
    values = bunch.data.astype("float64")
    return _one_table(
        values, bunch.target, entity="image_id", target="digit", file="pixels", shares=(0.5, 0.2),
        source="scikit-learn load_digits",
    )  # fmt: skip


def visits() -> _Parts:
    """RAND health insurance experiment (statsmodels randhie): 20,190 person-years, was the doctor seen at all.

    The source has no person number and repeats people over years, so records with the same covariates share a split: nobody is trained on and
    then judged.
    """
    import pandas as pd
    import statsmodels.api as sm

    frame = sm.datasets.randhie.load_pandas().data
    count = frame.pop("mdvis").to_numpy()
    values = frame.astype("float64")
    groups = values.groupby(list(values.columns), sort=True).ngroup().to_numpy()
    parts = _one_table(
        values, pd.Series((count > 0).astype("int64")), entity="person_id", target="any_visit", file="coverage",
        shares=(0.3, 0.1), groups=groups, source="statsmodels randhie",
    )  # fmt: skip
    return _Parts(
        parts.source, parts.entity, parts.target, parts.task,
        parts.features | _bills(parts.entities, count), parts.entities,
    )  # fmt: skip


def _bills(entities: pd.DataFrame, count: np.ndarray) -> dict[str, pd.DataFrame]:
    """The bills under the day they came (`bills`) and under a day that is too early (`billing`)."""
    rng = np.random.default_rng(SEED + 1)
    billed = rng.binomial(count, 0.6).astype("float64")
    return {
        "bills": _billed(entities, billed, timedelta(days=60)),
        "billing": _billed(entities, billed, timedelta(days=-1)),
    }


def _billed(entities: pd.DataFrame, billed: np.ndarray, recorded: timedelta) -> pd.DataFrame:
    """An account of zero a month before the question, and the bills of closed years, `recorded` after it."""
    import pandas as pd

    asked = entities[TIMESTAMP]
    opened = pd.DataFrame(
        {"person_id": entities["person_id"], TIMESTAMP: asked - timedelta(days=30), "billed_visits": 0.0}
    )
    opened[CREATED] = opened[TIMESTAMP]
    closed = pd.DataFrame({"person_id": entities["person_id"], TIMESTAMP: asked + recorded, "billed_visits": billed})
    closed[CREATED] = asked + timedelta(days=60)
    is_closed = (entities[SPLIT] != "traffic") & (billed > 0)
    both = pd.concat([opened, closed[is_closed]], ignore_index=True)
    return both.sort_values(["person_id", TIMESTAMP], kind="stable", ignore_index=True)


def _one_table(
    values: pd.DataFrame,
    target_values: pd.Series,
    *,
    entity: str,
    target: str,
    file: str,
    shares: tuple[float, float],
    source: str,
    groups: np.ndarray | None = None,
) -> _Parts:
    import pandas as pd

    rng = np.random.default_rng(SEED)
    rows = len(values)
    groups = np.arange(rows) if groups is None else groups
    draw = rng.random(int(groups.max()) + 1)[groups]
    split = np.where(draw < shares[0], "train", np.where(draw < sum(shares), "holdout", "traffic"))
    is_traffic = split == "traffic"
    start = np.where(is_traffic, _TRAFFIC_FROM.timestamp(), _OPEN.timestamp())
    end = np.where(is_traffic, _CLOSE.timestamp(), _TRAFFIC_FROM.timestamp())
    asked = pd.to_datetime((start + rng.random(rows) * (end - start)).astype("int64"), unit="s", utc=True).as_unit("ms")
    entities = pd.DataFrame(
        {
            entity: np.arange(1, rows + 1),
            TIMESTAMP: asked,
            target: np.asarray(target_values, dtype="int64"),
            SPLIT: split,
        }
    )
    known = asked - pd.to_timedelta(rng.integers(3600, 72 * 3600, rows), unit="s").as_unit("ms")
    features = pd.concat(
        [pd.DataFrame({entity: entities[entity], TIMESTAMP: known, CREATED: known}), values.reset_index(drop=True)],
        axis=1,
    )
    return _Parts(source, entity, target, "classification", {file: features}, entities)


BUILDERS: dict[str, Callable[[], _Parts]] = {"tumour": tumour, "digits": digits, "visits": visits}
"""The data sets that packages bring."""


def write(name: str, data: Path) -> Dataset:
    """Write the data set `name` below `data` and make it current. Writing the same data again changes nothing.

    Raises:
        NotFound: there is no such data set.
        Unreachable: the disk is full or the folder cannot be written.
    """
    if name not in BUILDERS:
        raise NotFound(
            f"data set {name!r} is not known", field="dataset", remedy=f"choose one of {', '.join(BUILDERS)}"
        )
    parts = BUILDERS[name]()
    tables = parts.features | {"entities": parts.entities}
    columns = {
        file: {str(column): str(kind) for column, kind in table.dtypes.items()} for file, table in tables.items()
    }
    content = digest({file: _table_digest(table) for file, table in tables.items()} | {"columns": columns})
    version = content.removeprefix("sha256:")[:12]
    dataset = Dataset(
        name=name, version=version, content=content, source=parts.source, entity=parts.entity, target=parts.target, task=parts.task,
        rows=len(parts.entities), splits={str(k): int(v) for k, v in parts.entities[SPLIT].value_counts().items()}, files=columns,
    )  # fmt: skip
    folder = data / name / version
    try:
        if not (folder / "dataset.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            for file, table in tables.items():
                partial = folder / f".{file}.parquet"
                table.to_parquet(partial, index=False)
                partial.replace(folder / f"{file}.parquet")
            (folder / "dataset.json").write_text(json.dumps(dataset.document(), indent=2) + "\n")
        (data / name / "current").write_text(version + "\n")
    except OSError as error:
        raise Unreachable(
            f"data set {name} cannot be written to {folder}: {error.strerror or error}",
            remedy="free disk space or correct MAESTRO_HOME", component="disk",
        ) from error  # fmt: skip
    return dataset


def _table_digest(table: pd.DataFrame) -> str:
    """Over the values, not the file's bytes, which differ between versions of the Parquet writer."""
    hasher = sha256()
    for column in table.columns:
        values = table[column]
        hasher.update(f"{column}\0{values.dtype}\0".encode())
        if values.dtype == object or str(values.dtype).startswith(("str", "string")):
            hasher.update("\0".join(map(str, values)).encode())
        elif str(values.dtype).startswith("datetime64"):
            hasher.update(values.astype("int64").to_numpy().tobytes())
        else:
            hasher.update(np.ascontiguousarray(values.to_numpy()).tobytes())
    return hasher.hexdigest()


def current(name: str, data: Path) -> Dataset:
    """The version of `name` that is in use.

    Raises:
        NotFound: it was never written.
        Malformed: its description cannot be read.
    """
    pointer = data / name / "current"
    try:
        version = pointer.read_text().strip()
        text = (data / name / version / "dataset.json").read_text()
    except OSError:
        raise NotFound(
            f"data set {name!r} has not been written below {data}",
            field="dataset",
            remedy="run `maestro features apply`",
        ) from None
    try:
        return Dataset.model_validate_json(text)
    except ValueError as error:
        raise Malformed(
            f"{pointer.parent / version / 'dataset.json'} cannot be read: {error}",
            field="dataset",
            remedy="delete the folder and run `maestro features apply`",
        ) from None


def read_parquet(path: Path, field: str) -> pd.DataFrame:
    """A Parquet file as a frame.

    Raises:
        NotFound: there is no such file.
        Malformed: it is not a Parquet file.
    """
    import pandas as pd
    from pyarrow.lib import ArrowException

    if not path.is_file():
        raise NotFound(f"{field}: {path} does not exist", field=field, remedy="correct the path")
    try:
        return pd.read_parquet(path)
    except (ArrowException, OSError, ValueError) as error:
        raise Malformed(
            f"{field}: {path} is not a Parquet file: {str(error).splitlines()[0]}",
            field=field,
            remedy="give a file written as Parquet",
        ) from None


def require_columns(frame: pd.DataFrame, columns: list[str], what: str, field: str) -> None:
    """Refuse a frame that lacks columns.

    Raises:
        BadInput: the first missing column is named with those that there are.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise BadInput(
            f"{what} has no column {missing[0]!r}",
            field=field,
            remedy=f"it has {', '.join(map(str, frame.columns[:12]))}",
        )
