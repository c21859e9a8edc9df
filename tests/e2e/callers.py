"""Callers of a model server over HTTP: many connections at once, every answer checked, every time taken."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx


def state_figures(record_property: Callable[[str, object], None], **figures: object) -> None:
    """Say what was measured: in the report, and on standard output (`pytest -rP`)."""
    for name, value in figures.items():
        record_property(name, value)
    print("measured:", json.dumps(figures))


def share(taken: Sequence[float], part: float) -> float:
    """A quantile in seconds, of times in any order."""
    return sorted(taken)[min(len(taken) - 1, int(part * len(taken)))]


def post_of(document: Any, path: str = "/predict") -> bytes:
    """A whole request."""
    body = json.dumps(document).encode()
    return f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split(" ")[1]), headers, body


async def load(port: int, request: bytes, connections: int, seconds: float) -> tuple[list[float], Counter[int]]:
    """Ask without a pause on several connections: the times in seconds, and the answers by status."""
    taken: list[float] = []
    statuses = Counter[int]()
    end = time.perf_counter() + seconds

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(request)
            status, _, _ = await read_answer(reader)
            taken.append(time.perf_counter() - began)
            statuses[status] += 1
        writer.close()

    await asyncio.gather(*(caller() for _ in range(connections)))
    return taken, statuses


@dataclass
class Seen:
    """One answer: when it was asked for and given, and what it said of itself."""

    asked: float
    answered: float
    version: str
    revision: int
    arm: str


@dataclass
class Callers:
    """Threads that ask until they are stopped, each on a connection of its own; with a pause, they leave a small machine room for what they ask."""

    url: str
    ask: Callable[[httpx.Client, int, int], httpx.Response]
    check: Callable[[httpx.Response], str | None]
    pause_s: float = 0.0
    seen: list[list[Seen]] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def calling(self, threads: int) -> Iterator[Callers]:
        """Ask as long as the block runs."""
        self.seen = [[] for _ in range(threads)]
        started = [threading.Thread(target=self._call, args=(number,)) for number in range(threads)]
        for thread in started:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in started:
                thread.join()

    @property
    def answers(self) -> list[Seen]:
        """All that were right."""
        return [seen for each in self.seen for seen in each]

    def _call(self, number: int) -> None:
        last = turn = 0
        with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as client:
            while not self._stop.is_set():
                turn += 1
                if self.pause_s:
                    time.sleep(self.pause_s)
                began = time.monotonic()
                try:
                    response = self.ask(client, number, turn)
                except httpx.TransportError as error:
                    self.problems[f"no answer: {type(error).__name__}"] += 1
                    continue
                problem = f"{response.status_code}" if response.status_code != 200 else self.check(response)
                if problem is not None:
                    self.problems[problem] += 1
                    continue
                headers = response.headers
                revision = int(headers["x-maestro-revision"])
                if revision < last:
                    self.problems[f"revision {revision} after {last}"] += 1
                last = revision
                seen = Seen(began, time.monotonic(), headers["x-maestro-version"], revision, headers["x-maestro-arm"])
                self.seen[number].append(seen)

    def overlaps(self) -> list[float]:
        """For each revision after the first: how long after its first answer a request still began that an older one answered, in seconds."""
        first: dict[int, float] = {}
        for seen in self.answers:
            first[seen.revision] = min(first.get(seen.revision, seen.answered), seen.answered)
        found = []
        for revision in sorted(first)[1:]:
            late = [seen.asked for seen in self.answers if seen.revision < revision]
            found.append(max(0.0, max(late, default=0.0) - first[revision]))
        return found


def processes(pid: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += parents.get(found[-1], [])
    return found


def memory_mib(pid: int) -> float:
    """Proportional set size of a process and all below it."""
    total = 0
    for each in processes(pid):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024
