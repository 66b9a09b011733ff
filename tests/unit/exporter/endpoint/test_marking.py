"""Tests of marks over HTTP: who may mark, what is asked for, what is answered; over sockets of this machine."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import bcrypt
import gevent
import pytest
import requests

from locust_otel.core.families import ALL_SCOPES
from locust_otel.core.marks import Marked, cleaned
from locust_otel.exporter.endpoint import connections
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.marking import MAX_BODY_BYTES, MarkEndpoint, is_local, marked
from locust_otel.exporter.endpoint.server import MetricsServer
from tests.unit.factories import rich_snapshot

JSON = "application/json"
TOKEN = "s3same öffne dich"
MARK = {"mark": "db primary killed", "kind": "fault"}


class Marks:
    """A server that takes marks, and what was marked."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []
        self.run_id: str | None = "run-1"
        self.server: MetricsServer | None = None

    def mark(self, text: object, kind: object) -> Marked | None:
        """Mark it, where a run goes on."""
        pair = cleaned(text, kind)
        if self.run_id is None:
            return None
        self.made.append(pair)
        return Marked(self.run_id, 1_764_000_001.5)

    def start(self, *, token: str = "", users: dict[str, str] | None = None) -> Marks:
        """Listen."""
        config = WebConfig(users=users) if users else None
        self.server = MetricsServer(rich_snapshot, lambda _: None, ALL_SCOPES, config)
        self.server.marking = MarkEndpoint(self.mark, lambda: self.run_id, token)
        self.server.start("127.0.0.1", 0)
        return self

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self.server is not None
        return int(self.server.url.rsplit(":", 1)[1].removesuffix("/metrics"))

    def post(self, body: Any = None, *, method: str = "POST", **headers: str) -> requests.Response:
        """Post a mark, or something else."""
        data = body if isinstance(body, bytes) else json.dumps(MARK if body is None else body).encode()
        names = {"Content-Type": JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.port}/-/mark"
        return requests.request(method, url, data=data if method == "POST" else None, headers=names, timeout=5)

    def send(self, *sent: bytes, pause_s: float = 0.0) -> bytes:
        """Send bytes, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            for content in sent:
                connection.sendall(content)
                gevent.sleep(pause_s)
            received = b""
            while part := connection.recv(65_536):
                received += part
            return received


@pytest.fixture
def marks() -> Iterator[Marks]:
    """Make a server that a test starts, and stop it."""
    made = Marks()
    yield made
    if made.server is not None:
        made.server.stop()


def test_a_mark(marks: Marks) -> None:
    """A mark of this machine is made, and answered with the run and the time."""
    answer = marks.start().post()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert answer.json() == {"run_id": "run-1", "time": 1_764_000_001.5}
    assert marks.made == [("db primary killed", "fault")]


def test_the_kind_is_optional(marks: Marks) -> None:
    """Without a kind it is a mark."""
    assert marks.start().post({"mark": "lunch"}, Content_Type="application/json; charset=utf-8").status_code == 200
    assert marks.made == [("lunch", "mark")]


def test_without_a_run(marks: Marks) -> None:
    """Where no run goes on there is nothing to mark."""
    marks.run_id = None
    answer = marks.start().post()
    assert (answer.status_code, answer.text) == (409, "No run goes on that could be marked.\n")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "Send a body"),
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
        ({"mark": "x" * MAX_BODY_BYTES}, f"at most {MAX_BODY_BYTES} bytes"),
    ],
)
def test_bad_input(marks: Marks, body: Any, sentence: str) -> None:
    """What cannot be marked is a 400 with a sentence that says why."""
    answer = marks.start().post(body)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert answer.text.count("\n") == 1
    assert marks.made == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_can_send(marks: Marks, kind: str) -> None:
    """The types that a browser posts to anybody without asking are refused."""
    answer = marks.start().post(Content_Type=kind)
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.text
    assert marks.made == []


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost:{port}", ""]
)
def test_another_origin(marks: Marks, origin: str) -> None:
    """A page of another origin may not mark, and our own may."""
    marks.start(token=TOKEN)
    answer = marks.post(Origin=origin.format(port=marks.port))
    assert (answer.status_code, answer.text) == (403, "A page of another site may not mark.\n")
    assert marks.post(Sec_Fetch_Site="cross-site").status_code == 403
    assert marks.post(Host="evil.example", Origin="http://evil.example").status_code == 403
    assert marks.made == []
    assert marks.post(Origin=f"http://127.0.0.1:{marks.port}", Sec_Fetch_Site="same-origin").status_code == 200


def test_no_other_site_is_told_that_it_may(marks: Marks) -> None:
    """A preflight is refused, and no answer allows another origin to read it."""
    marks.start()
    for method in ("OPTIONS", "GET", "POST"):
        answer = marks.post(method=method)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert marks.post(method="OPTIONS").status_code == 405
    assert marks.post(method="DELETE").headers["Allow"] == "GET, HEAD, POST"


def test_the_token(marks: Marks) -> None:
    """On this machine no token is needed, a wrong one is refused, and the right one is taken."""
    marks.start(token=TOKEN)
    assert marks.post().status_code == 200
    wrong = marks.post(Authorization="Bearer sesame")
    assert (wrong.status_code, "LOCUST_OTEL_MARK_TOKEN" in wrong.text, TOKEN in wrong.text) == (403, True, False)
    assert marks.post(Authorization=f"bearer {TOKEN}".encode().decode("latin-1")).status_code == 200


@pytest.mark.parametrize("forwarded", ["X_Forwarded_For", "Forwarded", "Via"])
def test_from_elsewhere(marks: Marks, forwarded: str) -> None:
    """What comes through a proxy comes from elsewhere, and needs the token; without one it cannot mark."""
    marks.start(token=TOKEN)
    refused = marks.post(**{forwarded: "127.0.0.1"})
    assert (refused.status_code, "Authorization: Bearer" in refused.text) == (403, True)
    shown = f"Bearer {TOKEN}".encode().decode("latin-1")
    assert marks.post(**{forwarded: "127.0.0.1"}, Authorization=shown).status_code == 200


@pytest.mark.parametrize("shown", ["Bearer", "Bearer ", "Bearer \t", "Basic Og=="])
def test_without_a_token_nobody_else_may(marks: Marks, shown: str) -> None:
    """Where no token is set an empty one opens nothing."""
    answer = marks.start().post(X_Forwarded_For="10.0.0.1", Authorization=shown)
    assert answer.status_code == 403
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
    assert is_local({"REMOTE_ADDR": address}) is local


def test_basic_auth_is_asked_for_here_too(marks: Marks) -> None:
    """With users, a mark needs one of them or the token, on this machine too; from elsewhere only the token will do."""
    marks.start(token="sesame", users={"prometheus": bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()})
    basic = requests.auth._basic_auth_str("prometheus", "pw")
    assert marks.post().status_code == 401
    assert marks.post(Authorization="Bearer wrong").status_code == 401
    assert marks.made == []
    assert marks.post(Authorization=basic).status_code == 200
    assert marks.post(Authorization="Bearer sesame", X_Forwarded_For="10.0.0.1").status_code == 200
    assert marks.post(Authorization=basic, X_Forwarded_For="10.0.0.1").status_code == 403
    metrics = requests.get(
        f"http://127.0.0.1:{marks.port}/metrics", headers={"Authorization": "Bearer sesame"}, timeout=5
    )
    assert metrics.status_code == 401


def test_who_is_there(marks: Marks) -> None:
    """A GET tells that it is us, and the run; HEAD is that without a body."""
    marks.start()
    assert marks.post(method="GET").json() == {"service": "locust-otel", "run_id": "run-1"}
    head = marks.post(method="HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert marks.post(method="GET", Origin="http://evil.example").status_code == 403


HEAD = b"POST /-/mark HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "more", [b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"\r\n", b"Content-Length: 9999999\r\n\r\n"]
)
def test_a_body_of_no_or_too_great_length(marks: Marks, more: bytes) -> None:
    """It is not read: the answer comes at once, and the connection is closed."""
    answer = marks.start().send(HEAD + b"Connection: close\r\n" + more)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert b"at most 4096 bytes" in answer


def test_curl_asks_first(marks: Marks) -> None:
    """A client that waits to be told to go on is told."""
    body = json.dumps(MARK).encode()
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = marks.start().send(head, body, pause_s=0.05)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert len(marks.made) == 1


def test_a_slow_body_loses_its_place(
    marks: Marks, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The time for a request is for its body too: whoever sends half of one is sent away without a word in the log."""
    monkeypatch.setattr(connections.Phase.HEAD, "_value_", (0.2, 0.05))
    monkeypatch.setattr(connections, "_LOOK_EVERY_S", 0.02)
    marks.start()
    with gevent.Timeout(4):
        answer = marks.send(HEAD + b"Content-Length: 100\r\n\r\n{")
    assert not answer.startswith(b"HTTP/1.1 200")
    assert marks.made == []
    assert marks.post().status_code == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("linger", [struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)], ids=["closed", "reset"])
def test_a_body_that_is_cut_off(marks: Marks, capfd: pytest.CaptureFixture[str], linger: bytes) -> None:
    """A client that leaves in the middle of its body has marked nothing, and nothing is printed over it."""
    marks.start()
    with socket.create_connection(("127.0.0.1", marks.port), timeout=5) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.sendall(HEAD + b"Content-Length: 30\r\n\r\n" + b'{"mark": "x"}')
        gevent.sleep(0.05)
    gevent.sleep(0.05)
    assert marks.made == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("path", ["/-/mark?x=1", "/-/mark", "/%2D/mark"])
def test_paths(marks: Marks, path: str) -> None:
    """A query changes nothing, and a path that is written otherwise can do no harm."""
    body = json.dumps(MARK).encode()
    head = HEAD.replace(b"/-/mark", path.encode()) + b"Content-Length: %d\r\n\r\n" % len(body)
    answer = marks.start().send(head + body)
    assert answer.startswith(b"HTTP/1.1 400" if "%" in path else b"HTTP/1.1 200")


def test_elsewhere_a_server_takes_no_marks() -> None:
    """Without an endpoint for them, the path is not there."""
    server = MetricsServer(rich_snapshot, lambda _: None, ALL_SCOPES, None)
    server.start("127.0.0.1", 0)
    try:
        url = server.url.removesuffix("/metrics") + "/-/mark"
        assert requests.get(url, timeout=5).status_code == 404
        assert requests.post(url, json=MARK, timeout=5).status_code == 405
    finally:
        server.stop()


def test_what_is_asked_for_is_marked_once() -> None:
    """The same answer is given without a server, for the page of Locust's own."""
    made: list[tuple[object, object]] = []

    def mark(text: object, kind: object) -> Marked:
        made.append((text, kind))
        return Marked("run-1", 2.0)

    answer = marked(json.dumps(MARK).encode(), JSON, mark)
    assert (answer.status, json.loads(answer.body)) == ("200 OK", {"run_id": "run-1", "time": 2.0})
    assert made == [("db primary killed", "fault")]
