"""Tests of marks over HTTP: who may mark, what is asked for, what is answered."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest
import requests

from locust_otel.core.marks import MAX_BODY_BYTES, TOKEN_VARIABLE, Marked, cleaned
from locust_otel.exporter.endpoint import server
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.marking import Marking, is_local
from locust_otel.exporter.endpoint.request import Answer, Request
from locust_otel.exporter.session import Origin
from locust_otel.wire import frames
from tests.unit.endpoints import Served, a_run, serving, settings

JSON = "application/json"
TOKEN = "s3same öffne dich"
SHOWN = f"Bearer {TOKEN}".encode().decode("latin-1")
MARK = {"mark": "db primary killed", "kind": "fault"}
PORT = 9646


class Marks:
    """What takes marks without a server, and what was marked."""

    def __init__(self, token: str = "") -> None:
        self.made: list[tuple[str, str]] = []
        self.run_id: str | None = "run-1"
        self.marking = Marking(self.mark, lambda: self.run_id, token)

    def mark(self, text: object, kind: object) -> Marked | None:
        """Mark it, where a run goes on."""
        pair = cleaned(text, kind)
        if self.run_id is None:
            return None
        self.made.append(pair)
        return Marked(self.run_id, 1_764_000_001.5)

    def post(self, body: Any = None, *, method: str = "POST", client: str = "127.0.0.1", **headers: str) -> Answer:
        """Post a mark, or something else."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        names = {"content-type": JSON} | {name.replace("_", "-").lower(): text for name, text in headers.items()}
        request = Request(method, "/-/mark", names, client, "http", PORT)
        return self.marking.answer(request, json.dumps(MARK).encode() if body is None else data)


def text(answer: Answer) -> str:
    """Return the body of an answer."""
    return b"".join(answer.pieces).decode()


@pytest.fixture
def marks() -> Marks:
    """Take marks of this machine."""
    return Marks()


@pytest.fixture
def guarded() -> Marks:
    """Take marks of this machine, and of others with a token."""
    return Marks(TOKEN)


def test_a_mark(marks: Marks) -> None:
    """A mark of this machine is made, and answered with the run and the time."""
    answer = marks.post()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(text(answer)) == {"run_id": "run-1", "time": 1_764_000_001.5}
    assert marks.made == [("db primary killed", "fault")]


def test_the_kind_is_optional(marks: Marks) -> None:
    """Without a kind it is a mark."""
    assert marks.post({"mark": "lunch"}, Content_Type="application/json; charset=utf-8").status == 200
    assert marks.made == [("lunch", "mark")]


def test_without_a_run(marks: Marks) -> None:
    """Where no run goes on there is nothing to mark."""
    marks.run_id = None
    answer = marks.post()
    assert (answer.status, text(answer)) == (409, "No run goes on that could be marked.\n")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 4000, "is not JSON"),
        ([], 'Send an object with a "mark"'),
        ("text", 'Send an object with a "mark"'),
        ({"kind": "fault"}, 'Send an object with a "mark"'),
        ({"mark": ""}, "The mark is empty"),
        ({"mark": None}, "A mark is a text, not a NoneType"),
        ({"mark": "x", "kind": "Two Words"}, "'Two Words' is no kind: write a word"),
        ({"mark": "x", "kind": None}, "a NoneType is no kind"),
        ({"mark": "x", "time": 5}, "'time' is not known here"),
    ],
)
def test_bad_input(marks: Marks, body: Any, sentence: str) -> None:
    """What cannot be marked is a 400 with a sentence that says why."""
    answer = marks.post(body)
    assert answer.status == 400
    assert sentence in text(answer)
    assert text(answer).count("\n") == 1
    assert marks.made == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_can_send(marks: Marks, kind: str) -> None:
    """The types that a browser posts to anybody without asking are refused."""
    answer = marks.post(Content_Type=kind)
    assert answer.status == 400
    assert "Content-Type: application/json" in text(answer)
    assert marks.made == []


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", f"https://localhost:{PORT}", ""]
)
def test_another_origin(guarded: Marks, origin: str) -> None:
    """A page of another origin may not mark, and our own may."""
    answer = guarded.post(Origin=origin)
    assert (answer.status, text(answer)) == (403, "A page of another site may not mark.\n")
    assert guarded.post(Sec_Fetch_Site="cross-site").status == 403
    assert guarded.post(Host="evil.example", Origin="http://evil.example").status == 403
    assert guarded.made == []
    assert guarded.post(Origin=f"http://127.0.0.1:{PORT}", Sec_Fetch_Site="same-origin").status == 200


def test_no_other_site_is_told_that_it_may(marks: Marks) -> None:
    """A preflight is refused, and no answer allows another origin to read it."""
    for method in ("OPTIONS", "GET", "POST"):
        answer = marks.post(method=method)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert marks.post(method="OPTIONS").status == 405
    assert marks.post(method="DELETE").headers["Allow"] == "GET, HEAD, POST"


def test_the_token(guarded: Marks) -> None:
    """On this machine no token is needed, a wrong one is refused, and the right one is taken."""
    assert guarded.post().status == 200
    wrong = guarded.post(Authorization="Bearer sesame")
    assert (wrong.status, "LOCUST_OTEL_MARK_TOKEN" in text(wrong), TOKEN in text(wrong)) == (403, True, False)
    assert guarded.post(Authorization=SHOWN.replace("Bearer", "bearer")).status == 200


@pytest.mark.parametrize("forwarded", ["X_Forwarded_For", "Forwarded", "Via"])
def test_through_a_proxy(guarded: Marks, forwarded: str) -> None:
    """What comes through a proxy comes from elsewhere, and needs the token."""
    refused = guarded.post(**{forwarded: "127.0.0.1"})
    assert (refused.status, "Authorization: Bearer" in text(refused)) == (403, True)
    assert guarded.post(**{forwarded: "127.0.0.1"}, Authorization=SHOWN).status == 200


def test_from_elsewhere(guarded: Marks) -> None:
    """What comes from another machine needs the token."""
    assert guarded.post(client="10.0.0.1").status == 403
    assert guarded.post(client="10.0.0.1", Authorization=SHOWN).status == 200


@pytest.mark.parametrize("shown", ["Bearer", "Bearer ", "Bearer \t", "Basic Og=="])
def test_without_a_token_nobody_else_may(marks: Marks, shown: str) -> None:
    """Where no token is set an empty one opens nothing."""
    assert marks.post(X_Forwarded_For="10.0.0.1", Authorization=shown).status == 403
    assert marks.made == []


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("fe80::1%eth0", False), ("", False), ("localhost", False),
    ],
)  # fmt: skip
def test_this_machine(address: str, local: bool) -> None:
    """Loopback addresses of both kinds are this machine, and nothing else is."""
    assert is_local(Request("POST", "/-/mark", {}, address)) is local


def test_who_is_there(marks: Marks) -> None:
    """A GET tells that it is us, and the run."""
    assert json.loads(text(marks.post(method="GET"))) == {"service": "locust-otel", "run_id": "run-1"}
    assert marks.post(method="GET", Origin="http://evil.example").status == 403


# --------------------------------------------------------------------------------------------------- over a connection


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve a run that goes on."""
    with serving() as made:
        made.session.state.run = a_run()
        yield made


def made(served: Served) -> dict[tuple[str, str], int]:
    """Return what was marked."""
    run = served.session.run
    assert run is not None
    return run.marks


def post(served: Served, **headers: str) -> requests.Response:
    """Post a mark."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{served.url}/-/mark", json=MARK, headers=names, timeout=5)


def test_a_mark_of_a_run(served: Served) -> None:
    """It is counted in the run, once, and answered with its id; GET and HEAD tell the run."""
    answer = post(served)
    assert (answer.status_code, answer.json()["run_id"]) == (200, "run-1")
    assert abs(answer.json()["time"] - time.time()) < 5
    assert made(served) == {("db primary killed", "fault"): 1}
    assert served.ask("/-/mark").json() == {"service": "locust-otel", "run_id": "run-1"}
    head = served.ask("/-/mark", "HEAD")
    assert (head.status_code, head.content) == (200, b"")


def test_a_run_that_is_over(served: Served) -> None:
    """A run that has stopped takes no marks, and is not told as the one that goes on."""
    run = served.session.run
    assert run is not None
    run.stop(time.monotonic())
    assert post(served).status_code == 409
    assert served.ask("/-/mark").json()["run_id"] is None


def test_a_mark_at_a_worker() -> None:
    """The master is told of it."""
    served = Served(settings(export_from="workers"), Origin(name="host-1", is_worker=True))
    try:
        served.session.state.run = a_run()
        assert post(served).json()["run_id"] == "run-1"
        assert served.told == [(frames.MARKED, "db primary killed", "fault")]
        assert made(served) == {}
    finally:
        served.stop()


def test_basic_auth_is_asked_for_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With users, a mark needs one of them or the token, on this machine too; from elsewhere only the token will do."""
    monkeypatch.setenv(TOKEN_VARIABLE, "sesame")
    users = {"prometheus": bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()}
    with serving(web_config=WebConfig(users=users)) as served:
        served.session.state.run = a_run()
        basic = requests.auth._basic_auth_str("prometheus", "pw")
        assert post(served).status_code == 401
        assert post(served, Authorization="Bearer wrong").status_code == 401
        assert made(served) == {}
        assert post(served, Authorization=basic).status_code == 200
        assert post(served, Authorization="Bearer sesame", X_Forwarded_For="10.0.0.1").status_code == 200
        assert post(served, Authorization=basic, X_Forwarded_For="10.0.0.1").status_code == 403
        assert served.ask(Authorization="Bearer sesame").status_code == 401


HEAD = b"POST /-/mark HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "more",
    [
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"\r\n",
        b"Content-Length: 0\r\n\r\n",
        b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
        b"Content-Length: 9999999\r\n\r\n",
    ],
)
def test_a_body_of_no_or_too_great_length(served: Served, more: bytes) -> None:
    """It is not read: the answer comes at once, and the connection is closed."""
    answer = served.send(HEAD + b"Connection: close\r\n" + more)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"at most 4096 bytes" in answer


@pytest.mark.parametrize("path", ["/-/mark?x=1", "/-/mark", "/%2D/mark"])
def test_paths(served: Served, path: str) -> None:
    """A query changes nothing, and a path that is written otherwise is the same path."""
    body = json.dumps(MARK).encode()
    head = HEAD.replace(b"/-/mark", path.encode()) + b"Content-Length: %d\r\n\r\n" % len(body)
    assert served.send(head + body).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [1, 10, MAX_BODY_BYTES])
def test_a_body_in_parts(served: Served, size: int) -> None:
    """A body may come in parts, and be as long as is allowed."""
    body = json.dumps(MARK).encode().ljust(MAX_BODY_BYTES)
    parts = [body[:size], body[size:]]
    answer = served.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body), *parts, pause_s=0.02)
    assert answer.startswith(b"HTTP/1.1 200")
    assert made(served) == {("db primary killed", "fault"): 1}


def test_curl_asks_first(served: Served) -> None:
    """A client that waits to be told to go on is told."""
    body = json.dumps(MARK).encode()
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = served.send(head, body, pause_s=0.05)
    assert answer.startswith(b"HTTP/1.1 100 ")
    assert b"\r\n\r\nHTTP/1.1 200 OK" in answer
    assert len(made(served)) == 1


def test_a_client_that_asks_first_is_refused_at_once(served: Served) -> None:
    """A client that waits with too long a body is not told to send it."""
    answer = served.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_slow_body_is_cut_off(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The time for an answer is for the body too: a client that sends half of one is cut off, without a line."""
    monkeypatch.setattr(server, "ANSWER_S", 0.2)
    with serving() as served:
        served.session.state.run = a_run()
        assert served.send(HEAD + b"Content-Length: 100\r\n\r\n{") == b""
        assert made(served) == {}
        assert post(served).status_code == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("linger", [struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)], ids=["closed", "reset"])
def test_a_body_that_is_cut_off(served: Served, capfd: pytest.CaptureFixture[str], linger: bytes) -> None:
    """A client that leaves in the middle of its body has marked nothing, and nothing is printed over it."""
    with served.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.sendall(HEAD + b"Content-Length: 30\r\n\r\n" + b'{"mark": "x"}')
        time.sleep(0.05)
    time.sleep(0.05)
    assert made(served) == {}
    assert capfd.readouterr() == ("", "")
