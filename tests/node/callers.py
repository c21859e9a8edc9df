"""Callers of a model from outside the pods: several connections, each request a new user; what failed is kept."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

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
        authority: whose certificate the server shows for `host`, where it speaks TLS.
        key: of the API, where the server asks for one.
        instance: the row that is asked for.
    """

    def __init__(
        self, url: str, model: str, *, rate: float = 60, host: str = "", connections: int = 3, fresh: bool = False,
        authority: Path | None = None, key: str = "", instance: tuple[float, ...] = (1, 2, 3, 4, 5),
    ) -> None:  # fmt: skip
        address = urlsplit(url)
        self._pool: Any
        if authority is None:
            self._pool = partial(urllib3.HTTPConnectionPool, str(address.hostname), address.port or 80)
        else:
            self._pool = partial(
                urllib3.HTTPSConnectionPool, str(address.hostname), address.port or 443, ca_certs=str(authority),
                server_hostname=host, assert_hostname=host,
            )  # fmt: skip
        self._headers = {"Content-Type": "application/json"} | ({"Host": host} if host else {})
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._model, self._instance, self._fresh = model, instance, fresh
        self._pause = connections / rate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(connections)
        ]
        self.answered = 0
        self.failures: list[str] = []
        self.values: set[str] = set()
        self.by_arm: Counter[str] = Counter()
        self.by_version: Counter[str] = Counter()
        self.last: dict[str, datetime] = {}
        """When an arm last answered."""

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
        asked = 0
        with self._pool(maxsize=1, retries=False, timeout=10) as pool:
            while not self._stop.is_set():
                asked += 1
                self._ask(pool, f"{number}-{asked}-{time.monotonic_ns()}")
                time.sleep(self._pause)

    def _ask(self, pool: urllib3.HTTPConnectionPool, user: str) -> None:
        body = {"model": self._model, "instances": [list(self._instance)]}
        headers = self._headers | {"x-maestro-unit": user} | ({"Connection": "close"} if self._fresh else {})
        try:
            response = pool.request("POST", "/predict", body=json.dumps(body), headers=headers)
        except urllib3.exceptions.HTTPError as error:
            with self._lock:
                self.failures.append(f"{type(error).__name__}: {error}")
            return
        with self._lock:
            if response.status != 200:
                self.failures.append(f"{response.status}: {response.data[:200].decode(errors='replace')}")
                return
            self.answered += 1
            self.values |= {json.dumps(value) for value in response.json()["predictions"]}
            arm = response.headers.get("x-maestro-arm", "none")
            self.by_arm[arm] += 1
            self.last[arm] = datetime.now(UTC)
            self.by_version[response.headers.get("x-maestro-version", "none")] += 1
