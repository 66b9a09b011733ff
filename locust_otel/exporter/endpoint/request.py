"""A request and its answer as plain values, apart from the server that carries them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """A request, without its body.

    Attributes:
        headers: By names in small letters; several of one name are joined by commas.
        client: Address of the other side.
        scheme: `http` or `https`.
        port: Where it arrived.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    client: str
    scheme: str = "http"
    port: int = 0

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


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes:
        pieces: Its body.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Iterable[bytes] = ()

    @classmethod
    def text(cls, status: int, body: str, kind: str = "text/plain", headers: Mapping[str, str] | None = None) -> Answer:
        """Return an answer of text."""
        data = body.encode()
        own = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(data))}
        return cls(status, own | dict(headers or {}), (data,))
