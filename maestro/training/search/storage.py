"""Where studies are stored."""

from __future__ import annotations

import os

from maestro.clients.home import Home


def storage_url(home: Home) -> str:
    """`MAESTRO_OPTUNA_URL`, else SQLite in the home."""
    return os.environ.get("MAESTRO_OPTUNA_URL") or f"sqlite:///{home.root / 'optuna.db'}"
