"""A running model server's graph file as the target that moves traffic."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from maestro.clients.home import Home
from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import BadInput, Conflict, Refused, Unreachable
from maestro.core.graph import InferenceGraph
from maestro.security.private_file import write_atomically
from maestro.serving.admission import Admission
from maestro.serving.graph_file import parse_graph
from maestro.serving.server import ENVIRONMENT

_POLL_S = 0.1


class GraphFileTarget:
    """Writes `$MAESTRO_HOME/graphs/<model>.yaml`; the server follows the file.

    Writers in several processes wait for each other on a lock file; the file is replaced atomically and is durable when `write` returns. Versions
    are checked here before anything is written, and once more by the server.

    Args:
        home: `$MAESTRO_HOME`.
        model: the graph's name.
        server_url: the server that `wait_ready` asks.
        token: a key with any role.
        trust_path: the trust policy; that of the home when None.
        environment: the environment whose statements count.
        allow_unsigned: as the server is set (`MAESTRO_SERVING__ALLOW_UNSIGNED`).
    """

    def __init__(
        self,
        home: Home | Path,
        model: str,
        server_url: str,
        token: str,
        *,
        clock: Clock | None = None,
        trust_path: Path | None = None,
        environment: str = ENVIRONMENT,
        allow_unsigned: bool = False,
    ) -> None:
        self._home = home if isinstance(home, Home) else Home(home)
        self._model = model
        self._url = server_url.rstrip("/")
        self._token = token
        self._clock = clock or SystemClock()
        self._admission = Admission(
            self._home, self._clock, trust_path=trust_path, environment=environment, allow_unsigned=allow_unsigned
        )

    @property
    def _path(self) -> Path:
        return self._home.graph(self._model)

    def read(self) -> InferenceGraph | None:
        """The graph as the file has it.

        Raises:
            BadInput: the file is not a graph (a foreign edit); it names the field.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreachable(
                f"{self._path} cannot be read: {error.strerror}", remedy="correct the file's owner"
            ) from None
        return parse_graph(data, self._path.name)

    def write(self, graph: InferenceGraph, *, expected_revision: int | None) -> None:
        """Replace the graph by compare-and-swap on its revision."""
        if graph.metadata.name != self._model:
            raise BadInput(
                f"the graph is of {graph.metadata.name!r}, the target moves {self._model!r}",
                field="metadata.name",
                remedy="write it to its own target",
            )
        if graph.metadata.revision != (expected_revision or 0) + 1:
            raise BadInput(
                f"revision {graph.metadata.revision} does not follow {expected_revision or 0}",
                field="metadata.revision",
                remedy="raise the revision by one with every write",
            )
        self._admission.check(graph)
        with self._locked():
            current = self.read()
            if current == graph:
                return
            revision = None if current is None else current.metadata.revision
            if revision != expected_revision:
                raise Conflict(
                    f"the graph of {self._model} is at revision {revision}, expected {expected_revision}",
                    field="metadata.revision",
                    remedy="read it again and decide again",
                    revision=revision,
                )
            text = yaml.safe_dump(graph.document(), sort_keys=False, allow_unicode=True)
            write_atomically(self._path, text.encode(), mode=0o644)

    def wait_ready(self, revision: int, timeout_s: float) -> None:
        """Ask the server until it serves `revision`."""
        deadline = self._clock.monotonic() + timeout_s
        last = "it was not asked"
        while True:
            document, problem = self._ask()
            if document is not None:
                if document["revision"] == revision and self._serves_what_was_written(document):
                    return
                self._raise_refusal(document, revision)
                last = f"it serves revision {document['revision']}"
            else:
                last = problem
            if self._clock.monotonic() >= deadline:
                raise Unreachable(
                    f"the model server {self._url} does not serve revision {revision} of {self._model} after {timeout_s:g} s: {last}",
                    remedy="see its log and /admin/graphs",
                    component="model server",
                )
            self._clock.sleep(_POLL_S)

    def _serves_what_was_written(self, document: dict[str, Any]) -> bool:
        current = self.read()
        return current is not None and document["graph"] == current.document()

    def _raise_refusal(self, document: dict[str, Any], revision: int) -> None:
        refusal = document["refusal"]
        if refusal is None or refusal["revision"] != revision:
            return
        problem = refusal["problem"]
        raise Refused(
            f"the model server refused revision {revision} of {self._model}: {problem['detail']}",
            remedy=problem.get("remedy") or "correct the graph",
            cause=problem["type"],
        )

    def _ask(self) -> tuple[dict[str, Any] | None, str]:
        """What the server says of the model, or why it says nothing."""
        try:
            response = httpx.get(
                f"{self._url}/admin/graphs/{self._model}",
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=5.0,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            return None, f"it does not answer ({str(error) or type(error).__name__})"
        if response.status_code in (401, 403):
            raise Refused(
                f"the model server {self._url} does not accept the key: {response.text[:200]}",
                remedy="use a key with a role",
            )
        if response.status_code != 200:
            return None, f"it answers {response.status_code}"
        document: dict[str, Any] = response.json()
        return document, ""

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
