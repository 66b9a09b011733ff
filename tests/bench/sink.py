"""An OTLP endpoint that takes everything and keeps nothing, as a script in a process of its own; it prints its port."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep silent."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    print(server.server_port, flush=True)
    server.serve_forever()
