"""What a site adds to training jobs: the files of `training/templates/`, under what a job itself says.

A template gives its pod everything that a job has no word for: node selectors, tolerations, volumes, variables, ports. What the job says (command, resources,
security, the attempt's own volumes and variables) stands above it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from maestro.core.errors import BadInput
from maestro.training.manifests.frameworks import Framework

_BY_KEY = {"env": "name", "volumeMounts": "mountPath", "volumes": "name", "ports": "name", "containers": "name"}
"""Lists whose items are merged by a key, as Kubernetes does."""


def pod_of(folder: Path | None, kind: Framework) -> dict[str, Any]:
    """The pod template that `<folder>/<framework>-training-job.yaml` gives its leader; empty where there is none.

    Raises:
        BadInput: the file is no job of this framework; what is wrong is named.
    """
    if folder is None:
        return {}
    path = folder / f"{kind.name}-training-job.yaml"
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return {}
    return _read(path, stamp, kind)


def under(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` above `base`: dictionaries are merged, lists of named items by their name, tolerations are added, anything else is `own`'s.

    >>> under({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]})
    {'env': [{'name': 'A', 'value': '2'}, {'name': 'B', 'value': '1'}]}
    """
    merged = dict(base)
    for name, value in own.items():
        below = merged.get(name)
        if isinstance(value, dict) and isinstance(below, dict) and name not in {"requests", "limits"}:
            merged[name] = under(below, value)
        elif isinstance(value, list) and isinstance(below, list) and name in _BY_KEY:
            merged[name] = _named(below, value, _BY_KEY[name])
        elif name == "tolerations" and isinstance(below, list):
            merged[name] = [*below, *(item for item in value if item not in below)]
        else:
            merged[name] = value
    return merged


def _named(below: list[dict[str, Any]], above: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    items = {str(item.get(key)): item for item in below}
    for item in above:
        name = str(item.get(key))
        # a variable or a volume is one thing: two sources of one name would contradict each other
        items[name] = under(items[name], item) if key == "name" and "image" in item and name in items else item
    return list(items.values())


@lru_cache(maxsize=32)
def _read(path: Path, stamp: int, kind: Framework) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
        replicas = document["spec"][kind.replicas]
        pod: dict[str, Any] = replicas[kind.leader if kind.leader in replicas else kind.worker]["template"]
        names = [container["name"] for container in pod["spec"]["containers"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BadInput(
            f"template {path.name} is no {kind.kind} that can be filled in: {type(error).__name__} {error}",
            field="framework",
            remedy=f"give it spec.{kind.replicas} with a {kind.leader or kind.worker} and its pod template",
        ) from None
    if document.get("kind") != kind.kind or kind.container not in names:
        raise BadInput(
            f"template {path.name} is no {kind.kind} with a container {kind.container!r}",
            field="framework",
            remedy="correct its kind or the name of its container",
        )
    return pod
