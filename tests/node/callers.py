"""Callers of a model from outside the pods: several connections, each request a new user; what failed is kept."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from maestro.clients.kubernetes.objects import Cluster, Ref


def service_address(cluster: Cluster, namespace: str, name: str) -> str:
    """A Service's own address, as pods reach it; on a node that is this machine it answers here too."""
    spec = cluster.get(Ref("v1", "Service", name, namespace))["spec"]
    return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"


class Callers:
    """Asks until the block ends.

    Args:
        url: of the server.
        model: asked.
        rate: requests a second.
        host: the Host header.
        connections: how many; each request of `fresh` callers opens its own.
    """

    def __init__(
        self, url: str, model: str, *, rate: float = 60, host: str = "", connections: int = 3, fresh: bool = False,
        instance: tuple[float, ...] = (1, 2, 3, 4, 5),
    ) -> None:  # fmt: skip
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self._headers = {"Content-Type": "application/json"} | ({"Host": host} if host else {})
        self._model, self._instance, self._fresh = model, instance, fresh
        self._pause = connections / rate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(connections)
        ]
        self.answered = 0
        self.failures: list[str] = []
        self.values: set[float] = set()
        self.by_arm: Counter[str] = Counter()
        self.by_version: Counter[str] = Counter()

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def since(self) -> Counter[str]:
        """Answers by arm since the last call of this."""
        with self._lock:
            counted, self.by_arm = self.by_arm, Counter()
        return counted

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=10)
        asked = 0
        while not self._stop.is_set():
            asked += 1
            self._ask(connection, f"{number}-{asked}-{time.monotonic_ns()}")
            if self._fresh:
                connection.close()
            time.sleep(self._pause)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, user: str) -> None:
        body: dict[str, Any] = {"model": self._model, "instances": [list(self._instance)]}
        try:
            connection.request("POST", "/predict", json.dumps(body), self._headers | {"x-maestro-unit": user})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            with self._lock:
                self.failures.append(f"{type(error).__name__}: {error}")
            return
        with self._lock:
            if response.status != 200:
                self.failures.append(f"{response.status}: {content[:200].decode(errors='replace')}")
                return
            self.answered += 1
            self.values |= set(json.loads(content)["predictions"])
            self.by_arm[response.headers.get("x-maestro-arm", "none")] += 1
            self.by_version[response.headers.get("x-maestro-version", "none")] += 1
