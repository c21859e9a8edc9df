"""Where a model server looks features up by entity.

- `LazyFeatures`: a Feast repository below the home, by Feast's own library.
- `ServedFeatures`: Feast's feature server, over HTTP.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maestro.serving.feature_sources._base import FeatureSource
from maestro.serving.feature_sources.feature_server import ServedFeatures
from maestro.serving.feature_sources.repository import LazyFeatures

if TYPE_CHECKING:  # workers, which need the protocol alone, read no settings
    from maestro.core.settings import ServingSettings

__all__ = ["FeatureSource", "LazyFeatures", "ServedFeatures", "feature_source"]


def feature_source(serving: ServingSettings, repository: Path) -> FeatureSource:
    """The feature server where the settings name one, else the repository below the home."""
    if serving.feature_server is not None:
        return ServedFeatures(serving.feature_server, serving.feature_timeout_s, serving.feature_key)
    return LazyFeatures(repository)
