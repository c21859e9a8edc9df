"""`python -m maestro.serving.main`: the model server as a process."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from maestro import __version__
from maestro.clients.home import Home
from maestro.core.errors import MaestroError
from maestro.core.settings import settings
from maestro.observability.logging import configure
from maestro.observability.trace_exporting import trace_exporting
from maestro.serving.server import ENVIRONMENT, LazyFeatures, ModelServer

DRAIN_S = 20


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
    import uvicorn

    from maestro.serving.app import create_app

    config = uvicorn.Config(
        create_app(server),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
    )
    process = uvicorn.Server(config)
    told = process.handle_exit

    def drain(number: int, frame: object) -> None:
        server.draining = True
        told(number, None)

    process.handle_exit = drain  # type: ignore[method-assign,assignment]  # readiness must tell the truth from the first moment
    try:
        process.run()
    except KeyboardInterrupt:
        return 130
    return 0 if process.started else 3


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(main())
