"""An OTLP endpoint that accepts and discards every push, and prints its bytes: `sink.py http|grpc PORT`."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc


class _Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Accept a push."""
        print(len(self.rfile.read(int(self.headers["Content-Length"]))), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep silent."""


class _AnyService(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, _: Any) -> Any:
        """Accept a push without decoding it: an empty answer is valid for every service."""
        return grpc.unary_unary_rpc_method_handler(self._take)

    def _take(self, request: bytes, _: Any) -> bytes:
        print(len(request), flush=True)
        return b""


def main(protocol: str, port: int) -> None:
    """Serve without an end."""
    if protocol == "http":
        ThreadingHTTPServer(("127.0.0.1", port), _Taker).serve_forever()
    server = grpc.server(ThreadPoolExecutor(4), [_AnyService()], options=[("grpc.so_reuseport", 0)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
