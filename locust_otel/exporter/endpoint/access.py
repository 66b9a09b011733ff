"""Access to `/metrics`: TLS, response headers, and users with their passwords.

A bcrypt check takes 50 ms of CPU or more. So checks run in a thread, one at a time, and their outcomes are cached: a
scraper that comes each second costs one check a run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import bcrypt

_MAX_WRONG = 1024  # wrong passwords in the cache
_BCRYPT_BYTES = 72  # bcrypt reads no further; the Python package raises above it, Go and htpasswd cut


@dataclass(frozen=True, eq=False)
class WebConfig:
    """Settings of the web configuration file."""

    ssl_context: ssl.SSLContext | None = None  # for TLS; None: plain HTTP
    headers: Mapping[str, str] = field(default_factory=dict)  # added to every response
    users: Mapping[str, str] = field(default_factory=dict, repr=False)  # name -> bcrypt hash; empty: all may read

    @cached_property
    def _passwords(self) -> _Passwords:
        return _Passwords(self.users)

    async def authenticate(self, authorization: str | None) -> bool:
        """Return whether a request with this `Authorization` header may be answered; always True without users.

        Answer a False with status 401 and `WWW-Authenticate: Basic`.
        """
        if not self.users:
            return True
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except ValueError:  # not base64, not ASCII
            return False
        return bool(colon) and await self._passwords.check(user, password)


class _Passwords:
    """Checks passwords one at a time, and caches the outcomes under digests with a key of this process.

    Right passwords are never evicted, so a flood of wrong ones costs the scraper no second check.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._hashes = {name.encode(): hashed.encode() for name, hashed in users.items()}
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()
        self._wrong: dict[bytes, None] = {}  # oldest first
        self._turn = asyncio.Lock()  # one check at a time, as in the exporter-toolkit: more would slow the load down

    async def check(self, user: bytes, password: bytes) -> bool:
        password = password[:_BCRYPT_BYTES]
        digest = self._digest(user + b":" + password)
        if not self._is_cached(digest):
            async with self._turn:
                if not self._is_cached(digest):  # another client may have sent the same meanwhile
                    await self._verify(user, password, digest)
        return digest in self._right

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, hashlib.sha256)

    def _is_cached(self, digest: bytes) -> bool:
        return digest in self._right or digest in self._wrong  # the key is secret: the lookup time reveals nothing

    async def _verify(self, user: bytes, password: bytes, digest: bytes) -> None:
        # An unknown user is checked against the hash of a known one, always the same, and then refused. So both take
        # the same time, even if the hashes differ in cost.
        stand_in = list(self._hashes.values())[int.from_bytes(self._digest(user)) % len(self._hashes)]
        hashed = self._hashes.get(user, stand_in)
        if await asyncio.to_thread(_matches, password, hashed) and user in self._hashes:
            self._right.add(digest)
            return
        self._wrong[digest] = None
        if len(self._wrong) > _MAX_WRONG:
            del self._wrong[next(iter(self._wrong))]


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # a NUL in the password, for older versions of bcrypt
        return False
