"""Tests of the live page as an output: its answers, and when it makes new values."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import SeriesKey
from locust_otel.exporter.page.content import content
from locust_otel.exporter.page.curves import COLUMNS
from locust_otel.exporter.page.page import INTERVAL_S, Page, policy
from locust_otel.exporter.run import Phase, Run
from locust_otel.exporter.session import Origin, Session
from locust_otel.exporter.settings import resolve
from tests.unit.factories import Load, record

GOOD = SeriesKey("GET", "/", "Shopper", "success")


class Clock:
    """The monotonic clock of page and run."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now_s


class Waiting:
    """Takes the place of `Session.hurry`: notes each wait, and does not wait."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def wait(self, seconds: float) -> bool:
        """Note a wait."""
        self.waited.append(seconds)
        return False


class Followed:
    """A page and its run."""

    def __init__(self, **given: object) -> None:
        self.session = Session(resolve(values_of(None, given)), Origin(name="host-0"), lambda *_: None)
        self.page = Page(self.session)
        self.session.listeners.append(self.page.note)
        self.load = Load()
        self.run = Run("run-1", {}, 1_764_000_000.0, 100.0, {}, self.load.merged, None)
        self.run.go_on(Phase.RUNNING)

    def begin(self) -> None:
        """Begin the run."""
        self.session.state.run = self.run


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock."""
    made = Clock()
    for name in ("locust_otel.exporter.run.monotonic", "locust_otel.exporter.page.page.monotonic"):
        monkeypatch.setattr(name, made)
    return made


def test_values_are_made_once_a_second(clock: Clock) -> None:
    """Values are made once a second for all pages, and at once after a mark."""
    followed = Followed()
    assert followed.page.data()["run"] is None
    followed.begin()
    assert followed.page.data()["run"] is None
    clock.now_s += INTERVAL_S
    first = followed.page.data()
    record(followed.load, GOOD, [10])
    assert followed.page.data() is first
    followed.session.mark("db killed", "fault")
    assert [mark["mark"] for mark in followed.page.data()["marks"]] == ["db killed"]


def test_the_curves(clock: Clock) -> None:
    """Each snapshot is a point of the curves; before the first run they are empty."""
    followed = Followed()
    assert followed.page.data()["curves"] == {name: [] for name in COLUMNS}
    followed.begin()
    for count in (4, 6):
        clock.now_s += 1
        record(followed.load, GOOD, [10] * count)
        followed.page.collect(followed.session.snapshot())
    curves = followed.page.data()["curves"]
    assert (curves["at_s"], curves["requests"], curves["failures"]) == ([1, 2], [4, 6], [0, 0])


def test_answers_to_locusts_process() -> None:
    """Locust's process gets the page, its values as text, and new values; other outputs answer other questions."""
    followed = Followed()
    followed.begin()
    page = followed.page
    assert page.answer("html", None) == {"html": page.html, "policy": page.policy}
    text: Any = json.loads(page.answer("json", None))
    assert (text["run"]["id"], text["total"]["requests"], text["curves"]["at_s"]) == ("run-1", 0, [])
    record(followed.load, GOOD, [10])
    assert json.loads(page.answer("json", None)) == text
    values = page.answer("page", None)
    assert (values["total"]["requests"], "curves" in values) == (1, False)
    assert page.answer("verdict", None) is None


def test_values_of_a_final_run_are_made_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of a final run do not change, except for the time; the next run has its own."""
    followed = Followed()
    followed.begin()
    record(followed.load, GOOD, [10])
    followed.run.finish()
    made: list[object] = []

    def noted(*given: Any) -> dict[str, Any]:
        made.append(given)
        return content(*given)

    monkeypatch.setattr("locust_otel.exporter.page.page.content", noted)
    first = followed.page.data()
    clock.now_s += 5
    second = followed.page.data()
    assert (len(made), second["total"], second is first) == (1, first["total"], False)
    followed.session.state.run = Run("run-2", {}, 0.0, clock.now_s, {}, Load().merged, None)
    clock.now_s += 5
    assert (followed.page.data()["run"]["id"], len(made)) == ("run-2", 2)


@pytest.mark.parametrize(
    ("looked_s", "given", "grace_s", "waited"),
    [
        (1.0, {}, None, [1.2]), (1.0, {}, 0.5, [0.5]), (1.0, {"prometheus_linger": "0"}, None, [0.0]),
        (60.0, {}, None, []), (None, {}, None, []),
    ],
)  # fmt: skip
def test_the_end(
    clock: Clock, looked_s: float | None, given: dict[str, object], grace_s: float | None, waited: list[float]
) -> None:
    """The end waits until open pages have the final values; without an open page it does not wait."""
    followed = Followed(**given)
    followed.begin()
    followed.session.hurry = waiting = Waiting()  # type: ignore[assignment]
    followed.session.grace_s = grace_s
    if looked_s is not None:
        followed.page.data()
        clock.now_s += looked_s
    followed.page.answer("json", None)  # the page in Locust's web UI stays up
    followed.page.finish(followed.run)
    assert waiting.waited == waited


def test_the_page_loads_nothing_else() -> None:
    """The page needs no other file, and its policy lets the browser load none."""
    html = Page(Followed().session).html
    assert "http" not in re.sub(r"http://www\.w3\.org/2000/svg", "", html)
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=\"(?!data:)", html)
    assert "default-src 'none'; script-src 'sha256-" in policy(html)
    assert "unsafe" not in policy(html)
    assert " style=" not in html
    assert "innerHTML" not in html
