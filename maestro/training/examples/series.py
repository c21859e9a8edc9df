"""A real series that a package brings, as a file that a forecast job reads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def write_co2(path: Path) -> int:
    """Write the weekly CO2 readings of Mauna Loa (statsmodels) with columns `event_timestamp` and `co2`; returns the number of rows.

    Weeks without a reading stay rows without a value.
    """
    import pandas as pd
    import statsmodels.api as sm

    frame = sm.datasets.co2.load_pandas().data.reset_index()
    frame.columns = pd.Index(["event_timestamp", "co2"])
    frame["event_timestamp"] = pd.to_datetime(frame["event_timestamp"], utc=True)
    frame.to_parquet(path, index=False)
    return len(frame)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file that the one argument names."""
    parser = argparse.ArgumentParser(prog="write_co2_series.py", description="Write the weekly CO2 series as Parquet.")
    parser.add_argument("path", type=Path, help="the file to write")
    path = parser.parse_args(sys.argv[1:] if arguments is None else arguments).path
    try:
        rows = write_co2(path)
    except OSError as error:
        parser.error(f"{path} cannot be written: {error.strerror or error}")
    sys.stdout.write(f"{path}: {rows} weeks\n")
    return 0
