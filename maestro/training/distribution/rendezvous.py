"""Everybody gives a word and gets everybody's: how workers exchange addresses before a library's own collective begins.

Rank 0 listens on MASTER_PORT, the others connect and send one line of JSON; when the last has come, each is sent all lines in the order of ranks, and the port is free
again. Words are data, never code.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from maestro.core.errors import Unreachable
from maestro.training.distribution.group import Group

_LIMIT = 1 << 20


def exchange(group: Group, word: Any, *, timeout_s: float = 120.0) -> list[Any]:
    """Give `word` (JSON) and get the words of all ranks, in order. Returns at once for a process that is alone.

    Raises:
        Unreachable: somebody did not come within `timeout_s`; who is named.
    """
    if group.world == 1:
        return [word]
    deadline = time.monotonic() + timeout_s
    return _gather(group, word, deadline) if group.leads else _join(group, word, deadline)


def _gather(group: Group, word: Any, deadline: float) -> list[Any]:
    words: dict[int, Any] = {0: word}
    peers: list[socket.socket] = []
    own = group.address in {"127.0.0.1", "localhost"}
    with _listener("127.0.0.1" if own else "", group.port, deadline) as server:
        try:
            while len(words) < group.world:
                server.settimeout(max(deadline - time.monotonic(), 0.01))
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    absent = sorted(set(range(group.world)) - set(words))
                    raise _missing(f"no word from rank {', '.join(map(str, absent))}") from None
                hello = _hello(peer, group.world)
                if hello is None:
                    peer.close()
                    continue
                words[hello[0]] = hello[1]
                peers.append(peer)
            everything = json.dumps([words[rank] for rank in range(group.world)]).encode() + b"\n"
            for peer in peers:
                peer.sendall(everything)
        finally:
            for peer in peers:
                peer.close()
    return [words[rank] for rank in range(group.world)]


def _hello(peer: socket.socket, world: int) -> tuple[int, Any] | None:
    """The rank and word of a worker; None for a stranger, who is given little time."""
    peer.settimeout(5.0)
    try:
        said = json.loads(_line(peer))
        rank = int(said["rank"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (rank, said.get("word")) if 0 < rank < world and said.get("world") == world else None


def _join(group: Group, word: Any, deadline: float) -> list[Any]:
    hello = json.dumps({"rank": group.rank, "world": group.world, "word": word}).encode() + b"\n"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((group.address, group.port), timeout=2.0) as peer:
                peer.settimeout(max(deadline - time.monotonic(), 0.01))
                peer.sendall(hello)
                words = json.loads(_line(peer))
                if isinstance(words, list) and len(words) == group.world:
                    return words
        except (OSError, ValueError):
            time.sleep(0.05)
    raise _missing(f"rank 0 at {group.address}:{group.port} does not answer")


def _listener(address: str, port: int, deadline: float) -> socket.socket:
    while True:
        try:
            return socket.create_server((address, port), backlog=64)
        except OSError as error:
            if time.monotonic() > deadline:
                raise _missing(f"port {port} cannot be listened on: {error.strerror}") from error
            time.sleep(0.05)


def _line(peer: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        part = peer.recv(65536)
        if not part or len(data) > _LIMIT:
            raise OSError("the line ended early")
        data += part
    return data


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host if host == "127.0.0.1" else "", 0))
        return int(probe.getsockname()[1])


def _missing(what: str) -> Unreachable:
    return Unreachable(
        f"the workers did not find each other: {what}", remedy="check that every worker started", component="rendezvous"
    )
