"""HTTP requests that end in time, however slowly their answers come: a general client's timeouts hold for each read alone, and a byte now and then keeps them all."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

_PIECE = 2**14
"""Bytes that are written before the time is looked at again."""


class _Deadline(threading.local):
    """That of the request which this thread carries out, in `time.monotonic` seconds."""

    ends: float = math.inf

    def left(self, timeout: float | None, late: type[httpcore.TimeoutException]) -> float | None:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise late("the time is up")
        left = min(left, math.inf if timeout is None else timeout)
        return None if left == math.inf else left


class TimelyTransport(httpx.BaseTransport):
    """Carries a client's requests out, each until the `deadline` of its extensions, in `time.monotonic` seconds; without one as others do. Thread-safe.

    Answers are read whole. To find the address of a name takes the time that the system takes.

    Args:
        keepalive_s: after which an unused connection is closed.
    """

    def __init__(self, keepalive_s: float) -> None:
        self._deadline = _Deadline()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=100,
            keepalive_expiry=keepalive_s,
            network_backend=_Backend(self._deadline),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer.

        Raises:
            httpx.TimeoutException: there was none in time.
            httpx.ReadError: the connection broke; it may have been an old one.
            httpx.ConnectError: there is none.
        """
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        extensions = dict(request.extensions)
        self._deadline.ends = extensions.pop("deadline", math.inf)
        try:
            answer = self._pool.request(
                request.method, url, headers=request.headers.raw, content=request.read(), extensions=extensions
            )
        except httpcore.TimeoutException as error:
            raise httpx.ReadTimeout(str(error) or "timed out") from None
        except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError) as error:
            raise httpx.ReadError(str(error) or type(error).__name__) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise httpx.ConnectError(str(error) or type(error).__name__) from None
        finally:
            self._deadline.ends = math.inf
        return httpx.Response(answer.status, headers=answer.headers, content=answer.content)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


class _Backend(httpcore.NetworkBackend):
    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._plain.connect_tcp(host, port, timeout, local_address, socket_options), self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, plain: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._plain = plain
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._plain.read(max_bytes, self._deadline.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            left = self._deadline.left(timeout, httpcore.WriteTimeout)
            self._plain.write(buffer[start : start + _PIECE], left)

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._plain.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._plain.get_extra_info(info)
