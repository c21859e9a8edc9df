"""The group that this process trains in, by the environment that torchrun, the training operator and the local backend set."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from maestro.core.errors import BadInput


@dataclass(frozen=True)
class Group:
    """One process of `world`: its rank, and where rank 0 is found.

    `host` is this process's own name or address, as the others reach it.
    """

    rank: int
    world: int
    address: str = "127.0.0.1"
    port: int = 0
    host: str = "127.0.0.1"

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which logs and keeps checkpoints."""
        return self.rank == 0

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None) -> Group:
        """The group that `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` describe, or else a TFJob's `TF_CONFIG`; alone without them.

        Raises:
            BadInput: they contradict each other; the variable is named.

        >>> Group.of({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}).address
        '10.0.0.1'
        >>> cluster = {"chief": ["127.0.0.1:2222"], "worker": ["127.0.0.1:2223"]}
        >>> Group.of({"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})}).rank
        1
        >>> Group.of({}).world
        1
        """
        values = os.environ if environment is None else environment
        if values.get("TF_CONFIG") and "WORLD_SIZE" not in values:
            values = dict(values) | _of_tensorflow(values["TF_CONFIG"])
        world, rank = _number(values, "WORLD_SIZE", 1), _number(values, "RANK", 0)
        if world < 1:
            raise BadInput(f"WORLD_SIZE is {world}", field="WORLD_SIZE", remedy="set 1 or more")
        if not 0 <= rank < world:
            raise BadInput(f"RANK is {rank} of {world}", field="RANK", remedy="set 0 to WORLD_SIZE − 1")
        port = _number(values, "MASTER_PORT", 0)
        if world > 1 and not 0 < port < 65536:
            raise BadInput("several workers need MASTER_PORT", field="MASTER_PORT", remedy="start them by a launcher")
        address = values.get("MASTER_ADDR") or "127.0.0.1"
        own = values.get("MAESTRO_HOST") or (
            "127.0.0.1" if address in {"127.0.0.1", "localhost"} else _own_address(address)
        )
        return cls(rank, world, address, port, own)


ALONE = Group(0, 1)
"""One process."""


def _of_tensorflow(text: str) -> dict[str, str]:
    """Rank, number and first address of those who train by TF_CONFIG: the chief, then the workers."""
    try:
        config = json.loads(text)
        task, index = str(config["task"]["type"]), int(config["task"]["index"])
        cluster: dict[str, list[str]] = config["cluster"]
        trains = [(kind, at) for kind in ("chief", "master", "worker") for at in range(len(cluster.get(kind, [])))]
        rank = trains.index((task, index))
        address, _, port = cluster[trains[0][0]][0].rpartition(":")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise BadInput(
            f"TF_CONFIG is no place among a chief and workers: {text[:200]}",
            field="TF_CONFIG",
            remedy="let the training operator set it, for Chief, Master and Worker replicas",
        ) from None
    return {"RANK": str(rank), "WORLD_SIZE": str(len(trains)), "MASTER_ADDR": address, "MASTER_PORT": port}


def _number(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"{name} is {text!r}", field=name, remedy="set a whole number") from None


def _own_address(peer: str) -> str:
    """The address by which this machine reaches `peer`; nothing is sent."""
    import socket

    try:
        family, kind, protocol, _, target = socket.getaddrinfo(peer, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
