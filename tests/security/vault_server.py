"""A real `vault server -dev` of PATH."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest


@dataclass(frozen=True)
class VaultServer:
    """Where it is, and its root token."""

    address: str
    token: str


@pytest.fixture(scope="session")
def vault_server() -> Iterator[VaultServer]:
    """One for the session; skipped where the program is not there."""
    if shutil.which("vault") is None:
        pytest.skip("no vault on PATH")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = VaultServer(f"http://127.0.0.1:{port}", uuid.uuid4().hex)
    process = subprocess.Popen(
        ["vault", "server", "-dev", "-dev-no-store-token", f"-dev-listen-address=127.0.0.1:{port}", f"-dev-root-token-id={server.token}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                if httpx.get(f"{server.address}/v1/sys/health", trust_env=False, timeout=1).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, "vault did not start"
            time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait()
