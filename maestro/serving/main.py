"""`python -m maestro.serving.main`: the model server as a process."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from maestro import __version__
from maestro.clients.home import Home
from maestro.core.errors import MaestroError, Unreachable
from maestro.core.settings import settings
from maestro.observability.logging import configure
from maestro.observability.trace_exporting import trace_exporting
from maestro.serving.engine.tls import tls_context
from maestro.serving.server import ENVIRONMENT, LazyFeatures, ModelServer


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then answer what is under way and end; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m maestro.serving.main", description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="$MAESTRO_HOME")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--environment", default=ENVIRONMENT, help="the environment whose statements count")
    given = parser.parse_args(arguments)
    try:
        options = settings()
        if given.home is not None:
            options = options.model_copy(update={"home": given.home})
        configure("server", options.log_level)
        home = Home.of(options)
        server = ModelServer(home, options, environment=given.environment, features=LazyFeatures(home.features))
        with trace_exporting("maestro-server", __version__):
            return _serve(server, given.host, given.port)
    except MaestroError as error:
        print(json.dumps(error.problem()), file=sys.stderr)
        return error.exit_code


def _serve(server: ModelServer, host: str, port: int) -> int:
    import uvloop

    from maestro.serving.engine.single import OneProcess, bound

    serving = server.options.serving
    try:
        sock = bound(host, port)
    except OSError as error:
        raise Unreachable(
            f"{host}:{port} cannot be listened on: {error.strerror}",
            remedy="give another --port",
            component="model server",
        ) from None

    async def run() -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        process = OneProcess(server, tls=tls_context(serving.tls_cert, serving.tls_key))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        starting = loop.create_task(process.start(sock))
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
