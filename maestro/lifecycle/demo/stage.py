"""What the steps share: the place, one client for each principal, and what earlier steps found out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from maestro.clients.api import ApiClient
from maestro.clients.home import Home
from maestro.core.errors import Unreachable
from maestro.core.seams import Progress
from maestro.core.state import State
from maestro.lifecycle.demo.places import Place

Answer = TypeVar("Answer")


@dataclass
class Stage:
    """The running platform as its users see it: every change goes through the API with a principal's own key."""

    place: Place
    state: State
    progress: Progress
    out: Path
    facts: dict[str, Any] = field(default_factory=dict)
    note: Callable[[str], None] = lambda text: None
    _clients: dict[tuple[str, str], ApiClient] = field(default_factory=dict)

    @classmethod
    def of(
        cls, place: Place, progress: Progress, out: Path | None = None, note: Callable[[str], None] = lambda text: None
    ) -> Stage:
        """The stage over the services that the place's home names."""
        home = place.setting.home
        state = home.read_state()
        if state is None:
            raise Unreachable(f"no services run in {home.root}", remedy="run `make up`", component="supervisor")
        return cls(place, state, progress, out or home.root / "demo", note=note)

    @property
    def home(self) -> Home:
        """By which the platform is found."""
        return self.place.setting.home

    @property
    def model(self) -> str:
        """The story's model."""
        return self.place.setting.model

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

    def wait_for(self, what: str, ask: Callable[[], Answer | None], timeout_s: float, every_s: float = 0.2) -> Answer:
        """The first answer of `ask` that is not None.

        Raises:
            Unreachable: none within `timeout_s`, or as much longer as the place asks for.
        """
        timeout_s *= self.place.setting.pace.patience
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (answer := ask()) is not None:
                return answer
            time.sleep(every_s)
        raise Unreachable(
            f"{what} did not happen within {timeout_s:.0f} s", remedy=f"read the logs in {self.home.logs}"
        )
