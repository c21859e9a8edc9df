"""`$MAESTRO_HOME`: where everything is on a laptop, and how a client finds the services.

Look-up of an address: flag, then `MAESTRO_*`, then `state.json`, else an error that names `make up`.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from maestro.core.errors import Malformed, Unreachable
from maestro.core.settings import Settings, settings
from maestro.core.state import State


@dataclass(frozen=True)
class Home:
    """The folder and the names in it."""

    root: Path

    @classmethod
    def of(cls, options: Settings | None = None) -> Home:
        """The home of these settings, absolute."""
        return cls((options or settings()).home.expanduser().resolve())

    @property
    def keys(self) -> Path:
        """Private keys, mode 0600."""
        return self.root / "keys"

    @property
    def trust_policy(self) -> Path:
        """Public keys by role."""
        return self.root / "trust-policy.json"

    @property
    def server_keys(self) -> Path:
        """Verifiers of API keys for processes without database."""
        return self.root / "server-keys.json"

    @property
    def database(self) -> Path:
        """The platform database on a laptop."""
        return self.root / "maestro.db"

    @property
    def features(self) -> Path:
        """The Feast registry and online store."""
        return self.root / "features"

    @property
    def data(self) -> Path:
        """Versioned Parquet."""
        return self.root / "data"

    @property
    def versions(self) -> Path:
        """`<model>/<version>/` with manifest, provenance, statements and files."""
        return self.root / "versions"

    @property
    def plans(self) -> Path:
        """`<digest>/`: how the server answers for a version, made and read by it alone."""
        return self.root / "plans"

    @property
    def graphs(self) -> Path:
        """`<model>.yaml`: the only source of traffic."""
        return self.root / "graphs"

    @property
    def exposures(self) -> Path:
        """Exposure and label records."""
        return self.root / "exposures"

    @property
    def payloads(self) -> Path:
        """`<model>/<version>/`: a sample of what was asked and answered, without personal data."""
        return self.root / "payloads"

    @property
    def logs(self) -> Path:
        """One file a service."""
        return self.root / "logs"

    @property
    def audit_heads(self) -> Path:
        """Signed heads of the audit chain, outside the database."""
        return self.root / "audit-heads.jsonl"

    @property
    def state_file(self) -> Path:
        """What the supervisor runs."""
        return self.root / "state.json"

    def version(self, model: str, version: str) -> Path:
        """The folder of one version."""
        return self.versions / model / version

    def graph(self, model: str) -> Path:
        """The graph file of one model."""
        return self.graphs / f"{model}.yaml"

    def read_state(self) -> State | None:
        """The supervisor's state, or None when nothing runs.

        Raises:
            Malformed: the file cannot be read.
        """
        try:
            text = self.state_file.read_text()
        except FileNotFoundError:
            return None
        try:
            state = State.model_validate_json(text)
        except ValidationError:
            raise Malformed(f"{self.state_file} cannot be read", remedy="run `make down`, then `make up`") from None
        return state if _is_alive(state.supervisor_pid) else None

    def write_state(self, state: State) -> None:
        """Replace the state file (mode 0600)."""
        write_private(self.state_file, json.dumps(state.document(), indent=2) + "\n")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically and durably, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    Path(temporary).replace(path)


def service_url(service: str, flag: str | None = None, options: Settings | None = None) -> str:
    """The address of `mlflow`, `api` or `server`.

    Raises:
        Unreachable: nobody says where it is.
    """
    options = options or settings()
    configured = {"mlflow": options.mlflow_url, "api": options.api_url, "server": options.server_url}[service]
    found = flag or configured
    if found is None and (state := Home.of(options).read_state()) is not None and service in state.services:
        found = state.services[service].url
    if found is None:
        raise Unreachable(
            f"nothing says where the {service} service is",
            remedy=f"run `make up`, or set MAESTRO_{service.upper()}_URL",
            component=service,
        )
    return found.rstrip("/")


def database_url(options: Settings | None = None) -> str:
    """The platform database: `MAESTRO_DATABASE_URL`, else SQLite in the home."""
    options = options or settings()
    return options.database_url or f"sqlite:///{Home.of(options).database}"
