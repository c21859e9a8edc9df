"""Takes OTLP over HTTP and counts what comes; prints its address."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

received = 0


class Handler(BaseHTTPRequestHandler):
    """Reads and forgets."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One export."""
        global received
        self.rfile.read(int(self.headers.get("content-length", 0)))
        received += 1
        self._answer(b"")

    def do_GET(self) -> None:
        """How many there were."""
        self._answer(str(received).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
