"""The laptop's services: how each is started and how one sees that it is ready."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass, field

from maestro.clients.home import Home


@dataclass(frozen=True)
class Service:
    """One program.

    Args:
        name: as `state.json` and the log file name it.
        argv: its command line.
        url: where it answers, when it does.
        ready: path below `url` that answers 200 once it is ready.
        env: variables it needs beside the supervisor's own.
        needs: services that have to be ready first.
    """

    name: str
    argv: tuple[str, ...]
    url: str | None = None
    ready: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def laptop_services(home: Home) -> list[Service]:
    """MLflow on SQLite and files, the control-plane API, a worker, the model server; each on a free port."""
    ports = {name: free_port() for name in ("mlflow", "api", "server")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    maestro = (sys.executable, "-m", "maestro")
    return [
        Service(
            "mlflow",
            (
                sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(ports["mlflow"]),
                "--backend-store-uri", f"sqlite:///{home.root / 'mlflow.db'}", "--artifacts-destination", str(home.root / "mlartifacts"),
            ),
            url=urls["mlflow"],
            ready="/health",
            # the job runner and its consumers cost 3 GB and are not used
            env={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ),
        Service("api", (sys.executable, "-m", "maestro.api", "--port", str(ports["api"])), url=urls["api"], ready="/readyz"),
        Service(
            "server", (*maestro, "service", "server", "--port", str(ports["server"])), url=urls["server"], ready="/healthz",
            # its data port listens on 127.0.0.1 alone; labels, graphs and evidence need a key with a role all the same
            env={"MAESTRO_SERVING__AUTH": os.environ.get("MAESTRO_SERVING__AUTH", "network")},
        ),
        Service("worker", (*maestro, "service", "worker"), needs=("mlflow",)),
    ]  # fmt: skip


def service_environment(home: Home, services: list[Service], database_url: str) -> dict[str, str]:
    """What every service is told: the home and each other's addresses. Credentials of the caller are not passed on."""
    env = {key: value for key, value in os.environ.items() if key != "MAESTRO_API_KEY"}
    env |= {
        "MAESTRO_HOME": str(home.root),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
    }
    for service in services:
        if service.url:
            env[f"MAESTRO_{service.name.upper()}_URL"] = service.url
    # numpy and scikit-learn otherwise start a thread a core in each of four processes
    env.setdefault("OPENBLAS_NUM_THREADS", "1")
    return env
