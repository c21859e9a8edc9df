"""Workers find each other, by the environment of torchrun, or say who did not come."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from maestro.core.errors import BadInput, Unreachable
from maestro.training.distribution import ALONE, Group, exchange, tensorflow_config
from maestro.training.distribution.rendezvous import free_port


def together(world: int, each: Any) -> list[Any]:
    port = free_port()
    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(lambda rank: each(Group(rank, world, "127.0.0.1", port)), range(world)))


def test_everybody_gets_everybodys_word_in_order() -> None:
    assert exchange(ALONE, "me") == ["me"]
    for words in together(4, lambda group: exchange(group, {"rank": group.rank})):
        assert [word["rank"] for word in words] == [0, 1, 2, 3]


def test_strangers_do_not_disturb() -> None:
    port = free_port()
    leader, other = Group(0, 2, "127.0.0.1", port), Group(1, 2, "127.0.0.1", port)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(exchange, leader, 0)
        for noise in (b"GET / HTTP/1.1\r\n", b'{"rank": 9, "world": 2}\n', b'{"rank": 1, "world": 3}\n', b""):
            for _ in range(100):
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=1) as stranger:
                        stranger.sendall(noise)
                    break
                except ConnectionRefusedError:
                    continue
        assert pool.submit(exchange, other, 1).result() == [0, 1]
        assert waiting.result() == [0, 1]


def test_who_does_not_come_is_named() -> None:
    with pytest.raises(Unreachable, match="no word from rank 1, 2"):
        exchange(Group(0, 3, "127.0.0.1", free_port()), None, timeout_s=0.3)
    with pytest.raises(Unreachable, match="rank 0 at"):
        exchange(Group(1, 2, "127.0.0.1", free_port()), None, timeout_s=0.3)


def test_tensorflow_is_told_the_whole_cluster() -> None:
    found = [json.loads(text) for text in together(2, tensorflow_config)]
    assert found[0]["cluster"] == found[1]["cluster"]
    assert len(set(found[0]["cluster"]["worker"])) == 2
    assert [item["task"] for item in found] == [{"type": "worker", "index": 0}, {"type": "worker", "index": 1}]


def test_replicas_of_a_tfjob_are_ranked_chief_first() -> None:
    cluster = {"chief": ["127.0.0.1:2222"], "worker": ["127.0.0.1:2223", "127.0.0.1:2224"], "ps": ["127.0.0.1:2225"]}
    tasks = [("chief", 0), ("worker", 0), ("worker", 1)]
    groups = [
        Group.of({"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": at}})})
        for kind, at in tasks
    ]
    assert [(one.rank, one.world, one.address, one.port) for one in groups] == [
        (rank, 3, "127.0.0.1", 2222) for rank in range(3)
    ]


PARAMETER_SERVER = '{"cluster": {"chief": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}'


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"TF_CONFIG": "{"}, "TF_CONFIG"),
        ({"TF_CONFIG": "{}"}, "TF_CONFIG"),
        ({"TF_CONFIG": PARAMETER_SERVER}, "TF_CONFIG"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_PORT": "1"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_PORT": "99999"}, "MASTER_PORT"),
    ],
)
def test_an_environment_that_contradicts_itself_is_named(environment: dict[str, str], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        Group.of(environment)
    assert caught.value.field == field
