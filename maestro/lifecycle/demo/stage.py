"""What the steps share: the home, one client for each principal, and what earlier steps found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from maestro.clients.api import ApiClient
from maestro.clients.home import Home
from maestro.core.errors import NegativeVerdict, Unreachable
from maestro.core.seams import Progress
from maestro.core.state import State

Answer = TypeVar("Answer")


@dataclass
class Stage:
    """The running platform as its users see it: every change goes through the API with a principal's own key."""

    home: Home
    state: State
    progress: Progress
    out: Path
    facts: dict[str, Any] = field(default_factory=dict)
    note: Callable[[str], None] = lambda text: None
    _clients: dict[tuple[str, str], ApiClient] = field(default_factory=dict)

    @classmethod
    def of(
        cls, home: Home, progress: Progress, out: Path | None = None, note: Callable[[str], None] = lambda text: None
    ) -> Stage:
        """The stage over the services that run in `home`."""
        state = home.read_state()
        if state is None:
            raise Unreachable(f"no services run in {home.root}", remedy="run `make up`", component="supervisor")
        return cls(home, state, progress, out or home.root / "demo", note=note)

    def url(self, service: str) -> str:
        """The address of a service."""
        url = self.state.services[service].url
        if url is None:
            raise Unreachable(f"the {service} service has no address", component=service)
        return url

    def token(self, actor: str) -> str:
        """The key of one principal."""
        return (self.home.keys / f"{actor}.token").read_text().strip()

    def api(self, actor: str) -> ApiClient:
        """The control plane as `actor`."""
        return self._client("api", actor)

    def server(self, actor: str = "service") -> ApiClient:
        """The model server as `actor`."""
        return self._client("server", actor)

    def _client(self, service: str, actor: str) -> ApiClient:
        key = (service, actor)
        if key not in self._clients:
            self._clients[key] = ApiClient(self.url(service), self.token(actor), service=service)
        return self._clients[key]

    def command(self, *argv: str, timeout_s: float = 120.0) -> dict[str, Any]:
        """What a command of ours prints with `--json`, run in a process of its own as a user runs it.

        Raises:
            NegativeVerdict: it failed; its last lines are in the message.
        """
        env = os.environ | {"MAESTRO_HOME": str(self.home.root), "MAESTRO_API_KEY": self.token("service")}
        env.pop("MAESTRO_DATABASE_URL", None)
        done = subprocess.run(
            [sys.executable, *argv, "--json"], capture_output=True, text=True, env=env, timeout=timeout_s, check=False
        )
        if done.returncode not in {0, 1}:
            said = (done.stdout + done.stderr)[-500:]
            raise NegativeVerdict(f"{' '.join(argv[:3])} ended with status {done.returncode}: {said}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def wait_for(self, what: str, ask: Callable[[], Answer | None], timeout_s: float, every_s: float = 0.2) -> Answer:
        """The first answer of `ask` that is not None.

        Raises:
            Unreachable: none within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (answer := ask()) is not None:
                return answer
            time.sleep(every_s)
        raise Unreachable(
            f"{what} did not happen within {timeout_s:.0f} s", remedy=f"read the logs in {self.home.logs}"
        )
