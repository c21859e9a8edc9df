"""`state.json`: what the supervisor runs and where, for every client on the machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maestro.core.model import Model, Time


class ServiceState(Model):
    """One running service; `log` is relative to `$MAESTRO_HOME`."""

    url: str | None = None
    pid: int
    log: str


class State(Model):
    """The whole file."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    started: Time
    supervisor_pid: int
    database: str
    services: dict[str, ServiceState] = {}
