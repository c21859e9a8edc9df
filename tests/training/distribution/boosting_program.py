"""One worker of a group that boosts; the first argument is the library, the second a folder. With a third, rank 1 kills itself after the first checkpoint, once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from maestro.training.checkpoint import Checkpoints
from maestro.training.distribution import Group
from maestro.training.models import model_type
from maestro.training.pipeline.train import train
from tests.training.models.rows import binary


def die_once(folder: Path) -> None:
    while not list(folder.glob("checkpoints/*.ckpt")):
        time.sleep(0.001)
    (folder / "died").write_text("")
    os.kill(os.getpid(), signal.SIGKILL)


def work(library: str, folder: Path, group: Group, *, die: bool = False) -> None:
    """Train, and write what the model answers; if told to, rank 1 dies after the first checkpoint, once."""
    warnings.simplefilter("ignore")
    folder.mkdir(exist_ok=True)
    if die and group.rank == 1 and not (folder / "died").exists():
        threading.Thread(target=die_once, args=(folder,), daemon=True).start()
    prepared = binary(3000)
    trained = train(
        model_type("classifier"), {"algorithm": library, "n_estimators": 60, "checkpoint_rounds": 20, "early_stopping_rounds": 30}, prepared,
        seed=3, checkpoints=Checkpoints(folder / "checkpoints", writes=group.leads), group=group,
    )  # fmt: skip
    np.save(folder / f"rank-{group.rank}.npy", trained.model.predict_proba(prepared.holdout.to_numpy()))
    (folder / f"rank-{group.rank}.txt").write_text(str(trained.resumed_at))


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]), Group.of(), die=len(sys.argv) > 3)
