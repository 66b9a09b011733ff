"""A request and its answer as plain values, apart from the server that carries them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PIECE_BYTES = 64 * 1024
"""Bytes of an answer that are put together at a time; a client that does not take them gets no more."""

_GZIP_BYTES = 1024 * 1024  # that are compressed at a time: after each, other threads may take this one's turn
_GZIP_LEVEL = 1  # the quickest; repeated label text shrinks to a twentieth even so
_REFUSALS = {"q=0", "q=0.0", "q=0.00", "q=0.000"}  # of a coding in Accept-Encoding


@dataclass(frozen=True, slots=True)
class Request:
    """A request, without its body."""

    method: str
    path: str
    headers: Mapping[str, str]  # by lowercase names; several of one name are joined by commas
    client: str  # its address
    scheme: str = "http"  # or `https`
    port: int = 0  # where it arrived

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
        """Bytes of its body; None where they are not known beforehand."""
        return None if "transfer-encoding" in self.headers else int(self.headers.get("content-length", 0))

    @property
    def accepts_gzip(self) -> bool:
        """Whether the answer may be compressed."""
        for item in self.headers.get("accept-encoding", "").lower().replace(" ", "").split(","):
            coding, *parameters = item.split(";")
            if coding in {"gzip", "*"}:
                return _REFUSALS.isdisjoint(parameters)
        return False


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
        own = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(data))}
        return cls(status, own | dict(headers or {}), (data,))

    def gzipped(self) -> Answer:
        """Return the same answer, compressed."""
        data = b"".join(gzipped(self.pieces))
        own = {"Content-Encoding": "gzip", "Content-Length": str(len(data))}
        return Answer(self.status, {**self.headers, **own}, (data,))


def joined(pieces: Iterable[bytes], least: int = PIECE_BYTES) -> Iterator[bytes]:
    """Yield the same in larger pieces, which are put together only when they are asked for."""
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
    """Yield the same, compressed."""
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16)
    for piece in joined(pieces, _GZIP_BYTES):
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()
