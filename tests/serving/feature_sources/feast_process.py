"""A real feature server of Feast over a repository on disk, as a process that tests stop and start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

CONFIG = """\
project: maestro
provider: local
entity_key_serialization_version: 3
offline_store: {{type: file}}
registry: {registry}
online_store: {{type: sqlite, path: {folder}/online.db}}
"""


class FeastProcess:
    """`feast serve`, on one port from start to start.

    Args:
        folder: of the repository.
        port: to listen on.
        registry: as `feature_store.yaml` names it; default: the repository's file.
    """

    def __init__(self, folder: Path, port: int, registry: str | None = None) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        found = registry or f"{{registry_type: file, path: '{folder}/registry.db', cache_ttl_seconds: 1}}"
        (folder / "feature_store.yaml").write_text(CONFIG.format(folder=folder, registry=found))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        program = str(Path(sys.executable).with_name("feast"))
        argv = [program, "--chdir", str(self.folder), "serve", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env=os.environ | {"NO_PROXY": "*"})
        deadline = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{self.url}/health", timeout=2, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def stop(self) -> None:
        """End it; nobody listens on its port then."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


@contextmanager
def feast_process(folder: Path, port: int, registry: str | None = None) -> Iterator[FeastProcess]:
    """One that runs until the block is left."""
    process = FeastProcess(folder, port, registry)
    try:
        process.start()
        yield process
    finally:
        process.stop()
