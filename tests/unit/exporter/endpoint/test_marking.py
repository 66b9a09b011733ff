"""Tests of marks over HTTP: which clients may mark, valid requests, and the answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest
import requests

from locust_otel.core.marks import MAX_BODY_BYTES, TOKEN_VARIABLE, Marked, cleaned
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.marking import Marking, is_local
from locust_otel.exporter.endpoint.request import Answer, Request
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Origin
from locust_otel.wire import frames
from tests.unit.endpoints import Response, Served, active_run, serving

JSON = "application/json"
TOKEN = "s3same öffne dich"
BEARER = f"Bearer {TOKEN}".encode().decode("latin-1")
MARK = {"mark": "db primary killed", "kind": "fault"}
BODY = json.dumps(MARK).encode()
COUNTED = {("db primary killed", "fault"): 1}
PORT = 9646


class Marks:
    """A run that is marked, without a server.

    Attributes:
        made: Mark and kind of each mark.
        run_id: The active run; None without one.
    """

    def __init__(self, token: str = "") -> None:
        self.made: list[tuple[str, str]] = []
        self.run_id: str | None = "run-1"
        self.marking = Marking(self.mark, lambda: self.run_id, token)

    def mark(self, text: object, kind: object) -> Marked | None:
        """Mark the active run."""
        pair = cleaned(text, kind)
        if self.run_id is None:
            return None
        self.made.append(pair)
        return Marked(self.run_id, 1_764_000_001.5)

    def post(self, body: Any = BODY, *, method: str = "POST", client: str = "127.0.0.1", **headers: str) -> Answer:
        """Return the answer to a mark, or to another request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        names = {"content-type": JSON} | {name.replace("_", "-").lower(): text for name, text in headers.items()}
        return self.marking.answer(Request(method, "/-/mark", names, client, "http", PORT), data)


def text(answer: Answer) -> str:
    """Return the body of an answer."""
    return b"".join(answer.pieces).decode()


@pytest.fixture
def marks() -> Marks:
    """Let only this machine mark."""
    return Marks()


@pytest.fixture
def guarded() -> Marks:
    """Let other machines mark with a token."""
    return Marks(TOKEN)


def test_a_mark(marks: Marks) -> None:
    """A mark from this machine is answered with the run and the time."""
    answer = marks.post()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(text(answer)) == {"run_id": "run-1", "time": 1_764_000_001.5}
    assert marks.made == [("db primary killed", "fault")]


def test_without_a_run(marks: Marks) -> None:
    """Without an active run there is nothing to mark."""
    marks.run_id = None
    assert marks.post().status == 409


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"\xff\xfe", "is not JSON"),
        ({"kind": "fault"}, 'Send an object with a "mark"'),
        ({"mark": "x", "kind": "Two Words"}, "'Two Words'"),
    ],
)
def test_bad_input(marks: Marks, body: Any, sentence: str) -> None:
    """A request that is not a mark is a 400, with the reason in one line."""
    answer = marks.post(body)
    assert (answer.status, text(answer).count("\n"), marks.made) == (400, 1, [])
    assert sentence in text(answer)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_types_that_a_form_can_send(marks: Marks, kind: str) -> None:
    """The types that a browser posts to other origins without asking are refused."""
    answer = marks.post(Content_Type=kind)
    assert (answer.status, marks.made) == (400, [])
    assert "Content-Type: application/json" in text(answer)


@pytest.mark.parametrize(
    "headers",
    [
        *({"Origin": origin} for origin in ("http://a.example", "null", "http://127.0.0.1:1", "https://localhost", "")),
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": "http://a.example", "Host": "a.example"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_another_origin(guarded: Marks, headers: dict[str, str], method: str) -> None:
    """A page of another origin may neither mark nor read."""
    answer = guarded.post(method=method, Authorization=BEARER, **headers)
    assert (answer.status, text(answer), guarded.made) == (403, "A page of another site may not mark.\n", [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_our_own_origin(marks: Marks, host: str) -> None:
    """Our own page may mark."""
    assert marks.post(Origin=f"http://{host}:{PORT}", Sec_Fetch_Site="same-origin").status == 200


def test_other_methods(marks: Marks) -> None:
    """Other methods, a preflight too, are refused, and no answer lets another origin read it."""
    for method, status in {"OPTIONS": 405, "DELETE": 405, "GET": 200, "HEAD": 200, "POST": 200}.items():
        answer = marks.post(method=method)
        assert answer.status == status
        assert answer.headers.get("Allow") == ("GET, HEAD, POST" if status == 405 else None)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_the_token_on_this_machine(guarded: Marks) -> None:
    """This machine needs no token, but a wrong one is refused, without showing the right one."""
    assert guarded.post().status == 200
    assert guarded.post(Authorization=BEARER.replace("Bearer", "bearer")).status == 200
    wrong = guarded.post(Authorization="Bearer sesame")
    assert (wrong.status, TOKEN_VARIABLE in text(wrong), TOKEN in text(wrong)) == (403, True, False)


@pytest.mark.parametrize("forwarded", [{"X_Forwarded_For": "127.0.0.1"}, {"Forwarded": "x"}, {"Via": "x"}, {}])
def test_the_token_from_another_machine(guarded: Marks, marks: Marks, forwarded: dict[str, str]) -> None:
    """Another machine, or a proxy on this one, needs the token."""
    client = "127.0.0.1" if forwarded else "10.0.0.1"
    refused = guarded.post(client=client, **forwarded)
    assert (refused.status, "Authorization: Bearer" in text(refused)) == (403, True)
    assert guarded.post(client=client, Authorization=BEARER, **forwarded).status == 200
    for token in ("Bearer", "Bearer ", "Bearer \t", "Basic Og=="):  # without a token set, an empty one is not one
        assert marks.post(client=client, Authorization=token, **forwarded).status == 403
    refused = marks.post(client=client, **forwarded)
    assert text(refused).startswith("Only this machine may mark.")
    assert marks.made == []


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("fe80::1%eth0", False), ("", False), ("localhost", False),
    ],
)  # fmt: skip
def test_this_machine(address: str, local: bool) -> None:
    """Only loopback addresses are this machine."""
    assert is_local(Request("POST", "/-/mark", {}, address)) is local


# ------------------------------------------------------------------------------------------------- at the endpoint


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve an active run."""
    with serving() as made:
        made.session.state.run = active_run()
        yield made


def run_of(served: Served) -> Run:
    """Return the run."""
    assert served.session.run is not None
    return served.session.run


def post(served: Served, *parts: bytes, **options: Any) -> Response:
    """Post a mark, or another body."""
    return served.ask("/-/mark", "POST", *(parts or (BODY,)), **{"Content_Type": JSON, **options})


def test_a_mark_of_a_run(served: Served) -> None:
    """The run counts the mark, and the answer has its id; a GET has the run, until it is over."""
    response = post(served)
    assert (response.status, response.json["run_id"]) == (200, "run-1")
    assert abs(response.json["time"] - time.time()) < 5
    assert run_of(served).marks == COUNTED
    assert served.ask("/-/mark").json == {"service": "locust-otel", "run_id": "run-1"}
    run_of(served).stop(time.monotonic())
    assert post(served).status == 409
    assert served.ask("/-/mark").json["run_id"] is None
    assert run_of(served).marks == COUNTED


def test_a_mark_at_a_worker() -> None:
    """A worker sends the mark to its master."""
    with serving(origin=Origin(name="host-1", is_worker=True), export_from="workers") as served:
        served.session.state.run = active_run()
        assert post(served).json["run_id"] == "run-1"
        assert served.messages == [(frames.MARKED, "db primary killed", "fault")]
        assert run_of(served).marks == {}


def test_basic_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    """With users, a mark of this machine needs a user or the token; from another machine it needs the token."""
    monkeypatch.setenv(TOKEN_VARIABLE, "sesame")
    users = {"prometheus": bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()}
    basic = requests.auth._basic_auth_str("prometheus", "pw")
    with serving(web_config=WebConfig(users=users)) as served:
        served.session.state.run = active_run()
        assert post(served).status == 401
        assert post(served, Authorization="Bearer wrong").status == 401
        assert post(served, client="10.0.0.1", Authorization=basic).status == 403
        assert run_of(served).marks == {}
        assert post(served, Authorization=basic).status == 200
        assert post(served, client="10.0.0.1", Authorization="Bearer sesame").status == 200
        assert served.ask(Authorization="Bearer sesame").status == 401


@pytest.mark.parametrize(
    "headers",
    [{"Transfer_Encoding": "chunked"}, *({"Content_Length": str(n)} for n in (0, MAX_BODY_BYTES + 1, 9_999_999))],
)
def test_a_body_without_a_length_or_too_long(served: Served, headers: dict[str, str]) -> None:
    """Such a body is not read: the answer comes at once."""
    response = post(served, **headers)
    assert (response.status, "at most 4096 bytes" in response.text) == (400, True)
    assert run_of(served).marks == {}


@pytest.mark.parametrize("size", [1, 10, MAX_BODY_BYTES])
def test_a_body_in_parts(served: Served, size: int) -> None:
    """A body of the longest length may come in parts."""
    body = BODY.ljust(MAX_BODY_BYTES)
    assert post(served, body[:size], body[size:]).status == 200
    assert run_of(served).marks == COUNTED


def test_a_body_that_is_cut_off(served: Served) -> None:
    """A client that disconnects before the end of its body has marked nothing."""
    assert post(served, b'{"mark": "x"}', Content_Length="30").status == 400
    assert run_of(served).marks == {}
