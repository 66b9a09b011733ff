"""Tests of the live page in Locust's web UI, on Locust's own application without a socket."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from locust.env import Environment

from locust_otel.core.marks import cleaned
from locust_otel.plugin import web_page
from locust_otel.plugin.web_page import is_same_origin
from tests.unit.factories import Admin, Shopper

POLICY = "default-src 'none'"
PAGE = "<!doctype html><title>Live load test</title>"


class Bridge:
    """A bridge whose exporter answers what it is told to.

    Attributes:
        answers: By question; where there is none the exporter does not answer.
        asked: Every question.
        marked: Every mark.
    """

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.answers: dict[str, Any] = {"html": {"html": PAGE, "policy": POLICY}, "json": '{"run": null}'}
        self.asked: list[str] = []
        self.marked: list[tuple[str, str]] = []

    def ask(self, question: str) -> Any:
        """Answer a question."""
        self.asked.append(question)
        if question not in self.answers:
            raise TimeoutError("the exporter did not answer within 2 s")
        return self.answers[question]

    def mark(self, text: str, kind: str) -> bool:
        """Mark something, where a run is active."""
        pair = cleaned(text, kind)
        if self.run_id is not None:
            self.marked.append(pair)
        return self.run_id is not None


class Site:
    """A web UI with the page, and a client of it."""

    def __init__(self, **web_ui: Any) -> None:
        environment: Any = Environment(user_classes=[Shopper, Admin])
        environment.create_local_runner()
        self.web_ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True, **web_ui)
        self.bridge = Bridge()
        self.is_installed = web_page.install(self.web_ui, self.bridge)  # type: ignore[arg-type]
        self.client = self.web_ui.app.test_client()

    def mark(self, body: Any = None, **headers: str) -> Any:
        """Post a mark."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else json.dumps(body or {"mark": "db killed", "kind": "fault"})
        return self.client.post("/slo/mark", data=data, headers={"Content-Type": "application/json", **names})


@pytest.fixture(autouse=True)
def _without_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the arguments of pytest, which Locust reads for its own page."""
    monkeypatch.setattr(sys, "argv", ["locust"])


@pytest.fixture
def site() -> Site:
    """Make a site."""
    return Site()


def test_the_page_and_its_values(site: Site) -> None:
    """Both are what the exporter answers, as it came; the page is asked for once, the values each time."""
    for _ in range(2):
        answer = site.client.get("/slo")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert (answer.text, answer.headers["Content-Security-Policy"]) == (PAGE, POLICY)
        answer = site.client.get("/slo/data")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        assert (answer.get_json(), answer.headers["X-Content-Type-Options"]) == ({"run": None}, "nosniff")
    assert site.bridge.asked == ["html", "json", "json"]


@pytest.mark.parametrize(("path", "question"), [("/slo", "html"), ("/slo/data", "json")])
def test_an_exporter_that_does_not_answer(site: Site, path: str, question: str) -> None:
    """The page says so in a sentence; when it answers again, so does the page."""
    answer = site.bridge.answers.pop(question)
    silent = site.client.get(path)
    assert silent.status_code == 503
    assert silent.text == "The page cannot be shown now: the exporter did not answer within 2 s.\n"
    site.bridge.answers[question] = answer
    assert site.client.get(path).status_code == 200


def test_a_mark(site: Site) -> None:
    """A mark of the page is in the run; without one there is nothing to mark."""
    answer = site.mark()
    assert (answer.status_code, answer.text) == (409, "No run goes on that could be marked.\n")
    site.bridge.run_id = "run-1"
    answer = site.mark(Origin="http://localhost", Sec_Fetch_Site="same-origin")
    assert (answer.status_code, answer.get_json()["run_id"]) == (200, "run-1")
    assert answer.get_json()["time"] > 1_764_000_000
    assert site.bridge.marked == [("db killed", "fault")]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (None, {"Origin": "http://evil.example"}, 403),
        (None, {"Origin": "null"}, 403),
        (None, {"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost"}, 403),
        (None, {"Sec_Fetch_Site": "same-site"}, 403),
        (None, {"Content_Type": "text/plain"}, 400),
        (None, {"Content_Type": "application/x-www-form-urlencoded"}, 400),
        (b"{", {}, 400),
        ({"mark": "x", "kind": "Two Words"}, {}, 400),
        ({"mark": "x" * 5000}, {}, 400),
        (None, {}, 200),
        (None, {"Origin": "http://localhost"}, 200),
        (None, {"Origin": "https://shown.example", "Sec_Fetch_Site": "same-origin"}, 200),
    ],
)
def test_who_may_mark(site: Site, body: Any, headers: dict[str, str], status: int) -> None:
    """Our own page may, programs may, and no page of another site."""
    site.bridge.run_id = "run-1"
    assert site.mark(body, **headers).status_code == status
    assert len(site.bridge.marked) == (status == 200)


def test_a_get_marks_nothing(site: Site) -> None:
    """A link cannot mark."""
    site.bridge.run_id = "run-1"
    assert site.client.get("/slo/mark").status_code == 405
    assert site.bridge.marked == []


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://a:8089", "a:8089", True), ("https://a", "a", True), ("http://a:8089", "a", False),
        ("http://a", "", False), ("http://[", "a", False), ("", "a", False), (None, "a", True),
    ],
)  # fmt: skip
def test_origins(origin: str | None, host: str, own: bool) -> None:
    """Without the newer header the origin must be where the request was sent."""
    assert is_same_origin({} if origin is None else {"Origin": origin}, host) is own


def test_a_link_on_locusts_own_page(site: Site) -> None:
    """Locust's page is as it was, with a link to ours."""
    page = site.client.get("/").text
    assert page.count('<a href="./slo"') == 1
    assert "window.templateArgs" in page


def test_under_a_base_path() -> None:
    """Where the UI has a base path, so has the page."""
    made = Site(web_base_path="/load")
    assert made.client.get("/load/slo").status_code == 200
    assert made.client.get("/load/slo/data").get_json() == {"run": None}
    assert made.client.get("/slo").status_code == 404


def test_behind_the_login() -> None:
    """With --web-login nobody sees or marks anything without it."""
    made = Site(web_login=True)
    made.web_ui.app.secret_key = "for a test"
    made.web_ui.login_manager.user_loader(lambda _: None)
    made.bridge.run_id = "run-1"
    for answer in (made.client.get("/slo"), made.client.get("/slo/data"), made.mark()):
        assert (answer.status_code, answer.headers["Location"].startswith("/login")) == (302, True)
    assert (made.bridge.asked, made.bridge.marked) == ([], [])


def test_a_ui_that_has_answered_already(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Flask takes no route any more then; nothing is raised, and it is said."""
    assert site.is_installed
    site.client.get("/")
    assert web_page.install(site.web_ui, site.bridge) is False  # type: ignore[arg-type]
    assert "The web UI has no page /slo: " in caplog.text


def test_a_ui_that_is_none_of_locusts(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is handed over as a web UI, the load test goes on without the page."""
    assert web_page.install(object(), site.bridge) is False  # type: ignore[arg-type]
    assert "The web UI has no page /slo: " in caplog.text
