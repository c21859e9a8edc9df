"""Tables with a known shift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest


def make_table(rows: int, seed: int, *, moved: int = 0, by: float = 0.5) -> pd.DataFrame:
    """Ten numeric columns, a category, a flag, an identifier and a time; the first `moved` numbers are shifted."""
    rng = np.random.default_rng(seed)
    numbers = {f"x{i}": rng.normal(by if i < moved else 0.0, 1.0, rows) for i in range(10)}
    return pd.DataFrame(
        numbers
        | {
            "city": rng.choice(["ulm", "ghent", "turku"], rows, p=[0.5, 0.3, 0.2]),
            "member": rng.random(rows) < 0.3,
            "account": [f"a-{i}" for i in range(rows)],
            "seen": pd.date_range("2026-01-01", periods=rows, freq="min", tz="UTC"),
        }
    )


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `reference`, `clean`, `some` (4 of 12 columns moved) and `most` (8 of 12 moved), Parquet of 3,000 rows."""
    folder = tmp_path_factory.mktemp("tables")
    for name, seed, moved in (("reference", 1, 0), ("clean", 2, 0), ("some", 3, 4), ("most", 4, 8)):
        make_table(3000, seed, moved=moved).to_parquet(folder / f"{name}.parquet", index=False)
    return folder
