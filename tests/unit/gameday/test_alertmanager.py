"""Tests of Alertmanager's client, and of the alerts known from its API and its notifications."""

from __future__ import annotations

import pytest

from locust_otel.core import web
from locust_otel.core.errors import LocustOtelError
from locust_otel.gameday.alertmanager import Alertmanager, Notices, unix

URL = "http://alertmanager:9093"
REFUSED = web.UnreachableError(ConnectionRefusedError(111, "Connection refused"))


def test_notices_combine_both_sources() -> None:
    """Of an alert, the first listing, the first notification and the first end count; labels and start identify it."""
    now = [0.0]
    notices = Notices(clock=lambda: now[0])
    alert = {"labels": {"alertname": "A"}, "startsAt": "2026-11-22T07:00:00.123456789Z", "fingerprint": "f"}
    for second, status in enumerate((None, "firing", None, "firing", "resolved", "resolved"), 1):
        now[0] = float(second)
        if status is None:
            notices.add_listed([alert])
        else:
            notices.add_notified({"alerts": [{**alert, "status": status}]})
    (notice,) = notices.all()
    assert (notice.arrived_at, notice.notified_at, notice.ended_at) == (1.0, 2.0, 5.0)
    assert notice.starts_at == unix("2026-11-22T07:00:00.123456Z")


def test_inhibitions_and_silences_are_kept() -> None:
    """A notice has the labels of the alerts that inhibit it, and empty ones for a silence."""
    notices = Notices()
    status = {"inhibitedBy": ["b"], "silencedBy": ["s"]}
    notices.add_listed(
        [
            {"labels": {"alertname": "A"}, "fingerprint": "a", "startsAt": "2026-11-22T07:00:01Z", "status": status},
            {"labels": {"alertname": "B"}, "fingerprint": "b", "startsAt": "2026-11-22T07:00:00Z"},
        ]
    )
    first, second = notices.all()
    assert (first.labels, first.inhibited_by) == ({"alertname": "B"}, ())
    assert (second.labels, second.inhibited_by) == ({"alertname": "A"}, ({"alertname": "B"}, {}))


def test_the_first_inhibition_is_kept() -> None:
    """A notice has the time at which an alert was first inhibited, and by what, also after the inhibition has ended."""
    now = [0.0]
    notices = Notices(clock=lambda: now[0])
    tired = {"labels": {"alertname": "Tired"}, "fingerprint": "t", "startsAt": "2026-11-22T07:00:01Z"}
    other = {"labels": {"alertname": "Other"}, "fingerprint": "o", "startsAt": "2026-11-22T07:00:02Z"}
    for second, inhibitors in enumerate(([], [], ["t"], ["o"], []), 1):
        now[0] = float(second)
        alert = {"labels": {"alertname": "A"}, "fingerprint": "a", "startsAt": "2026-11-22T07:00:00Z"}
        notices.add_listed([{**alert, "status": {"inhibitedBy": inhibitors}}, tired, other])
    notice = notices.all()[0]
    assert (notice.arrived_at, notice.inhibited_at, notice.inhibited_by) == (1.0, 3.0, ({"alertname": "Tired"},))


def test_alerts_of_severity_none_are_no_notices() -> None:
    """They are left out of both sources, and still named as what inhibits another alert."""
    notices = Notices()
    labels = {"alertname": "LocustRunActive", "severity": "none"}
    active = {"labels": labels, "fingerprint": "r", "startsAt": "2026-11-22T07:00:00Z", "status": {}}
    alert = {"labels": {"alertname": "A"}, "startsAt": "2026-11-22T07:00:01Z", "status": {"inhibitedBy": ["r"]}}
    notices.add_listed([active, alert])
    notices.add_notified({"alerts": [{**active, "status": "firing"}]})
    (notice,) = notices.all()
    assert (notice.labels["alertname"], notice.inhibited_by) == ("A", (labels,))


@pytest.mark.parametrize("text", [None, "", "soon", "0001-01-01T00:00:00Z", "2026-11-22T07:00:00", 5])
def test_texts_that_are_not_times(text: object) -> None:
    """Other texts, Go's zero time and a time without a zone have no Unix time."""
    assert unix(text) is None


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (
            web.UnreachableError(ConnectionRefusedError(111, "Connection refused")),
            "does not answer: Connection refused.",
        ),
        (web.Reply(401, b""), "answers 401. Set LOCUST_OTEL_ALERTMANAGER_AUTHORIZATION."),
        (web.Reply(500, b""), "answers 500."),
        (web.Reply(200, b"<html>"), "does not answer with JSON: JSONDecodeError."),
        (web.Reply(200, b'{"alerts": []}'), "does not answer as an Alertmanager does."),
        (web.Reply(200, b'[{"status": {}}]'), "does not answer as an Alertmanager does."),
    ],
)
def test_errors_name_the_url(monkeypatch: pytest.MonkeyPatch, reply: web.Reply | Exception, problem: str) -> None:
    """An answer that cannot be used is an error with the URL; the configuration is then empty."""

    def send(url: str, **_: object) -> web.Reply:
        if isinstance(reply, Exception):
            raise reply
        return reply

    monkeypatch.setattr(web, "send", send)
    with pytest.raises(LocustOtelError) as raised:
        Alertmanager(URL).alerts()
    assert str(raised.value) == f"{URL}/api/v2/alerts {problem}"
    assert Alertmanager(URL).configuration() == ""


def test_requests_have_the_credentials_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts and configuration come from the API v2, with the header of the environment variable."""
    asked: list[tuple[str, object]] = []

    def send(url: str, *, authorization: str, timeout_s: float) -> web.Reply:
        asked.append((url, authorization))
        return web.Reply(
            200, b'{"config": {"original": "route: {}"}}' if url.endswith("status") else b'[{"labels": {}}]'
        )

    monkeypatch.setattr(web, "send", send)
    monkeypatch.setenv("LOCUST_OTEL_ALERTMANAGER_AUTHORIZATION", "Bearer abc\n")
    server = Alertmanager(URL)
    assert (server.alerts(), server.configuration()) == ([{"labels": {}}], "route: {}")
    assert asked == [(f"{URL}/api/v2/alerts", "Bearer abc"), (f"{URL}/api/v2/status", "Bearer abc")]
