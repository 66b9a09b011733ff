"""Server of marks for tests."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from locust_otel.core.marks import MARK_PATH, Marked, cleaned
from locust_otel.exporter.endpoint.marking import Marking
from locust_otel.exporter.endpoint.request import Answer, Request


class Marks:
    """Server of marks on a free port.

    Attributes:
        made: Marks so far.
        run_id: The active run, or None.
        server: The HTTP server.
        marking: The handler of the requests.
    """

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []
        self.run_id: str | None = "run-1"
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.marking = Marking(self.mark, lambda: self.run_id, "")

    @property
    def port(self) -> int:
        """Port of the server."""
        return self.server.server_port

    def mark(self, text: object, kind: object) -> Marked | None:
        """Mark the active run."""
        pair = cleaned(text, kind)
        if self.run_id is None:
            return None
        self.made.append(pair)
        return Marked(self.run_id, 1_764_000_001.5)

    def start(self, *, token: str = "") -> Marks:
        """Start the server."""
        self.marking = Marking(self.mark, lambda: self.run_id, token)
        self.server.answer = self.answer  # type: ignore[attr-defined]
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def answer(self, request: Request, body: bytes) -> Answer:
        """Return the answer to a request."""
        return self.marking.answer(request, body) if request.path == MARK_PATH else Answer.text(404, "Not found\n")

    def stop(self) -> None:
        """Stop the server."""
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # name of the base class
        headers = {name.lower(): value for name, value in self.headers.items()}
        server: Any = self.server
        request = Request(self.command, self.path, headers, self.client_address[0], port=server.server_port)
        answer = server.answer(request, self.rfile.read(request.length or 0))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.writelines(answer.pieces)

    do_POST = do_GET  # noqa: N815  # likewise

    def log_message(self, *_: Any) -> None:
        """Print nothing."""
