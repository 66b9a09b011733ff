"""Tests of who may read `/metrics`: users, passwords, and what a check costs."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys

import bcrypt
import pytest

from locust_otel.exporter.endpoint import access
from locust_otel.exporter.endpoint.access import WebConfig

PASSWORD = "correct horse: bättery"
SALT = b"$2b$04$abcdefghijklmnopqrstuu"  # fixed, as hashes are part of test names
HASH = bcrypt.hashpw(PASSWORD.encode(), SALT).decode()
OTHER_HASH = bcrypt.hashpw(b"other", SALT).decode()


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Collect the hash of every real bcrypt check."""
    seen: list[bytes] = []
    checkpw = bcrypt.checkpw

    def _counted(password: bytes, hashed: bytes) -> bool:
        seen.append(hashed)
        return checkpw(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", _counted)
    return seen


def basic(user: str, password: str, scheme: str = "Basic") -> str:
    """Return the `Authorization` header of a user, in UTF-8."""
    return f"{scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def at_once(config: WebConfig, headers: list[str]) -> list[bool]:
    """Return who of several that ask at once may read."""

    async def ask() -> list[bool]:
        return await asyncio.gather(*map(config.authenticate, headers))

    return asyncio.run(ask())


def may_read(config: WebConfig, authorization: str | None) -> bool:
    """Return whether a request with this header may be answered."""
    return asyncio.run(config.authenticate(authorization))


@pytest.fixture
def config() -> WebConfig:
    """Return one with two users, prometheus and jürgen."""
    return WebConfig(users={"prometheus": HASH, "jürgen": OTHER_HASH})


@pytest.mark.parametrize(
    ("authorization", "allowed"),
    [
        (basic("prometheus", PASSWORD), True),
        (basic("prometheus", PASSWORD, "bAsIc"), True),
        (basic("jürgen", "other"), True),
        (basic("prometheus", "other"), False),
        (basic("jürgen", PASSWORD), False),
        (basic("prometheus", ""), False),
        (basic("prometheus", "\0" + PASSWORD), False),
        (basic("nobody", PASSWORD), False),
        (basic("nobody", "other"), False),
        (basic("", ""), False),
        (basic("prometheus", PASSWORD, "Bearer"), False),
        ("Basic " + base64.b64encode(b"prometheus").decode(), False),
        ("Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(), False),
        ("Basic ü", False),
        ("Basic a", False),
        ("Basic !!!!", False),
        ("Basic", False),
        ("", False),
        (None, False),
    ],
)
def test_authenticate(config: WebConfig, authorization: str | None, allowed: bool) -> None:
    """Only a user's own password gets in, the first time and from the cache."""
    assert may_read(config, authorization) is allowed
    assert may_read(config, authorization) is allowed


@pytest.mark.parametrize("variant", ["2a", "2b", "2y"])
def test_hash_variants(variant: str) -> None:
    """The prefixes of htpasswd, Go and Python all work."""
    config = WebConfig(users={"p": f"${variant}{HASH[3:]}"})
    assert may_read(config, basic("p", PASSWORD))
    assert not may_read(config, basic("p", "wrong"))


def test_long_password() -> None:
    """A password counts up to bcrypt's 72 bytes, as with htpasswd and Go."""
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    config = WebConfig(users={"p": hashed})
    assert may_read(config, basic("p", "x" * 100))
    assert not may_read(config, basic("p", "x" * 71))


def test_empty_password() -> None:
    """An empty password is a password; a header without the colon before it is malformed."""
    config = WebConfig(users={"p": bcrypt.hashpw(b"", SALT).decode()})
    assert may_read(config, basic("p", ""))
    assert not may_read(config, "Basic " + base64.b64encode(b"p").decode())


def test_one_bcrypt_for_many_scrapes(config: WebConfig, checks: list[bytes]) -> None:
    """A thousand scrapes with one password, right or wrong, cost one bcrypt check."""
    for password in (PASSWORD, "wrong"):
        checks.clear()
        answers = {may_read(config, basic("prometheus", password)) for _ in range(1000)}
        assert answers == {password == PASSWORD}
        assert checks == [HASH.encode()]


def test_one_bcrypt_for_simultaneous_scrapes(config: WebConfig, checks: list[bytes]) -> None:
    """Scrapers that ask the same at once wait for one check."""
    assert at_once(config, [basic("prometheus", PASSWORD)] * 20) == [True] * 20
    assert len(checks) == 1


def test_unknown_users_cost_a_check(config: WebConfig, checks: list[bytes]) -> None:
    """An unknown user is checked against a user's hash, always the same one for a name, and each name once."""
    names = [f"nobody{number}" for number in range(64)]
    for name in names:
        assert not may_read(config, basic(name, PASSWORD))
    assert len(checks) == 64
    assert set(checks) == {HASH.encode(), OTHER_HASH.encode()}
    first = checks[0]
    checks.clear()
    for number in range(10):
        assert not may_read(config, basic(names[0], f"guess {number}"))
    assert checks == [first] * 10


def test_wrong_passwords_are_bounded(config: WebConfig, checks: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of wrong passwords forgets the oldest wrong one, and never the right one."""
    monkeypatch.setattr(access, "_MAX_WRONG", 10)
    assert may_read(config, basic("prometheus", PASSWORD))
    for number in range(50):
        assert not may_read(config, basic("prometheus", f"guess {number}"))
    assert config._passwords is not None
    assert len(config._passwords._wrong) == 10
    assert len(checks) == 51
    assert may_read(config, basic("prometheus", PASSWORD))
    assert not may_read(config, basic("prometheus", "guess 49"))
    assert len(checks) == 51
    assert not may_read(config, basic("prometheus", "guess 0"))
    assert len(checks) == 52


def test_keeps_no_password(config: WebConfig) -> None:
    """Neither passwords nor a plain digest of one stay in memory: the same password is kept differently."""
    again = WebConfig(users=config.users)
    kept = []
    for each in (config, again):
        assert may_read(each, basic("prometheus", PASSWORD))
        assert each._passwords is not None
        kept.append(each._passwords._right[b"prometheus"])
    assert [len(digest) for digest in kept] == [32, 32]
    assert kept[0] != kept[1]


def test_one_check_at_a_time(config: WebConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Different passwords at once are checked one after the other."""
    running, most = 0, 0
    checkpw = bcrypt.checkpw

    def _watched(password: bytes, hashed: bytes) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        outcome = checkpw(password, hashed)
        running -= 1
        return outcome

    monkeypatch.setattr(bcrypt, "checkpw", _watched)
    assert not any(at_once(config, [basic("prometheus", str(number)) for number in range(20)]))
    assert most == 1


DURING_A_CHECK = """
import asyncio, base64, bcrypt
from locust_otel.exporter.endpoint.access import WebConfig
config = WebConfig(users={"p": bcrypt.hashpw(b"x", bcrypt.gensalt(10)).decode()})
async def ticks():
    check = asyncio.create_task(config.authenticate("Basic " + base64.b64encode(b"p:x").decode()))
    count = 0
    while not check.done():
        count += 1
        await asyncio.sleep(0.001)
    assert check.result()
    return count
print(asyncio.run(ticks()))
"""


def test_others_are_answered_during_a_check() -> None:
    """While bcrypt runs, the event loop does other things; in a process of its own, since Locust patches threads."""
    out = subprocess.run([sys.executable, "-c", DURING_A_CHECK], capture_output=True, text=True, check=True)
    assert int(out.stdout) >= 5  # 40 on an idle machine
