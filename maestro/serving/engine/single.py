"""The whole server in one process: data port, control routes and evidence on one event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from maestro.core.errors import BadInput, Unreachable
from maestro.serving.engine.control import LocalControl
from maestro.serving.engine.dispatch import Dispatch
from maestro.serving.engine.door import Door, Patience
from maestro.serving.engine.rate import RateLimit
from maestro.serving.engine.tls import tls_files
from maestro.serving.protocols.number_rows import NumberRows
from maestro.serving.server import ModelServer

if TYPE_CHECKING:
    from maestro.serving.protocols.grpc.door import GrpcDoor

DRAIN_S = 20.0


class OneProcess:
    """Serves until it is stopped.

    Args:
        server: not yet started.
        patience: how long callers may take.
    """

    def __init__(
        self, server: ModelServer, *, patience: Patience | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        serving = server.options.serving
        rate = RateLimit(serving.rate_per_s, serving.rate_burst) if serving.rate_per_s else None
        control = LocalControl(server)
        self.server = server
        self.door = Door(
            Dispatch(server.plane, server.auth, control, rate, NumberRows(server.home.plans)),
            max_body=serving.max_body_bytes,
            max_connections=serving.max_connections,
            patience=patience,
            tls=tls,
        )
        self._grpc: GrpcDoor | None = None
        if serving.grpc is not None:
            # Its library is large, and most servers have no use for it.
            from maestro.serving.protocols.grpc.door import GrpcDoor

            self._grpc = GrpcDoor(server.plane, server.auth, control, rate, max_body=serving.max_body_bytes)

    async def start(self, sock: socket.socket) -> None:
        """Load what the graphs say, then take connections of a bound socket."""
        await self.server.start()
        serving = self.server.options.serving
        if self._grpc is not None and serving.grpc is not None:
            self.server.grpc_port = await self._grpc.start(serving.grpc, tls=tls_files(serving))
        await self.door.listen(sock)

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Answer what is under way, write what waits to be written, end."""
        self.server.draining = True  # readiness tells the truth from the first moment
        ending = [self.door.drain(drain_s)] + ([self._grpc.stop(drain_s)] if self._grpc is not None else [])
        await asyncio.gather(*ending)
        await self.server.stop()


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that is bound and does not listen yet; `shared` ones may stand beside others on the same port.

    Raises:
        OSError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setblocking(False)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def reserved(address: str) -> socket.socket:
    """A socket that holds `host:port` for those who will share it.

    Raises:
        BadInput: it is no address.
        Unreachable: it is taken, or not this machine's.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadInput(
            f"{address!r} is not host:port",
            field="MAESTRO_SERVING__GRPC",
            remedy="set it as MAESTRO_SERVING__GRPC=127.0.0.1:8081",
        )
    try:
        return bound(host.strip("[]"), int(port), shared=True)
    except OSError as error:
        raise Unreachable(
            f"{address} cannot be listened on: {error.strerror}",
            field="MAESTRO_SERVING__GRPC",
            remedy="give another MAESTRO_SERVING__GRPC",
            component="model server",
        ) from None
