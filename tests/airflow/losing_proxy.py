"""A connection that breaks at the worst moment: requests reach the API, the first answer to a POST does not come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


@contextmanager
def losing(url: str) -> Iterator[tuple[str, list[str]]]:
    """The address to use instead of `url`, and the idempotency keys that were seen."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in {"host", "connection", "accept-encoding"}
            }
            answer = httpx.request(self.command, url + self.path, content=body, headers=headers, timeout=60)
            if self.command == "POST":
                keys.append(self.headers.get("Idempotency-Key", ""))
                if len(keys) == 1:
                    self.close_connection = True
                    return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_DELETE = _pass  # noqa: N815 - the base class names them so

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", keys
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
