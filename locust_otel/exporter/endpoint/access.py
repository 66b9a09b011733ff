"""Access to `/metrics`: TLS, response headers, and users with their passwords.

bcrypt takes 50 ms of CPU and more: checks run in a thread, one at a time, and their outcomes are kept, so a scrape a
second costs one bcrypt a run.
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

_MAX_WRONG = 1024  # outcomes of wrong passwords kept
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
    """Checks passwords one at a time, and remembers outcomes under a key of this process.

    The right password of each user is never evicted, so a flood of wrong ones does not cost the scraper another check.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._hashes = {name.encode(errors="replace"): hashed.encode() for name, hashed in users.items()}
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, bytes] = {}  # user -> digest
        self._wrong: dict[bytes, None] = {}  # digests, oldest first
        self._turn = asyncio.Lock()  # one at a time, as in the exporter-toolkit: more would take cores from the load

    async def check(self, user: bytes, password: bytes) -> bool:
        password = password[:_BCRYPT_BYTES]
        digest = self._digest(user + b":" + password)
        if (outcome := self._known(user, digest)) is not None:
            return outcome
        async with self._turn:
            outcome = self._known(user, digest)  # another client may have asked the same meanwhile
            if outcome is None:
                outcome = await self._verify(user, password)
                if outcome:
                    self._right[user] = digest
                else:
                    self._wrong[digest] = None
                    if len(self._wrong) > _MAX_WRONG:
                        del self._wrong[next(iter(self._wrong))]
        return outcome

    def _digest(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, hashlib.sha256)

    def _known(self, user: bytes, digest: bytes) -> bool | None:
        if hmac.compare_digest(self._right.get(user, b""), digest):
            return True
        return False if digest in self._wrong else None  # a keyed digest: its lookup time tells nothing

    async def _verify(self, user: bytes, password: bytes) -> bool:
        # An unknown user is checked against the hash of a known one, always the same, and refused whatever comes out:
        # it takes as long as a known one, even if the hashes' costs differ.
        stand_in = list(self._hashes.values())[int.from_bytes(self._digest(user)) % len(self._hashes)]
        hashed = self._hashes.get(user, stand_in)
        return await asyncio.to_thread(_matches, password, hashed) and user in self._hashes


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # a NUL in the password, for older versions of bcrypt
        return False
