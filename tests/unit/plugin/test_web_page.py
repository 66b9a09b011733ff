"""Tests of the page in Locust's web UI, on Locust's own application without a socket."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from locust.env import Environment

from locust_otel import attach
from locust_otel.core.snapshot import SeriesKey
from locust_otel.plugin import web_page
from locust_otel.plugin.bridge import Bridge
from locust_otel.plugin.run import Run
from locust_otel.plugin.series import Aggregate
from locust_otel.plugin.web_page import is_same_origin, policy
from locust_otel.slo.objectives import Window
from locust_otel.slo.validity import WORDS
from tests.unit.factories import Admin, Shopper, objectives, record

GOOD, BAD = SeriesKey("GET", "/", "Shopper", "success"), SeriesKey("GET", "/", "Shopper", "failure")
WINDOW = Window("critical", Decimal(120), Decimal(30), Decimal("0.2"))
PAGE = web_page._PAGE.read_text()


class Site:
    """A web UI with the page, and a client of it."""

    def __init__(self, *, slo: Any = None, **web_ui: Any) -> None:
        environment: Any = Environment(user_classes=[Shopper, Admin])
        environment.create_local_runner()
        self.web_ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True, **web_ui)
        self.bridge: Bridge = attach(environment, prometheus_port="off")
        self.slo = slo
        self.client = self.web_ui.app.test_client()

    def start(self) -> Run:
        """Start a run without users."""
        self.bridge.on_test_start()
        run = self.bridge.run
        assert run is not None
        if self.slo is not None:
            aggregate = Aggregate(slow_s=2.0, max_names=10, thresholds_s=(0.3,))
            run.__init__(run.run_id, aggregate, run.info, self.slo)  # type: ignore[misc]  # as settings would
        return run

    def data(self, prefix: str = "") -> dict[str, Any]:
        """Return what the page shows, made anew."""
        answer = self.client.get(f"{prefix}/slo/data")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        result: dict[str, Any] = answer.get_json()
        return result

    def mark(self, body: Any = None, **headers: str) -> Any:
        """Post a mark."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else json.dumps(body or {"mark": "db killed", "kind": "fault"})
        return self.client.post("/slo/mark", data=data, headers={"Content-Type": "application/json", **names})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the numbers anew each time."""
    monkeypatch.setattr(web_page, "INTERVAL_S", 0.0)
    monkeypatch.setattr(sys, "argv", ["locust"])  # which Locust reads for its own page


@pytest.fixture
def site() -> Iterator[Site]:
    """Make a site without an SLO file."""
    made = Site()
    yield made
    made.bridge.close()


@pytest.fixture
def judged() -> Iterator[Site]:
    """Make a site with objectives."""
    made = Site(slo=objectives(windows=(WINDOW,)))
    yield made
    made.bridge.close()


def test_before_the_first_run(site: Site) -> None:
    """Nothing has run: that is said, and there is nothing to mark."""
    data = site.data()
    assert (data["sentence"], data["run"], data["slo"], data["marks"]) == ("No run has started yet.", None, None, [])
    answer = site.mark()
    assert (answer.status_code, answer.text) == (409, "No run goes on that could be marked.\n")


def test_without_an_slo_file(site: Site) -> None:
    """Run, requests, failures and marks are there; no objective is."""
    run = site.start()
    record(run.aggregate, GOOD, [10] * 30)
    record(run.aggregate, BAD, [10] * 3)
    data = site.data()
    assert (data["run"]["requests"], data["run"]["failures"]) == (33, 3)
    assert (data["run"]["id"], data["run"]["is_active"], data["run"]["workers"]) == (run.run_id, True, None)
    assert data["slo"] is None
    assert data["sentence"] == f"Run {run.run_id} starts its users."
    run.stop()
    assert site.data()["sentence"] == f"Run {run.run_id} is over."


def test_marks(site: Site) -> None:
    """A mark of the page is in the run, and the last ones stand first on the page."""
    run = site.start()
    answer = site.mark({"mark": "db killed", "kind": "fault"}, Origin="http://localhost", Sec_Fetch_Site="same-origin")
    assert (answer.status_code, answer.get_json()["run_id"]) == (200, run.run_id)
    assert site.bridge.mark("lunch", kind="note")
    data = site.data()
    assert [(each["mark"], each["kind"]) for each in data["marks"]] == [("lunch", "note"), ("db killed", "fault")]
    assert data["marks_in_all"] == 2
    assert run.marks == {("db killed", "fault"): 1, ("lunch", "note"): 1}


def test_many_marks(site: Site) -> None:
    """Fifty are shown, and how many there are."""
    site.start()
    for number in range(60):
        site.bridge.mark(f"mark {number}")
    data = site.data()
    assert [each["mark"] for each in data["marks"]] == [f"mark {number}" for number in range(59, 9, -1)]
    assert data["marks_in_all"] == 60


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
    run = site.start()
    assert site.mark(body, **headers).status_code == status
    assert len(run.marked) == (status == 200)


def test_a_get_marks_nothing(site: Site) -> None:
    """A link cannot mark."""
    site.start()
    assert site.client.get("/slo/mark").status_code == 405


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


def test_objectives(judged: Site) -> None:
    """Each objective has its sentence, counts, budget and status, in the numbers of the verdict."""
    run = judged.start()
    record(run.aggregate, GOOD, [10] * 90)
    record(run.aggregate, BAD, [2000] * 10)
    data = judged.data()
    availability, latency, mean = data["slo"]["objectives"]
    assert (availability["name"], availability["asked"]) == ("availability", "99 % of requests succeed")
    assert (availability["status"], availability["actual"]) == ("missed", "90.0 %")
    assert (availability["good"], availability["judged"]) == (90, 100)
    assert availability["worst"] == "GET /: 10 bad requests"
    assert availability["budget"] == f"{availability['budget_spent']:.0%}"
    assert (latency["status"], latency["good"], latency["judged"]) == ("met", 90, 100)
    assert (mean["status"], mean["actual"], mean["budget"], mean["burn"]) == ("met", "209 ms", None, [])
    assert data["sentence"].endswith("; objectives: 2 met, 1 missed.")


def test_burn_rates(judged: Site) -> None:
    """Burn rates are those of the last look, with where an alert begins, and whether it does."""
    run = judged.start()
    assert judged.data()["slo"]["objectives"][0]["burn"][0]["long_rate"] == "–"
    record(run.aggregate, BAD, [10] * 20)
    assert run.slo is not None
    run.slo.observe(run.aggregate.snapshot(), 1.0)
    burn = judged.data()["slo"]["objectives"][0]["burn"]
    assert burn == [
        {
            "severity": "critical", "long": "2m", "short": "30s", "long_rate": "100x", "short_rate": "100x",
            "factor": "3.0x", "is_burning": True,
        }
    ]  # fmt: skip


def test_warming_up() -> None:
    """During the warm-up nothing is judged, and it is said how long that lasts."""
    made = Site(slo=objectives(warmup_s=Decimal(30)))
    try:
        run = made.start()
        record(run.aggregate, BAD, [10] * 20)
        data = made.data()
        assert data["slo"]["is_warming_up"]
        assert 25 < data["slo"]["warmup_left_s"] <= 30
        assert {each["status"] for each in data["slo"]["objectives"]} == {"undecided"}
        assert data["sentence"].endswith(", it warms up, nothing is judged yet.")
        run.stop()
        assert made.data()["sentence"] == f"Run {run.run_id} is over, it ended within its warm-up."
    finally:
        made.bridge.close()


def test_validity(judged: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that is too slow now is told of with the reason, and so is a run that is not valid as a whole."""
    run = judged.start()
    record(run.aggregate, GOOD, [10] * 20)
    taken = judged.bridge.snapshot()
    monkeypatch.setattr(type(taken), "invalid_reasons", frozenset({"cpu"}))
    data = judged.data()
    assert data["run"]["invalid"] == [WORDS["cpu"]]
    assert data["sentence"].endswith("Its numbers cannot be believed now: generator saturated (no CPU left).")
    assert data["slo"]["invalid"] == ""
    assert run.slo is not None
    run.slo.validity.note(5.0, {"cpu"})
    assert "generator saturated (no CPU left) from " in judged.data()["slo"]["invalid"]


def test_numbers_are_made_once_for_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many look, numbers are made once a second; a mark shows at once."""
    monkeypatch.setattr(web_page, "INTERVAL_S", 60.0)
    site.start()
    first = site.data()
    assert site.data() == first
    site.mark()
    assert len(site.data()["marks"]) == 1


def test_the_page(site: Site) -> None:
    """The page is itself alone: no other file is loaded, and the browser is told to run nothing else."""
    answer = site.client.get("/slo")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.text == PAGE
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", PAGE)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=\"(?!data:)", PAGE)
    told = answer.headers["Content-Security-Policy"]
    assert told == policy(PAGE)
    assert "default-src 'none'; script-src 'sha256-" in told
    assert "unsafe" not in told
    assert " style=" not in PAGE
    assert "innerHTML" not in PAGE


def test_a_link_stands_on_locusts_own_page(site: Site) -> None:
    """Locust's page is as it was, with a link to ours."""
    page = site.client.get("/").text
    assert page.count('<a href="./slo"') == 1
    assert "window.templateArgs" in page


def test_under_a_base_path() -> None:
    """Where the UI has a base path, so has the page."""
    made = Site(web_base_path="/load")
    try:
        assert made.client.get("/load/slo").status_code == 200
        assert made.data("/load")["run"] is None
        assert made.client.get("/slo").status_code == 404
        assert '<a href="./slo"' in made.client.get("/load/").text
    finally:
        made.bridge.close()


def test_behind_the_login() -> None:
    """With --web-login nobody sees or marks anything without it."""
    made = Site(web_login=True)
    try:
        made.web_ui.app.secret_key = "for a test"
        made.web_ui.login_manager.user_loader(lambda _: None)
        run = made.start()
        for answer in (made.client.get("/slo"), made.client.get("/slo/data"), made.mark()):
            assert (answer.status_code, answer.headers["Location"].startswith("/login")) == (302, True)
            assert run.run_id not in answer.text
        assert run.marked == []
    finally:
        made.bridge.close()


def test_a_ui_that_has_answered_already(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Flask takes no route any more then; nothing is raised, and it is said."""
    site.client.get("/")
    assert web_page.install(site.web_ui, site.bridge) is False
    assert "The web UI has no page /slo: " in caplog.text


def test_a_ui_that_is_none_of_locusts(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is handed over as a web UI, the load test goes on without the page."""
    assert web_page.install(object(), site.bridge) is False
    assert "The web UI has no page /slo: " in caplog.text
