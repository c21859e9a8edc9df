"""The people who call: entities that no training has seen, in a fixed random order, with what is true of each."""

from __future__ import annotations

import numpy as np

from maestro.clients.home import Home
from maestro.lifecycle.demo.traffic import Caller
from maestro.training import datasets
from maestro.training.datasets import SPLIT, read_parquet

MODEL_DATA = "visits"
"""The data set of the story's model: it has enough distinct entities for evidence on quality."""

_SEED = 7


def population(home: Home) -> list[Caller]:
    """The traffic split of the model's data set."""
    dataset = datasets.current(MODEL_DATA, home.data)
    entities = read_parquet(dataset.path(home.data, "entities"), "entities")
    arriving = entities[entities[SPLIT] == "traffic"]
    order = np.random.default_rng(_SEED).permutation(len(arriving))
    keys = arriving[dataset.entity].to_numpy()[order]
    labels = arriving[dataset.target].to_numpy()[order]
    return [Caller({dataset.entity: int(key)}, str(int(label))) for key, label in zip(keys, labels, strict=True)]
