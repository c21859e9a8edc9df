"""The training side of a search's data as one Parquet file, for trials that run where the data are not.

Features, targets and, for a series, times: no entity key, no holdout, and nothing that runs when it is read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maestro.core.canonical import digest_bytes
from maestro.core.contract import Feature
from maestro.core.errors import BadInput
from maestro.core.model import Digest, Model
from maestro.training.pipeline.preprocess import Prepared

if TYPE_CHECKING:
    import pandas as pd

_META = b"maestro.search"


class Frame(Model):
    """Where a file lies, and its digest."""

    uri: str
    digest: Digest


def write_frame(prepared: Prepared, path: Path) -> str:
    """Write the training side; returns the file's digest.

    Args:
        prepared: the data.
        path: the file to write.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    # numbered, since a feature may have the target's name
    train = prepared.train.reset_index(drop=True)
    columns: dict[str, Any] = {f"x{at}": train[name] for at, name in enumerate(train.columns)}
    columns["y"] = prepared.train_target
    times = prepared.train_times
    if times is not None:
        times = times.reset_index(drop=True)
        columns |= {f"t{at}": times[name] for at, name in enumerate(times.columns)}
    table = pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False)
    meta = {
        "features": [feature.document() for feature in prepared.features], "columns": list(train.columns),
        "times": list(times.columns) if times is not None else None, "on_out_of_range": prepared.on_out_of_range,
    }  # fmt: skip
    pq.write_table(
        table.replace_schema_metadata({**(table.schema.metadata or {}), _META: json.dumps(meta).encode()}), path
    )
    return digest_bytes(path.read_bytes())


def read_frame(path: Path, digest: str) -> Prepared:
    """What `write_frame` wrote; both holdouts are empty.

    Raises:
        BadInput: it is another file.
    """
    import numpy as np
    import pyarrow.parquet as pq

    found = digest_bytes(path.read_bytes())
    if found != digest:
        raise BadInput(
            f"the trial's data have digest {found}, the study named {digest}",
            field="data", remedy="start the study again: somebody changed its files in MLflow",
        )  # fmt: skip
    table = pq.read_table(path)
    meta = json.loads((table.schema.metadata or {})[_META])
    frame: pd.DataFrame = table.to_pandas()
    names = meta["columns"]
    train = frame[[f"x{at}" for at in range(len(names))]].set_axis(names, axis=1)
    target = frame["y"].to_numpy()
    times = None
    if meta["times"] is not None:
        times = frame[[f"t{at}" for at in range(len(meta["times"]))]].set_axis(meta["times"], axis=1)
    return Prepared(
        train=train, train_target=target, holdout=train.iloc[:0], holdout_target=target[:0], entities=np.empty(0, dtype=np.uint64),
        features=tuple(Feature.model_validate(item) for item in meta["features"]), on_out_of_range=meta["on_out_of_range"],
        train_times=times,
    )  # fmt: skip
