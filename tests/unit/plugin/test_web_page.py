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
    """A bridge with given answers of the exporter.

    Attributes:
        answers: By question; to others the exporter does not answer.
        asked: All questions.
        marked: All marks.
    """

    def __init__(self) -> None:
        self.run_id: str | None = None
        self.answers: dict[str, Any] = {"html": {"html": PAGE, "policy": POLICY}, "json": '{"run": null}'}
        self.asked: list[str] = []
        self.marked: list[tuple[str, str]] = []

    def ask(self, question: str) -> Any:
        """Return the answer to a question."""
        self.asked.append(question)
        if question not in self.answers:
            raise TimeoutError("the exporter did not answer within 2 s")
        return self.answers[question]

    def mark(self, text: str, kind: str) -> bool:
        """Mark the run, if one is active."""
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
        """Send a mark."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else json.dumps(body or {"mark": "db killed", "kind": "fault"})
        return self.client.post("/slo/mark", data=data, headers={"Content-Type": "application/json", **names})


@pytest.fixture(autouse=True)
def _without_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the arguments of pytest, which Locust reads for its own page."""
    monkeypatch.setattr(sys, "argv", ["locust"])


@pytest.fixture
def site() -> Site:
    """Return a site."""
    return Site()


def test_the_page_and_its_values(site: Site) -> None:
    """Both are the exporter's answers; it is asked for the page once, and for the values each time."""
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
    """The response is an error with a sentence, until the exporter answers again."""
    answer = site.bridge.answers.pop(question)
    silent = site.client.get(path)
    assert silent.status_code == 503
    assert silent.text == "The page cannot be shown now: the exporter did not answer within 2 s.\n"
    site.bridge.answers[question] = answer
    assert site.client.get(path).status_code == 200


def test_a_mark(site: Site) -> None:
    """A mark of the page marks the active run; without one the response is an error."""
    assert site.mark().status_code == 409
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
    """Our own page may mark, and programs may, but no page of another site."""
    site.bridge.run_id = "run-1"
    assert site.mark(body, **headers).status_code == status
    assert len(site.bridge.marked) == (status == 200)


def test_a_get_marks_nothing(site: Site) -> None:
    """A link cannot mark the run."""
    site.bridge.run_id = "run-1"
    assert site.client.get("/slo/mark").status_code == 405
    assert site.bridge.marked == []


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://a:8089", "a:8089", True), ("https://a", "a", True), ("http://a:8089", "a", False),
        ("http://a", "", False), ("http://[", "a", False), ("", "a", False), (None, "a", True),
    ],
)  # fmt: skip
def test_origins(origin: str | None, host: str, is_own: bool) -> None:
    """Without `Sec-Fetch-Site`, the origin must be the host of the request."""
    assert is_same_origin({} if origin is None else {"Origin": origin}, host) is is_own


def test_a_link_on_locusts_own_page(site: Site) -> None:
    """Locust's page is unchanged but for a link to ours."""
    page = site.client.get("/").text
    assert page.count('<a href="./slo"') == 1
    assert "window.templateArgs" in page


def test_under_a_base_path() -> None:
    """If the UI has a base path, the page has it, too."""
    site = Site(web_base_path="/load")
    assert site.client.get("/load/slo").status_code == 200
    assert site.client.get("/load/slo/data").get_json() == {"run": None}
    assert site.client.get("/slo").status_code == 404


def test_behind_the_login() -> None:
    """With --web-login, page, values and marks need the login."""
    site = Site(web_login=True)
    site.web_ui.app.secret_key = "for a test"
    site.web_ui.login_manager.user_loader(lambda _: None)
    site.bridge.run_id = "run-1"
    for answer in (site.client.get("/slo"), site.client.get("/slo/data"), site.mark()):
        assert (answer.status_code, answer.headers["Location"].startswith("/login")) == (302, True)
    assert (site.bridge.asked, site.bridge.marked) == ([], [])


def test_a_ui_that_takes_no_page(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Flask takes no route after its first request, and another object has no routes: both are logged, none raises."""
    assert site.is_installed
    site.client.get("/")
    for web_ui in (site.web_ui, object()):
        caplog.clear()
        assert web_page.install(web_ui, site.bridge) is False  # type: ignore[arg-type]
        assert "The web UI has no page /slo: " in caplog.text
