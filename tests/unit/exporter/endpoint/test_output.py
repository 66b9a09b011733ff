"""Tests of the endpoint as an output: where it listens, whom it waits for, what it says at the end."""

from __future__ import annotations

import logging
import pickle
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import requests

from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter.endpoint import output
from locust_otel.exporter.endpoint.server import Server
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Origin, State
from tests.unit.endpoints import Served, a_run, serving, settings, wait_until
from tests.unit.factories import rich_snapshot

HERE = Origin(name="host-0")
PROMETHEUS = {"User_Agent": "Prometheus/3.5.3", "X_Prometheus_Scrape_Timeout_Seconds": "10"}


@pytest.fixture
def busy() -> Iterator[int]:
    """Hold a port."""
    with held() as port:
        yield port


@contextmanager
def held(port: int = 0) -> Iterator[int]:
    """Listen on a port until the end of the block."""
    with socket.create_server(("127.0.0.1", port)) as holder:
        yield holder.getsockname()[1]


def ended(origin: Origin = HERE, **given: Any) -> Served:
    """Serve the final values of a run."""
    served = Served(settings(**given), origin)
    served.session.taken = replace(rich_snapshot(), is_final=True)
    return served


# -------------------------------------------------------------------------------------------------------- where it is


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("localhost", "localhost")]
)
def test_url(host: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    """The URL is one that can be opened, names the port that was really taken, and is logged."""
    caplog.set_level(logging.INFO)
    with serving(rich_snapshot(), prometheus_host=host) as served:
        assert served.session.url == f"http://{shown}:{served.port}/metrics"
        assert served.port != 0
        assert served.ask().status_code == 200
    assert caplog.messages == [
        f"Metrics for Prometheus at http://{shown}:{served.port}/metrics",
        f"Live page at http://{shown}:{served.port}/",
    ]


def _has_ipv6() -> bool:
    """Return whether this machine has the address `::1`; many containers do not, and nothing can listen there."""
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("::1", 0))
    except OSError:
        return False
    return True


# Containers without version 6 are common, and nothing can listen there; the text of the URL is tested without it above.
@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no address of version 6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_url_of_ipv6(host: str) -> None:
    """An address of version 6 is in brackets."""
    with serving(rich_snapshot(), prometheus_host=host) as served:
        assert served.session.url == f"http://[::1]:{served.port}/metrics"
        assert served.ask().status_code == 200


def test_it_answers_at_once() -> None:
    """There is an answer as soon as `start` has returned."""
    with serving(rich_snapshot()) as served:
        started = time.perf_counter()
        assert served.ask("/-/healthy").status_code == 200
        assert time.perf_counter() - started < 1


def test_off() -> None:
    """Switched off, nothing is served, declared, awaited or told at the end."""
    served = Served(settings(prometheus_port="off"))
    assert served.session.url is None
    assert served.outcomes() == {}
    served.endpoint.finish(a_run())
    assert served.endpoint.account == ""
    served.stop()


def test_it_is_declared() -> None:
    """Its exports count from 0, so that the first failure is a change."""
    with serving() as served:
        assert served.outcomes() == {"success": 0, "failure": 0}


def test_a_port_by_name_that_is_taken(busy: int) -> None:
    """It is never replaced by another one."""
    with pytest.raises(ConfigurationError, match=f"port {busy} of 127.0.0.1 is taken") as caught:
        Served(settings(prometheus_port=str(busy)))
    assert caught.value.slug == "prometheus-port-taken"


def test_a_default_port_that_is_taken(
    busy: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next free one is taken instead, and the log warns."""
    monkeypatch.setattr(output, "LAST_PORT", busy + 20)
    served = Served(replace(settings(), port=busy, port_is_named=False))
    try:
        assert busy < served.port <= busy + 20
        assert (
            f"Port {busy} is taken; /metrics is on port {served.port}: have Prometheus scrape that, or name a free one."
            in (caplog.messages)
        )
    finally:
        served.stop()


def test_an_address_of_another_machine() -> None:
    """It is refused, with a reason."""
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:0 cannot be listened on: Cannot assign") as caught:
        Served(settings(prometheus_host="192.0.2.1"))
    assert caught.value.slug == "prometheus-host"


def test_a_port_for_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that the system keeps for itself is refused, with a remedy."""

    def forbidden(*_: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(output, "_bound", forbidden)
    with pytest.raises(ConfigurationError, match="port 80 is reserved") as caught:
        Served(settings(prometheus_port="80"))
    assert caught.value.slug == "prometheus-port-reserved"


def test_workers_serve_beside_each_other(busy: int) -> None:
    """A worker serves above the port that was given."""
    served = Served(
        settings(prometheus_port=str(busy), export_from="workers"), Origin(name="w", is_worker=True, port_offset=3)
    )
    try:
        assert served.port == busy + 3
    finally:
        served.stop()


def test_open_files() -> None:
    """As many files may be open as the system allows: each connection is one."""
    with serving():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == hard


@pytest.mark.parametrize(
    ("broken", "message"), [("__init__", "/metrics is not served"), ("_serve", "/metrics is not served any more")]
)
def test_a_server_that_breaks(
    broken: str, message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the thread of the server is logged, clients are refused, and a stop returns at once."""
    monkeypatch.setattr(Server, broken, lambda *_: 1 / 0)
    with serving() as served:
        wait_until(lambda: caplog.messages)
        assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [(message, True)]
        with pytest.raises(requests.ConnectionError):
            served.ask()
        started = time.perf_counter()
        served.stop()
        assert time.perf_counter() - started < 0.5


def test_stopped_means_gone() -> None:
    """After a stop the port is free again."""
    with serving() as served:
        port = served.port
    with pytest.raises(requests.ConnectionError):
        served.ask()
    with held(port):
        pass


# ---------------------------------------------------------------------------------------------------- after a restart


def successor(served: Served, state: bytes) -> Served:
    """Start where an exporter that has died left off."""
    return Served(served.session.settings, served.session.origin, pickle.loads(state))  # noqa: S301  # our own


def test_a_successor_serves_where_its_predecessor_did(caplog: pytest.LogCaptureFixture) -> None:
    """It has the same port, knows who scrapes and what was delivered, and logs its address no second time."""
    first = ended()
    first.ask(**PROMETHEUS)
    state, url = first.session.saved(), first.session.url
    first.stop()
    caplog.clear()
    caplog.set_level(logging.INFO)
    second = successor(first, state)
    try:
        assert second.session.url == url
        assert second.endpoint._scrapers.last_total("run-1") == 13
        assert list(second.endpoint._scrapers.awaited("run-2")) == ["127.0.0.1"]
        assert caplog.messages == []
    finally:
        second.stop()


def test_a_successor_waits_for_the_port() -> None:
    """It tries again for two seconds while the port is still taken."""
    state = State(kept={"endpoint": {"port": 0}})
    with held() as port:
        pass
    state.kept["endpoint"]["port"] = port
    holder = socket.create_server(("127.0.0.1", port))
    threading.Timer(0.2, holder.close).start()
    served = Served(settings(), HERE, state)
    try:
        assert served.port == port
    finally:
        served.stop()


def test_a_successor_whose_port_was_taken(busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up, since Prometheus would not find it elsewhere."""
    monkeypatch.setattr(output, "_BUSY_S", 0.1)
    with pytest.raises(ConfigurationError, match="taken by another process"):
        Served(settings(), HERE, State(kept={"endpoint": {"port": busy}}))


# ---------------------------------------------------------------------------------------------------------- the end


def finished(served: Served, run: Run) -> threading.Thread:
    """Finish in a thread, as the exporter does."""
    thread = threading.Thread(target=served.endpoint.finish, args=(run,), daemon=True)
    thread.start()
    thread.join(0.15)
    return thread


def test_nobody_is_awaited(caplog: pytest.LogCaptureFixture) -> None:
    """Without a scraper the end comes at once, and the account says so."""
    served = ended()
    try:
        served.ask(User_Agent="curl")
        assert not finished(served, a_run("run-9")).is_alive()
        assert served.endpoint.account == "never scraped"
    finally:
        served.stop()
    assert not [message for message in caplog.messages if "Waiting" in message]


def test_a_scraper_is_awaited(caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint stays until the scraper has come for the final values, and the account has their total."""
    caplog.set_level(logging.INFO)
    served = ended()
    try:
        served.session.taken = rich_snapshot()
        served.ask(**PROMETHEUS)
        thread = finished(served, a_run())
        assert thread.is_alive()
        assert (
            "Waiting up to 12.0 s for 127.0.0.1 to scrape the final values; press Ctrl-C to end it now."
            in caplog.messages
        )
        served.session.taken = replace(rich_snapshot(), is_final=True)
        served.ask(**PROMETHEUS)
        thread.join(1)
        assert not thread.is_alive()
        assert served.endpoint.account == "last scrape 13"
    finally:
        served.stop()


def test_a_scraper_that_has_all_is_not_awaited() -> None:
    """Whose last scrape had the final values already is not waited for."""
    served = ended()
    try:
        served.ask(**PROMETHEUS)
        assert not finished(served, a_run()).is_alive()
    finally:
        served.stop()


@pytest.mark.parametrize(
    ("linger", "grace_s", "patience"), [("off", None, None), ("auto", 0.0, None), ("3s", None, "3.0"), ("9s", 2, "2.0")]
)
def test_limits(linger: str, grace_s: float | None, patience: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """The shortest of the interval, the flag and the time that is left counts; 0 is no wait."""
    caplog.set_level(logging.INFO)
    served = ended(prometheus_linger=linger)
    try:
        served.session.grace_s = grace_s
        served.session.taken = rich_snapshot()
        served.ask(**PROMETHEUS)
        thread = finished(served, a_run())
        assert thread.is_alive() == (patience is not None)
        assert [m.split()[3] for m in caplog.messages if "Waiting" in m] == ([patience] if patience else [])
        served.session.hurry.set()
        thread.join(1)
        assert not thread.is_alive()
    finally:
        served.stop()


def test_hurry() -> None:
    """Where nobody should be waited for any more, nobody is."""
    served = ended()
    try:
        served.session.taken = rich_snapshot()
        served.ask(**PROMETHEUS)
        served.session.hurry.set()
        assert not finished(served, a_run()).is_alive()
    finally:
        served.stop()


def test_a_scraper_that_does_not_come(caplog: pytest.LogCaptureFixture) -> None:
    """It is given up after 1.2 of its intervals, and the account has what it got last."""
    served = ended()
    try:
        served.session.taken = rich_snapshot()
        served.ask(User_Agent="Prometheus", X_Prometheus_Scrape_Timeout_Seconds="0.05")
        assert not finished(served, a_run()).is_alive()
        assert served.endpoint.account == "last scrape 13"
    finally:
        served.stop()


def test_no_account_where_workers_serve() -> None:
    """With --export-from workers no process has all of the numbers."""
    served = ended(Origin(name="host", is_master=True), export_from="workers")
    try:
        served.endpoint.finish(a_run())
        assert served.endpoint.account == ""
    finally:
        served.stop()
