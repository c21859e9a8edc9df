"""One worker of a group that trains a network; the first argument is the kind of model, the second a folder."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

from maestro.training.distribution import Group, exchange
from maestro.training.models import model_type
from maestro.training.pipeline.train import train
from tests.training.models.rows import binary

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    group = Group.of()
    # as in a job: rank 0 tells that the data are there, on the port that the framework then takes
    exchange(group, "loaded")
    prepared = binary()
    trained = train(model_type(sys.argv[1]), {"epochs": 6, "batch_size": 32}, prepared, seed=1, group=group)
    np.save(Path(sys.argv[2]) / f"rank-{group.rank}.npy", trained.model.predict_proba(prepared.holdout))
