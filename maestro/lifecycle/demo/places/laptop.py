"""This machine: services of its own in a fresh home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maestro.clients.feast import FeatureRepository, OnlineFeatures
from maestro.clients.home import Home, write_private
from maestro.core.errors import NegativeVerdict
from maestro.core.events import Event
from maestro.core.seams import Progress
from maestro.core.settings import settings
from maestro.lifecycle import bootstrap
from maestro.lifecycle.demo.places._base import Pace, Setting
from maestro.lifecycle.demo.traffic import Caller
from maestro.lifecycle.supervisor import Supervisor
from maestro.training import feature_definitions
from maestro.training.datasets import Dataset

SCRIPTS: dict[tuple[str, ...], str] = {
    ("drift", "run"): "monitoring/drift/data-drift-monitor.py",
    ("sla", "report"): "operations/sla-monitor.py",
}
"""Commands that have a promised script: here it is run, as a user of a checkout does."""


class Laptop:
    """Implements `maestro.lifecycle.demo.places.Place`.

    Args:
        home: of the platform.
        model: the model's name.
    """

    def __init__(self, home: Home, model: str = "visits") -> None:
        traffic = {"requests_per_s": 700.0, "labelled_per_s": 300.0}
        self.setting = Setting("this machine", home, model, Pace(900.0, traffic))
        self._home = home

    @contextmanager
    def running(self, progress: Progress) -> Iterator[Sequence[str]]:
        """Start the services, and restart what ends."""
        options = settings().model_copy(update={"database_url": None})
        bootstrap.prepare(self._home, options).close()
        with Supervisor(self._home, progress=progress) as supervisor:
            stop = threading.Event()
            # lives as long as what it restarts: a service ends with the thread that started it
            watch = threading.Thread(target=supervisor.run, args=(stop,), name="supervisor")
            watch.start()
            try:
                yield [service.name for service in supervisor.services]
            finally:
                stop.set()
                watch.join()

    def features(self) -> FeatureRepository:
        """Below the home."""
        return FeatureRepository(self._home.features)

    def bring_online(self, sets: Mapping[str, Dataset], progress: Progress) -> None:
        """Everything that is defined."""
        self.features().materialize(feature_definitions.FIRST_EVENT, feature_definitions.LAST_EVENT)

    def online(self, service: str, entities: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """From the home's store."""
        return OnlineFeatures(self._home.features).get(service, entities)

    def equipped(self, service: str, callers: Sequence[Caller]) -> Sequence[Caller]:
        """As they are: the server looks features up by entity."""
        return callers

    def deliver(self, path: Path) -> str:
        """It is there."""
        return str(path)

    def command(self, *words: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """In a process of its own, as a user runs it; by the promised script where there is one."""
        script = SCRIPTS.get(words[:2])
        argv = [script, *words[2:]] if script else ["-m", "maestro", *words]
        token = (self._home.keys / "service.token").read_text().strip()
        env = os.environ | {"MAESTRO_HOME": str(self._home.root), "MAESTRO_API_KEY": token}
        env.pop("MAESTRO_DATABASE_URL", None)
        done = subprocess.run(
            [sys.executable, *argv, "--json"], capture_output=True, text=True, env=env, timeout=timeout_s, check=False
        )
        return answer_of(words, done.returncode, done.stdout, done.stderr)

    def graph(self) -> str:
        """The graph file."""
        return self._home.graph(self.setting.model).read_text()

    def write_graph(self, text: str) -> None:
        """Replace the file."""
        write_private(self._home.graph(self.setting.model), text)

    def events(self) -> list[Event]:
        """From the home's database."""
        from maestro.clients.database import open_database
        from maestro.clients.database.outbox import events

        database = open_database(f"sqlite:///{self._home.database}")
        try:
            with database.read() as connection:
                return [event for event in events(connection) if event.kind.startswith("rollout.")]
        finally:
            database.dispose()


def answer_of(words: Sequence[str], code: int, out: str, err: str) -> dict[str, Any]:
    """The document that a command printed; a negative verdict (exit status 1) is an answer too.

    Raises:
        NegativeVerdict: it failed.
    """
    if code not in {0, 1}:
        raise NegativeVerdict(f"maestro {' '.join(words[:2])} ended with status {code}: {(out + err)[-500:]}")
    answer: dict[str, Any] = json.loads(out)
    return answer
