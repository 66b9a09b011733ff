"""Tests of the client of marks, without a server: its requests, and its results for each answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.marks import TOKEN_VARIABLE, Marked
from locust_otel.gameday import mark_client
from locust_otel.gameday.mark_client import MarkSender, NotMarkedError, base_of, find, post

TOKEN = "s3same öffne dich"
REFUSED = web.UnreachableError(ConnectionRefusedError(111, "Connection refused"))
MARKED = web.Reply(200, b'{"run_id": "run-1", "time": 5}')


class Network:
    """Stands in for `web.send`: has an answer for each base URL, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, web.Reply] = {}
        self.requests: list[tuple[str, Any, str]] = []

    def send(self, url: str, body: bytes | None, *, authorization: str, **_: object) -> web.Reply:
        """Answer, or refuse the connection."""
        base, path = url.removesuffix("/-/mark"), url[-7:]
        assert path == "/-/mark"
        self.requests.append((base, None if body is None else json.loads(body), authorization))
        if base not in self.answers:
            raise REFUSED
        return self.answers[base]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Give a network without a server."""
    network = Network()
    monkeypatch.setattr(web, "send", network.send)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    return network


def load_test(run_id: str | None) -> web.Reply:
    """Return the answer of a load test to the question for its run."""
    return web.Reply(200, json.dumps({"service": "locust-otel", "run_id": run_id}).encode())


@pytest.mark.parametrize("path", ["", "/", "/metrics"])
def test_the_base_of_a_url(path: str) -> None:
    """A URL may be that of the metrics."""
    assert base_of(f"https://load.example.com:9646{path}") == "https://load.example.com:9646"


@pytest.mark.parametrize(
    ("url", "slug"),
    [
        ("127.0.0.1:9646", "mark-url"),
        ("ftp://127.0.0.1", "mark-url"),
        ("http://127.0.0.1:99999", "mark-url"),
        ("http://me:secret@127.0.0.1:9646", "mark-url-password"),
    ],
)
def test_urls_that_are_refused(url: str, slug: str) -> None:
    """Other URLs, and those with a password, are refused; the error does not contain a password."""
    with pytest.raises(ConfigurationError) as raised:
        base_of(url)
    assert raised.value.slug == slug
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("run_id", ["run-1", None])
def test_the_one_load_test_is_found(network: Network, run_id: str | None) -> None:
    """Other servers on the ports are ignored; a load test without a run is one too."""
    network.answers = {"http://127.0.0.1:9646": web.Reply(404, b"<h1>"), "http://127.0.0.1:9655": load_test(run_id)}
    assert find() == "http://127.0.0.1:9655"
    assert {base for base, _, _ in network.requests} == {f"http://127.0.0.1:{port}" for port in range(9646, 9656)}


def test_no_load_test_is_found(network: Network) -> None:
    """The error names the ports."""
    network.answers = {"http://127.0.0.1:9646": web.Reply(200, b'{"service": "other"}')}
    with pytest.raises(NotMarkedError, match="No load test answers on ports 9646 to 9655"):
        find()


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (load_test("run-1"), None),
        (load_test("run-2"), r"9646 \(run-1\), .*9647 \(run-2\)\. Choose one with --url"),
        (load_test(None), r"9647 \(no run\)"),
        (web.Reply(401, b"Unauthorized\n"), r"9647 \(no run\)"),
    ],
    ids=["same run", "other run", "no run", "secret run"],
)
def test_several_load_tests_are_found(network: Network, second: web.Reply, error: str | None) -> None:
    """Several processes of one run are one load test; of several runs the user must choose one."""
    network.answers = {"http://127.0.0.1:9646": load_test("run-1"), "http://127.0.0.1:9647": second}
    if error is None:
        assert find() == "http://127.0.0.1:9646"
    else:
        with pytest.raises(ConfigurationError, match=error):
            find()


def test_a_mark_is_sent(network: Network) -> None:
    """Text and kind are JSON, the token is a header in UTF-8, and the answer has run and time."""
    network.answers = {"http://a": MARKED}
    assert post("http://a", "db killed", "fault", token=TOKEN) == Marked("run-1", 5.0)
    ((_, mark, authorization),) = network.requests
    assert mark == {"mark": "db killed", "kind": "fault"}
    assert authorization.encode("latin-1").decode() == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (None, NotMarkedError, "http://a/-/mark cannot be reached: Connection refused."),
        (web.Reply(200, b"{}"), NotMarkedError, "http://a/-/mark does not answer as a load test does."),
        (web.Reply(409, b"No run.\n"), NotMarkedError, "http://a/-/mark: No run."),
        (web.Reply(400, b"Too long.\n"), ConfigurationError, "Too long. Change the text or the kind of the mark."),
        (web.Reply(401, b""), ConfigurationError, "It answers with status 401. Set LOCUST_OTEL_MARK_TOKEN"),
        (web.Reply(403, b"Wrong token."), ConfigurationError, "Wrong token. Set LOCUST_OTEL_MARK_TOKEN"),
        (web.Reply(404, b"<h1>"), ConfigurationError, "It answers with status 404. Give the URL"),
    ],
)
def test_a_mark_that_is_not_set(network: Network, reply: web.Reply | None, error: type[Exception], text: str) -> None:
    """The command gets an error with the reason; for a game day the same is a problem, and not an error."""
    if reply is not None:
        network.answers["http://a"] = reply
    with pytest.raises(error) as raised:
        post("http://a", "x", "mark")
    assert text in str(raised.value)
    sender = MarkSender("http://a/metrics")
    sender.mark("x", "mark")
    assert sender.problem == f"No mark was set: {raised.value}"


def test_the_marks_of_a_game_day(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go to the URL of /metrics, with the token of the environment; without a URL nothing is sent."""
    monkeypatch.setenv(TOKEN_VARIABLE, f" {TOKEN}\n")
    network.answers = {"http://a:1": MARKED}
    sender = MarkSender("http://a:1/metrics")
    sender.mark("db", mark_client.FAULT_START)
    assert sender.problem == ""
    assert [mark for _, mark, _ in network.requests] == [{"mark": "db", "kind": "fault-start"}]
    lost = MarkSender("")
    lost.mark("db", mark_client.FAULT_END)
    assert lost.problem == "The run's /metrics were not found: no marks are set. Give --metrics."
    assert len(network.requests) == 1
