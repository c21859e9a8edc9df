"""A real series that a package brings, as a file that a forecast job reads."""

from __future__ import annotations

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
