"""Tests of access to `/metrics`: users, passwords, and the cost of checks."""

from __future__ import annotations

import asyncio
import base64
import threading

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
    """Collect the hash of each bcrypt check."""
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
    """Return which of several simultaneous requests may be answered."""

    async def ask() -> list[bool]:
        return await asyncio.gather(*map(config.authenticate, headers))

    return asyncio.run(ask())


def may_read(config: WebConfig, authorization: str | None) -> bool:
    """Return whether a request with this header may be answered."""
    return asyncio.run(config.authenticate(authorization))


@pytest.fixture
def config() -> WebConfig:
    """Return a configuration with the users prometheus and jürgen."""
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
    """Only the password of the user is right, at the first check and from the cache."""
    assert may_read(config, authorization) is allowed
    assert may_read(config, authorization) is allowed


@pytest.mark.parametrize("variant", ["2a", "2b", "2y"])
def test_hash_variants(variant: str) -> None:
    """The prefixes of htpasswd, Go and Python all work."""
    config = WebConfig(users={"p": f"${variant}{HASH[3:]}"})
    assert may_read(config, basic("p", PASSWORD))
    assert not may_read(config, basic("p", "wrong"))


def test_long_password() -> None:
    """Only the first 72 bytes of a password count, as with htpasswd and Go."""
    hashed = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    config = WebConfig(users={"p": hashed})
    assert may_read(config, basic("p", "x" * 100))
    assert not may_read(config, basic("p", "x" * 71))


def test_empty_password() -> None:
    """An empty password is valid, but not a header without the colon before it."""
    config = WebConfig(users={"p": bcrypt.hashpw(b"", SALT).decode()})
    assert may_read(config, basic("p", ""))
    assert not may_read(config, "Basic " + base64.b64encode(b"p").decode())


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
def test_one_check_for_many_scrapes(config: WebConfig, checks: list[bytes], password: str) -> None:
    """Scrapes with one password, right or wrong, simultaneous or later ones, cost one bcrypt check."""
    header, is_right = basic("prometheus", password), password == PASSWORD
    assert at_once(config, [header] * 100) == [is_right] * 100
    assert may_read(config, header) == is_right
    assert checks == [HASH.encode()]


def test_unknown_users_cost_a_check(config: WebConfig, checks: list[bytes]) -> None:
    """An unknown user is checked against the hash of a known one, which is the same for each request of that user."""
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
    """A flood of wrong passwords evicts the oldest wrong one, and never the right one."""
    monkeypatch.setattr(access, "_MAX_WRONG", 10)
    assert may_read(config, basic("prometheus", PASSWORD))
    for number in range(50):
        assert not may_read(config, basic("prometheus", f"guess {number}"))
    assert len(config._passwords._wrong) == 10
    assert len(checks) == 51
    assert may_read(config, basic("prometheus", PASSWORD))
    assert not may_read(config, basic("prometheus", "guess 49"))
    assert len(checks) == 51
    assert not may_read(config, basic("prometheus", "guess 0"))
    assert len(checks) == 52


def test_no_password_is_kept(config: WebConfig) -> None:
    """Memory has digests with a random key: no passwords, and no digest that another process would make."""
    kept: list[bytes] = []
    for instance in (config, WebConfig(users=config.users)):
        assert may_read(instance, basic("prometheus", PASSWORD))
        kept += instance._passwords._right
    assert [len(digest) for digest in kept] == [32, 32]
    assert kept[0] != kept[1]


def test_one_check_at_a_time(config: WebConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Different passwords at the same time are checked one after the other."""
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


def test_the_event_loop_runs_during_a_check(config: WebConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check in its thread does not block the event loop, which answers other requests."""
    has_answered = threading.Event()
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: has_answered.wait(5))

    async def answers() -> tuple[bool, bool]:
        check = asyncio.create_task(config.authenticate(basic("prometheus", PASSWORD)))
        await asyncio.sleep(0)  # the check begins
        other = await config.authenticate(None)
        has_answered.set()
        return await check, other

    assert asyncio.run(answers()) == (True, False)
