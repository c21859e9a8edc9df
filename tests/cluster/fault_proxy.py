"""A proxy in front of the real API server that answers some requests with a fault of its own."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from kubernetes.client import ApiClient

from maestro.clients.kubernetes.connection import configured


@dataclass
class Fault:
    """What happens to the next `times` requests whose `METHOD path` matches.

    `status` answers it in the server's place; `cut` ends the connection, `before` the request reached the server or `after` it acted; `delay_s` lets it wait.
    """

    match: str
    times: int = 1
    status: int = 0
    retry_after: float | None = None
    cut: str = ""
    delay_s: float = 0.0
    seen: int = 0


@dataclass
class Proxy:
    """Where it is, what it does, and what went through."""

    kubeconfig: Path
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def fault(self, match: str, **what: object) -> Fault:
        """Add one."""
        made = Fault(match, **what)  # type: ignore[arg-type]
        self.faults.append(made)
        return made


@contextmanager
def fault_proxy(folder: Path) -> Iterator[Proxy]:
    """Run it for as long as the block lasts."""
    configuration = configured()
    pool = ApiClient(configuration).rest_client.pool_manager
    lock = threading.Lock()
    proxy = Proxy(folder / "proxied")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            line = f"{self.command} {self.path}"
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            with lock:
                proxy.requests.append(line)
                fault = next((one for one in proxy.faults if one.seen < one.times and re.search(one.match, line)), None)
                if fault is not None:
                    fault.seen += 1
            if fault is not None and fault.delay_s:
                time.sleep(fault.delay_s)
            if fault is not None and fault.cut == "before":
                self.cut()
                return
            if fault is not None and fault.status:
                said = {"kind": "Status", "code": fault.status, "message": "injected fault", "reason": "Injected"}
                headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                self.answer(fault.status, json.dumps(said).encode(), headers)
                return
            wanted = {name: value for name, value in self.headers.items() if name in ("Content-Type", "Accept")}
            answer = pool.request(
                self.command, configuration.host + self.path, body=body, headers=wanted, retries=False
            )
            if fault is not None and fault.cut == "after":
                self.cut()
                return
            self.answer(answer.status, answer.data, {})

        def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def cut(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.handle_any)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    proxy.kubeconfig.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "t", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "contexts": [{"name": "t", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
