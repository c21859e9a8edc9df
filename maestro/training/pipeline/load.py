"""Step 1, load: the training frame from the feature store, point in time, or from a file.

As a program (`python -m maestro.training.pipeline.load <attempt folder>`) it writes the frame beside the attempt, so that Feast is imported in a process of
its own while the trainer imports MLflow: together they would take twice as long and keep twice the memory.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maestro.core.canonical import digest
from maestro.core.errors import BadInput, MaestroError, NotFound
from maestro.core.jobs import DataSpec
from maestro.core.model import Model
from maestro.training.datasets import CREATED, SPLIT, TIMESTAMP, read_parquet, require_columns

if TYPE_CHECKING:
    import pandas as pd

FILE_SERVICE = "file"
"""The feature service name that means: the feature columns are in `data.entities` itself."""

NO_DATA = "none"
"""The feature service name that means: the training brings its own data."""


class FrameInfo(Model):
    """Where a frame came from: the facts that lineage is made of."""

    service: str
    fingerprint: str | None = None
    views: tuple[str, ...] = ()
    features: tuple[str, ...]
    types: dict[str, str]
    entity_keys: tuple[str, ...]
    target: str
    dataset: str
    version: str
    content: str
    source: str
    rows: int
    first_event: str | None = None
    last_event: str | None = None
    schema_columns: dict[str, str] = {}


@dataclass
class Loaded:
    """The frame (entity keys, event timestamp, target, split where known, features) and its origin."""

    frame: pd.DataFrame
    info: FrameInfo

    def write(self, folder: Path) -> None:
        """Put both into `folder`."""
        self.frame.to_parquet(folder / "frame.parquet", index=False)
        (folder / "frame.json").write_text(self.info.model_dump_json())

    @classmethod
    def read(cls, folder: Path) -> Loaded:
        """What `write` put there."""
        import pandas as pd

        return cls(
            pd.read_parquet(folder / "frame.parquet"),
            FrameInfo.model_validate_json((folder / "frame.json").read_text()),
        )


def load(spec: DataSpec, features: Path, data: Path) -> Loaded:
    """The frame that `spec` describes.

    Args:
        spec: feature service, window of event dates, entity file, target.
        features: `$MAESTRO_HOME/features`.
        data: `$MAESTRO_HOME/data`.

    Raises:
        BadInput: a column or the window is wrong; the field is named.
        NotFound: the service or a file does not exist.
    """
    return _from_file(spec) if spec.feature_service == FILE_SERVICE else _from_store(spec, features, data)


def _from_store(spec: DataSpec, features: Path, data: Path) -> Loaded:
    from maestro.clients.feast import FeatureRepository
    from maestro.training.feature_definitions import dataset_of

    repository = FeatureRepository(features)
    service = repository.info(spec.feature_service)
    dataset = dataset_of(repository, spec.feature_service, data)
    if spec.entities is not None:
        path = Path(spec.entities)
        target = spec.target or (dataset.target if dataset else None)
    elif dataset is not None:
        path, target = dataset.path(data, "entities"), spec.target or dataset.target
    else:
        raise BadInput(
            f"feature service {spec.feature_service} names no data set", field="data.entities",
            remedy="give a Parquet file of entity keys, event timestamps and target",
        )  # fmt: skip
    if target is None:
        raise BadInput(
            "the label column is not known", field="data.target", remedy="name the label column of the entity file"
        )
    entities = read_parquet(path, "data.entities")
    require_columns(entities, [*service.entities, TIMESTAMP], str(path.name), "data.entities")
    require_columns(entities, [target], str(path.name), "data.target")
    entities = _window(entities, spec)
    kept = [*service.entities, TIMESTAMP, target, *([SPLIT] if SPLIT in entities.columns else [])]
    frame = repository.training_frame(spec.feature_service, entities[kept])
    own = spec.entities is None and dataset is not None
    info = FrameInfo(
        service=service.name, fingerprint=service.fingerprint, views=service.views, features=service.features,
        types=dict(service.types), entity_keys=service.entities, target=target,
        dataset=dataset.name if dataset else path.stem, version=dataset.version if own and dataset else _frame_version(entities),
        content=dataset.content if own and dataset else _frame_version(entities, full=True),
        source=dataset.source if own and dataset else str(path), **_extent(frame),
    )  # fmt: skip
    return Loaded(frame, info)


def _from_file(spec: DataSpec) -> Loaded:
    if spec.entities is None:
        raise BadInput(
            "feature_service `file` needs a file",
            field="data.entities",
            remedy="give a Parquet file with features and target",
        )
    if spec.target is None:
        raise BadInput(
            "feature_service `file` needs a target", field="data.target", remedy="name the label column of the file"
        )
    path = Path(spec.entities)
    frame = read_parquet(path, "data.entities")
    require_columns(frame, [spec.target], path.name, "data.target")
    if TIMESTAMP in frame.columns:
        frame = _window(frame, spec)
    elif spec.from_ or spec.to:
        raise BadInput(
            f"{path.name} has no column {TIMESTAMP!r} to select dates by",
            field="data.from",
            remedy="leave from and to out",
        )
    keys = tuple(column for column in frame.columns if column.endswith("_id"))
    names = [column for column in frame.columns if column not in {*keys, spec.target, TIMESTAMP, CREATED, SPLIT}]
    info = FrameInfo(
        service=FILE_SERVICE, features=tuple(names), types={name: _type(frame[name]) for name in names}, entity_keys=keys,
        target=spec.target, dataset=path.stem, version=_frame_version(frame), content=_frame_version(frame, full=True),
        source=str(path), **_extent(frame),
    )  # fmt: skip
    return Loaded(frame.reset_index(drop=True), info)


def _window(frame: pd.DataFrame, spec: DataSpec) -> pd.DataFrame:
    import pandas as pd

    try:
        at = pd.to_datetime(frame[TIMESTAMP], utc=True)
        first = pd.Timestamp(spec.from_, tz="UTC") if spec.from_ else None
        last = pd.Timestamp(spec.to, tz="UTC") if spec.to else None
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"a date cannot be read: {error}", field="data.from", remedy="write dates as YYYY-MM-DD"
        ) from None
    if first is not None and last is not None and last < first:
        raise BadInput(
            f"data.to {spec.to} is before data.from {spec.from_}", field="data.to", remedy="give a later date"
        )
    keep = pd.Series(True, index=frame.index)
    if first is not None:
        keep &= at >= first
    if last is not None:
        keep &= at < last + pd.Timedelta(days=1)
    frame = frame.assign(**{TIMESTAMP: at})[keep]
    if frame.empty:
        raise BadInput(
            "no row lies inside the window of event dates", field="data.from", remedy="widen data.from and data.to"
        )
    return frame.reset_index(drop=True)


def _extent(frame: pd.DataFrame) -> dict[str, object]:
    times = frame[TIMESTAMP] if TIMESTAMP in frame.columns else None
    return {
        "rows": len(frame),
        "first_event": times.min().isoformat() if times is not None else None,
        "last_event": times.max().isoformat() if times is not None else None,
        "schema_columns": {str(column): str(kind) for column, kind in frame.dtypes.items()},
    }


def _frame_version(frame: pd.DataFrame, *, full: bool = False) -> str:
    from pandas.util import hash_pandas_object

    value = digest(
        [
            [str(column) for column in frame.columns],
            str(hash_pandas_object(frame, index=False).to_numpy().tobytes().hex()),
        ]
    )
    return value if full else value.removeprefix("sha256:")[:12]


def _type(column: pd.Series) -> str:
    return {"f": "float64", "i": "int64", "u": "int64", "b": "bool"}.get(column.dtype.kind, "string")


def main(arguments: list[str]) -> int:
    """Load for the attempt in the folder given; a mistake is printed as one problem document."""
    from maestro.training.backends import Attempt

    folder, features, data = map(Path, arguments)
    try:
        attempt = Attempt.model_validate_json((folder / "attempt.json").read_text())
        load(attempt.request.data, features, data).write(folder)
    except MaestroError as error:
        sys.stdout.write(json.dumps(error.problem()) + "\n")
        return error.exit_code
    except OSError as error:
        problem = NotFound(
            f"the training frame cannot be written: {error.strerror or error}", remedy="free disk space"
        ).problem()
        sys.stdout.write(json.dumps(problem | {"status": 503}) + "\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
