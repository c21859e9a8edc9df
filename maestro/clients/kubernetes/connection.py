"""Requests to a Kubernetes API server: where it is, who we are, what is tried again, and what its refusals mean.

Configuration comes from the `kubernetes` library (KUBECONFIG with certificates, tokens and exec plug-ins, or the ServiceAccount of the pod); requests go through its
connection pool. A request that the server cannot have acted on is tried again within `patience_s`; a write whose outcome is unknown is not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import yaml

from maestro.clients.kubernetes.refusals import refusal
from maestro.core.clock import Clock, SystemClock
from maestro.core.errors import BadInput, MaestroError, TooManyRequests, Unreachable

if TYPE_CHECKING:
    from kubernetes.client import Configuration
    from urllib3 import BaseHTTPResponse

_CONNECT_S = 3.0
_PAUSE_S = 0.2
_MOST_PAUSE_S = 3.0
_BUSY = (429, 503)
"""The server says that it did nothing, and may say when to come back."""
_FAILED = (500, 502, 504)
"""Whether it did something is not known: only reads are repeated."""


class Connection:
    """One API server. Thread-safe.

    Args:
        configuration: of the `kubernetes` library.
        timeout_s: how long one answer may take.
        patience_s: for how long in all a request is tried again.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        clock: Clock | None = None,
        timeout_s: float = 15.0,
        patience_s: float = 10.0,
        impersonated: Sequence[tuple[str, str]] = (),
    ) -> None:
        from kubernetes.client import ApiClient

        configuration.retries = False  # what may be repeated is decided here
        configuration.connection_pool_maxsize = 16
        self._configuration = configuration
        self._pool = ApiClient(configuration).rest_client.pool_manager
        self._clock = clock or SystemClock()
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._impersonated = tuple(impersonated)

    @classmethod
    def load(
        cls,
        kubeconfig: Path | None = None,
        context: str | None = None,
        *,
        clock: Clock | None = None,
        timeout_s: float = 15.0,
        patience_s: float = 10.0,
    ) -> Connection:
        """Connect as KUBECONFIG (or `kubeconfig`) says, or as the pod's ServiceAccount where there is one.

        Raises:
            Unreachable: nothing says where a cluster is.
            BadInput: the file or the context cannot be used.
        """
        configuration = configured(kubeconfig, context)
        as_whom = impersonated(kubeconfig, context)
        return cls(configuration, clock=clock, timeout_s=timeout_s, patience_s=patience_s, impersonated=as_whom)

    @property
    def server(self) -> str:
        """The server's address."""
        return str(self._configuration.host)

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        query: Mapping[str, str | int | bool | None] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        repeatable: bool | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """One answered request.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: such as `/api/v1/namespaces/x/configmaps/y`.
            what: the act in words, such as `read ConfigMap x/y`: errors begin with it.
            query: query parameters; None leaves one out.
            body: sent as JSON (text is sent as it is).
            content_type: of the body.
            repeatable: whether repeating it after an unknown outcome does no harm; by default for GET alone.
            timeout_s: how long one answer may take.

        Returns:
            The JSON document, or text where the answer is none.

        Raises:
            MaestroError: as `maestro.clients.kubernetes.refusals` says.
        """
        with self._answered(
            method, path, what, query, body, content_type, repeatable, timeout_s or self._timeout_s
        ) as response:
            content = response.data
            kind = response.headers.get("Content-Type", "")
        if not kind.startswith("application/json"):
            return content.decode("utf-8", "replace")
        return json.loads(content)

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        what: str,
        query: Mapping[str, str | int | bool | None] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """The lines of an answer while they arrive; at the block's end the connection is closed.

        Args:
            path: what to follow.
            what: the act in words.
            query: query parameters.
            timeout_s: how long the server may be silent; for ever when None.
        """
        with self._answered("GET", path, what, query, None, "application/json", None, timeout_s) as response:
            try:
                yield self._lines(response, what)
            finally:
                response.close()

    def _lines(self, response: BaseHTTPResponse, what: str) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        rest = b""
        try:
            for chunk in response.stream(2**16):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
        except (HTTPError, OSError) as error:
            raise self._gone(what, error, "") from None
        if rest:
            yield rest

    @contextmanager
    def _answered(
        self,
        method: str,
        path: str,
        what: str,
        query: Mapping[str, str | int | bool | None] | None,
        body: Any,
        content_type: str,
        repeatable: bool | None,
        timeout_s: float | None,
    ) -> Iterator[BaseHTTPResponse]:
        harmless = method == "GET" if repeatable is None else repeatable
        deadline = self._clock.monotonic() + self._patience_s
        pause = _PAUSE_S
        while True:
            wait: float | None = None
            try:
                response = self._send(method, path, query, body, content_type, timeout_s)
            except MaestroError:
                raise
            except Exception as error:  # noqa: BLE001 - urllib3, ssl and socket each have their own
                sent = _was_sent(error)
                note = "" if method == "GET" else _OUTCOME if sent else "; nothing was changed"
                problem: MaestroError = self._gone(what, error, note)
                again = harmless or not sent
            else:
                if response.status < 400:
                    try:
                        yield response
                    finally:
                        response.release_conn()
                    return
                content, headers = response.data, dict(response.headers)
                response.release_conn()
                problem = refusal(response.status, content, headers, what=what, server=self.server)
                again = response.status in _BUSY or (harmless and response.status in _FAILED)
                if isinstance(problem, TooManyRequests):
                    wait = float(problem.extra["retry_after"])
            wait = pause if wait is None else max(wait, pause)
            if not again or self._clock.monotonic() + wait > deadline:
                raise problem
            self._clock.sleep(wait)
            pause = min(pause * 2, _MOST_PAUSE_S)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int | bool | None] | None,
        body: Any,
        content_type: str,
        timeout_s: float | None,
    ) -> BaseHTTPResponse:
        from urllib3 import HTTPHeaderDict, Timeout

        headers = HTTPHeaderDict({"Accept": "application/json", "User-Agent": "maestro-ml"})
        for name, value in self._impersonated:
            headers.add(name, value)
        # a kubeconfig's token lies under the one name, a pod's under the other
        token = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        payload = None
        if body is not None:
            headers["Content-Type"] = content_type
            payload = body if isinstance(body, str | bytes) else json.dumps(body)
        given = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in (query or {}).items()
            if value is not None
        }
        url = self.server.rstrip("/") + path + (f"?{urlencode(given)}" if given else "")
        answer: BaseHTTPResponse = self._pool.request(
            method,
            url,
            body=payload,
            headers=headers,
            timeout=Timeout(connect=min(_CONNECT_S, self._timeout_s), read=timeout_s),
            preload_content=False,
            redirect=False,
        )
        return answer

    def _gone(self, what: str, error: Exception, note: str) -> Unreachable:
        cause = type(error).__name__ if not str(error) else str(error).rpartition(": ")[2][:200]
        return Unreachable(
            f"cannot {what}: the API server {self.server} does not answer ({cause}){note}",
            remedy="see that the cluster runs and KUBECONFIG names it: kubectl cluster-info",
            component="kubernetes",
            outcome="unknown" if note == _OUTCOME else "unchanged",
        )


_OUTCOME = "; whether it was done is not known"


def configured(kubeconfig: Path | None = None, context: str | None = None) -> Configuration:
    """Where the cluster is and who we are."""
    from kubernetes import config
    from kubernetes.client import Configuration

    named = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG", "")
    default = Path("~/.kube/config").expanduser()
    configuration = Configuration()
    # the library's own functions carry no types
    from_pod: Callable[..., None] = config.load_incluster_config
    from_file: Callable[..., None] = config.load_kube_config
    if not named and (os.environ.get("KUBERNETES_SERVICE_HOST") or not default.exists()):
        try:
            from_pod(configuration)
        except config.ConfigException:
            raise Unreachable(
                "nothing says where a Kubernetes cluster is",
                remedy="set KUBECONFIG, or run in a pod with a ServiceAccount token",
                component="kubernetes",
            ) from None
        return configuration
    try:
        from_file(named or str(default), context=context, client_configuration=configuration, persist_config=False)
    except (config.ConfigException, OSError, ValueError) as error:
        raise BadInput(
            f"{named or default} cannot be used: {str(error)[:300]}",
            field="context" if context else "KUBECONFIG",
            remedy="see kubectl config view",
        ) from None
    return configuration


def impersonated(kubeconfig: Path | None = None, context: str | None = None) -> list[tuple[str, str]]:
    """Headers by which a kubeconfig's `as`, `as-uid`, `as-groups` and `as-user-extra` take effect: the client library passes over them, and whoever
    wrote `as` meant less than their own rights.
    """
    named = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG", "")
    paths = [Path(part) for part in named.split(os.pathsep) if part] or [Path("~/.kube/config").expanduser()]
    documents = [yaml.safe_load(path.read_text()) or {} for path in paths if path.is_file()]

    def entry(kind: str, name: str | None) -> dict[str, Any]:
        for document in documents:
            for one in document.get(f"{kind}s") or []:
                if one.get("name") == name:
                    return one.get(kind) or {}
        return {}

    chosen = context or next((found for each in documents if (found := each.get("current-context"))), None)
    user = entry("user", entry("context", chosen).get("user"))
    headers = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    headers += [("Impersonate-Uid", str(user["as-uid"]))] if user.get("as-uid") else []
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or []]
    extra = user.get("as-user-extra") or {}
    return headers + [(f"Impersonate-Extra-{key}", str(value)) for key, values in extra.items() for value in values]


def _was_sent(error: Exception) -> bool:
    """Whether the server may have got the request."""
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProxyError, SSLError

    if isinstance(error, MaxRetryError) and isinstance(error.reason, Exception):
        return _was_sent(error.reason)
    return not isinstance(error, ConnectTimeoutError | NewConnectionError | ProxyError | SSLError)


def wait_until(clock: Clock, deadline: float, pause_s: float = 0.2) -> bool:
    """Sleep a moment; false when the deadline (of `clock.monotonic()`) has passed."""
    if clock.monotonic() >= deadline:
        return False
    clock.sleep(min(pause_s, max(0.0, deadline - clock.monotonic())))
    return True
