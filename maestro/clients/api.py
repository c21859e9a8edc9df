"""HTTP client of our own services: sends the credential, turns problem documents back into errors."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from maestro.clients.home import Home, service_url
from maestro.core import errors
from maestro.core.settings import Settings, settings

_KINDS: dict[str, type[errors.MaestroError]] = {
    f"urn:maestro:problem:{kind.slug}": kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.MaestroError)
}


class ApiClient:
    """Calls one service as one principal. Thread-safe."""

    def __init__(
        self, base_url: str, token: str | None = None, *, service: str = "api", timeout_s: float = 30.0
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.service = service
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout_s)
        # a client that nobody holds any more leaves no open connection behind
        weakref.finalize(self, self._client.close)

    @classmethod
    def of(cls, options: Settings | None = None, *, url: str | None = None, service: str = "api") -> ApiClient:
        """The client of the service that settings and state name, with `MAESTRO_API_KEY` or the laptop's own key."""
        options = options or settings()
        return cls(service_url(service, url, options), credential(options), service=service)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON answer of a GET; parameters that are None are left out."""
        return self.request("GET", path, params={key: value for key, value in params.items() if value is not None})

    def post(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON answer of a POST."""
        return self.request("POST", path, json=body, headers=headers)

    def delete(self, path: str) -> Any:
        """The JSON answer of a DELETE."""
        return self.request("DELETE", path)

    def request(self, method: str, path: str, **options: Any) -> Any:
        """One call; gives the JSON document, or a page's text.

        Raises:
            MaestroError: the kind that the problem document names.
            Unreachable: no answer.
        """
        try:
            response = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.is_success:
            if response.headers.get("content-type", "").startswith("text/"):
                return response.text
            return response.json() if response.content else None
        raise problem_error(response, self.service)

    def events(self, path: str) -> Iterator[dict[str, str]]:
        """Server-sent events, each as its fields; ends when the server ends the stream."""
        try:
            with self._client.stream("GET", path, timeout=None) as response:
                if not response.is_success:
                    response.read()
                    raise problem_error(response, self.service)
                fields: dict[str, str] = {}
                for line in response.iter_lines():
                    if not line and fields:
                        yield fields
                        fields = {}
                    elif ":" in line:
                        name, _, value = line.partition(":")
                        fields[name] = value.removeprefix(" ")
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _unreachable(self, error: httpx.HTTPError) -> errors.Unreachable:
        return errors.Unreachable(
            f"the {self.service} service at {self.base_url} does not answer: {error}",
            remedy=f"run `make up`, or correct MAESTRO_{self.service.upper()}_URL",
            component=self.service,
        )


def credential(options: Settings | None = None) -> str | None:
    """The credential to send: `MAESTRO_API_KEY`, else the laptop user's own key file."""
    options = options or settings()
    if options.api_key is not None:
        return options.api_key.get_secret_value()
    own = Home.of(options).keys / "user.token"
    return own.read_text().strip() if own.exists() else None


def problem_error(response: httpx.Response, service: str) -> errors.MaestroError:
    """The error that a problem document describes."""
    try:
        document = dict(response.json())
    except (ValueError, TypeError):
        document = {}
    kind = _KINDS.get(str(document.pop("type", "")))
    detail = str(document.pop("detail", "") or f"the {service} service answered {response.status_code}")
    remedy = str(document.pop("remedy", ""))
    field = document.pop("field", None)
    document.pop("title", None)
    document.pop("status", None)
    if kind is None:
        kind = errors.Unreachable if response.status_code >= 500 else errors.BadInput
    return kind(detail, remedy=remedy, field=field, **document)
