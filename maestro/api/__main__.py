"""`python -m maestro.api`: the control plane's API as a process."""

from __future__ import annotations

import argparse
import json
import sys

import uvicorn

from maestro import __version__
from maestro.api.app import create_app
from maestro.core.errors import MaestroError
from maestro.lifecycle.composition import Platform
from maestro.observability.logging import configure
from maestro.observability.metrics_port import metrics_port
from maestro.observability.trace_exporting import trace_exporting


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m maestro.api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--metrics-port", type=int, help="also serve /metrics there, without a key (default: not at all)"
    )
    given = parser.parse_args(arguments)
    try:
        platform = Platform()
        configure("api", platform.settings.log_level)
        platform.require_database()
    except MaestroError as error:
        print(json.dumps(error.problem()), file=sys.stderr)
        return error.exit_code
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(platform),
            host=given.host,
            port=given.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )
    try:
        with (
            trace_exporting("maestro-api", __version__),
            metrics_port(platform.metrics, given.metrics_port, given.host),
        ):
            server.run()
    except MaestroError as error:
        print(json.dumps(error.problem()), file=sys.stderr)
        return error.exit_code
    finally:
        platform.close()
    return 0 if server.started else 3


if __name__ == "__main__":
    raise SystemExit(main())
