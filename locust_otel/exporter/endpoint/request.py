"""A request and its answer as plain values, without a server."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PIECE_BYTES = 64 * 1024
"""Bytes of an answer that are joined at a time. The next ones are joined once the client has taken these."""

_GZIP_BYTES = 1024 * 1024  # that are compressed at a time; other threads may run in between
_GZIP_LEVEL = 1  # the fastest; repeated label text still shrinks to a twentieth
_REFUSALS = {"q=0", "q=0.0", "q=0.00", "q=0.000"}  # of a coding in Accept-Encoding


@dataclass(frozen=True, slots=True)
class Request:
    """A request, without its body."""

    method: str
    path: str
    headers: Mapping[str, str]  # by lowercase name; values of one name are joined by commas
    client: str  # address; empty if it has disconnected
    scheme: str = "http"  # or `https`
    port: int = 0  # of the server

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> Request:
        """Return the request of an ASGI scope."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        client, server = scope.get("client"), scope.get("server")
        return cls(
            method=scope["method"],
            path=scope["path"],
            headers=headers,
            client=client[0] if client else "",
            scheme=scope["scheme"],
            port=(server[1] if server else 0) or 0,
        )

    @property
    def length(self) -> int | None:
        """Bytes of the body; None if they are not known in advance."""
        return None if "transfer-encoding" in self.headers else int(self.headers.get("content-length", 0))

    @property
    def accepts_gzip(self) -> bool:
        """True if the answer may be compressed."""
        for item in self.headers.get("accept-encoding", "").lower().replace(" ", "").split(","):
            coding, *parameters = item.split(";")
            if coding in {"gzip", "*"}:
                return _REFUSALS.isdisjoint(parameters)
        return False

    @property
    def scrape_timeout_s(self) -> float | None:
        """Timeout that Prometheus sends with a scrape; None without one."""
        try:
            return float(self.headers["x-prometheus-scrape-timeout-seconds"])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `pieces` are its body."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterable[bytes] = ()

    @classmethod
    def text(cls, status: int, body: str, kind: str = "text/plain", headers: Mapping[str, str] | None = None) -> Answer:
        """Return an answer of text."""
        data = body.encode()
        described = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(data))}
        return cls(status, described | dict(headers or {}), (data,))

    def gzipped(self) -> Answer:
        """Return the same answer, compressed."""
        data = b"".join(gzipped(self.pieces))
        changed = {"Content-Encoding": "gzip", "Content-Length": str(len(data))}
        return Answer(self.status, {**self.headers, **changed}, (data,))


def joined(pieces: Iterable[bytes], least: int = PIECE_BYTES) -> Iterator[bytes]:
    """Yield the same bytes in pieces of at least `least`, each joined only when it is needed."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= least:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, compressed."""
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16)
    for piece in joined(pieces, _GZIP_BYTES):
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()
