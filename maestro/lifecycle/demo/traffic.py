"""Callers of the model server: real HTTP requests by entity id, and the labels that arrive later."""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from maestro.clients.api import ApiClient
from maestro.core.errors import MaestroError
from maestro.core.model import format_time

_LABEL_BATCH_S = 0.5


@dataclass(frozen=True)
class Caller:
    """One entity that asks for a prediction, and what is true of it; `row` are its features where the server does not look them up."""

    entity: dict[str, Any]
    label: str
    row: list[float] | None = None

    def asks(self, model: str) -> dict[str, Any]:
        """The body of its request."""
        body: dict[str, Any] = {"model": model, "entities": [self.entity]}
        return body if self.row is None else body | {"instances": [self.row]}


@dataclass
class Tally:
    """What the callers saw."""

    requests: int = 0
    failed: int = 0
    fallbacks: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    by_version: Counter[str] = field(default_factory=Counter)
    entities: set[str] = field(default_factory=set)
    labels: int = 0
    label_errors: int = 0
    failures: list[str] = field(default_factory=list)


class Traffic:
    """Sends requests from several connections until the block ends; each answered entity's label follows.

    Args:
        server_url: the model server.
        token: the callers' key.
        model: the model asked.
        callers: asked in turn, again from the start when all were.
        labels: the client that reports labels; None reports none.
        rate: requests a second, at most.
        connections: requests in flight, at most.
    """

    def __init__(
        self, server_url: str, token: str, model: str, callers: Sequence[Caller], *, labels: ApiClient | None,
        rate: float = 900.0, connections: int = 6,
    ) -> None:  # fmt: skip
        address = urlsplit(server_url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        self._model = model
        self._callers = callers
        self._labels = labels
        self._interval = connections / rate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self._answered: queue.SimpleQueue[Caller] = queue.SimpleQueue()
        self.tally = Tally()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(connections)]
        if labels is not None:
            self._threads.append(threading.Thread(target=self._report, daemon=True))

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15.0)

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=10.0)
        while not self._stop.is_set():
            began = time.monotonic()
            with self._lock:
                caller = self._callers[self._next % len(self._callers)]
                self._next += 1
            self._ask(connection, caller)
            pause = self._interval - (time.monotonic() - began)
            if pause > 0:
                time.sleep(pause)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, caller: Caller) -> None:
        body = json.dumps(caller.asks(self._model))
        try:
            connection.request("POST", "/predict", body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._count_failure(f"{type(error).__name__}: {error}")
            return
        with self._lock:
            self.tally.requests += 1
            self.tally.by_status[response.status] += 1
            self.tally.entities.add(json.dumps(caller.entity))
            self.tally.by_version[response.headers.get("x-maestro-version", "none")] += 1
            if response.headers.get("x-maestro-fallback"):
                self.tally.fallbacks += 1
        if response.status != 200:
            self._count_failure(f"{response.status}: {content[:300].decode(errors='replace')}", counted=True)
            return
        self._answered.put(caller)

    def _count_failure(self, what: str, *, counted: bool = False) -> None:
        with self._lock:
            self.tally.failed += 1
            if not counted:
                self.tally.requests += 1
            if len(self.tally.failures) < 5:
                self.tally.failures.append(what)

    def _report(self) -> None:
        while not self._stop.is_set() or not self._answered.empty():
            time.sleep(_LABEL_BATCH_S)
            batch: list[Caller] = []
            while not self._answered.empty() and len(batch) < 1000:
                batch.append(self._answered.get())
            if batch and self._labels is not None:
                self._send_labels(self._labels, batch)

    def _send_labels(self, client: ApiClient, batch: Sequence[Caller]) -> None:
        now = format_time(datetime.now(UTC))
        rows = [{"model": self._model, "entity": caller.entity, "label": caller.label, "at": now} for caller in batch]
        try:
            client.post("/labels", rows)
        except MaestroError:
            with self._lock:
                self.tally.label_errors += len(batch)
            if not self._stop.is_set():  # sent again: a label that is there already changes nothing
                for caller in batch:
                    self._answered.put(caller)
            return
        with self._lock:
            self.tally.labels += len(batch)
