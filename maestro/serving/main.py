"""`python -m maestro.serving.main`: the model server as a process."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
import socket
import sys
from pathlib import Path

from maestro import __version__
from maestro.clients.home import Home
from maestro.core.errors import BadInput, MaestroError, Unreachable
from maestro.core.settings import settings
from maestro.observability.logging import configure
from maestro.observability.trace_exporting import trace_exporting
from maestro.serving.engine.dispatch import TRACED
from maestro.serving.engine.tls import tls_context
from maestro.serving.feature_sources import feature_source
from maestro.serving.server import ENVIRONMENT, ModelServer


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then answer what is under way and end; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m maestro.serving.main", description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="$MAESTRO_HOME")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--environment", default=ENVIRONMENT, help="the environment whose statements count")
    parser.add_argument("--workers", type=int, default=None, help="processes that answer (MAESTRO_SERVING__WORKERS)")
    given = parser.parse_args(arguments)
    try:
        options = settings()
        if given.home is not None:
            options = options.model_copy(update={"home": given.home})
        if given.workers is not None:
            if not 1 <= given.workers <= 256:
                raise BadInput("--workers is not 1 to 256", field="--workers", remedy="give the number of cores")
            serving = options.serving.model_copy(update={"workers": given.workers})
            options = options.model_copy(update={"serving": serving})
        configure("server", options.log_level)
        home = Home.of(options)
        source = feature_source(options.serving, home.features)
        server = ModelServer(home, options, environment=given.environment, features=source)
        with trace_exporting("maestro-server", __version__, ratio=TRACED):
            return _serve(server, given.host, given.port)
    except MaestroError as error:
        print(json.dumps(error.problem()), file=sys.stderr)
        return error.exit_code


def _serve(server: ModelServer, host: str, port: int) -> int:
    import uvloop

    from maestro.serving.engine.parent import Parent
    from maestro.serving.engine.single import OneProcess, bound

    gc.freeze()  # what was imported stays: a full collection need not look at it again, which would keep callers waiting for tens of milliseconds
    serving = server.options.serving
    tls = tls_context(serving.tls_cert, serving.tls_key)
    socks: list[socket.socket] = []
    try:
        for _ in range(serving.workers):
            socks.append(bound(host, port, shared=serving.workers > 1))
            port = socks[0].getsockname()[1]
    except OSError as error:
        raise Unreachable(
            f"{host}:{port} cannot be listened on: {error.strerror}",
            remedy="give another --port",
            component="model server",
        ) from None

    async def run() -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        process: OneProcess | Parent
        if serving.workers > 1:
            process = Parent(server, socks)
            starting = loop.create_task(process.start())
        else:
            process = OneProcess(server, tls=tls)
            starting = loop.create_task(process.start(socks[0]))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        waiting = loop.create_task(told.wait())
        await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await waiting
        else:
            starting.cancel()
            await asyncio.wait([starting])
        await process.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
