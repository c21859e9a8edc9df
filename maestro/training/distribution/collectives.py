"""What each library wants to know of the group: XGBoost's tracker, LightGBM's machine list, TensorFlow's TF_CONFIG."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from maestro.training.distribution.group import Group
from maestro.training.distribution.rendezvous import exchange, free_port


@contextmanager
def xgboost_group(group: Group) -> Iterator[None]:
    """Inside it, XGBoost trains with the group: rank 0 runs the tracker."""
    if group.world == 1:
        yield
        return
    from xgboost import collective
    from xgboost.tracker import RabitTracker

    tracker = None
    if group.leads:
        tracker = RabitTracker(host_ip=group.host, n_workers=group.world, sortby="task")
        tracker.start()
        arguments = exchange(group, dict(tracker.worker_args()))[0]
    else:
        arguments = exchange(group, None)[0]
    with collective.CommunicatorContext(dmlc_task_id=f"{group.rank:05d}", **arguments):
        yield
    if tracker is not None:
        tracker.wait_for()


def lightgbm_network(group: Group) -> dict[str, Any]:
    """Parameters with which LightGBM trains with the group; each worker brings its own rows."""
    if group.world == 1:
        return {}
    port = free_port(group.host)
    machines = exchange(group, f"{group.host}:{port}")
    return {
        "machines": ",".join(machines), "local_listen_port": port, "num_machines": group.world, "tree_learner": "data", "pre_partition": True,
        "time_out": 2,
    }  # fmt: skip


def tensorflow_config(group: Group) -> str:
    """The value of `TF_CONFIG` for MultiWorkerMirroredStrategy: rank 0 is the first worker, which is the chief."""
    workers = exchange(group, f"{group.host}:{free_port(group.host)}")
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": group.rank}})
