"""Tests of the endpoint as an output: its address, its restart, and the wait for scrapers at the end."""

from __future__ import annotations

import logging
import pickle
import resource
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any
from unittest.mock import Mock

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import LAST_PORT
from locust_otel.exporter.endpoint import output
from locust_otel.exporter.endpoint.access import WebConfig
from locust_otel.exporter.endpoint.scrapers import Scrapers
from locust_otel.exporter.endpoint.server import Server
from locust_otel.exporter.session import Origin, State
from tests.unit.endpoints import FREE_PORT, Served, active_run, network, serving, settings
from tests.unit.factories import rich_snapshot

PROMETHEUS = ("10.0.0.1", "Prometheus/3.5.3")


@pytest.fixture(autouse=True)
def ports() -> Iterator[None]:
    """Make up a network where another process has port 9700."""
    with network(9700):
        yield


class Clock:
    """A clock, and the flag `Session.hurry`: to wait for it advances the clock.

    Attributes:
        now_s: Time of the clock.
        events: Functions by the time at which they are called.
    """

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.is_hurried = False
        self.events: dict[float, Callable[[], object]] = {}

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s

    def set(self) -> None:
        """Set the flag."""
        self.is_hurried = True

    def is_set(self) -> bool:
        """Return whether the flag is set."""
        return self.is_hurried

    def wait(self, seconds: float) -> bool:
        """Let time pass."""
        self.now_s += seconds
        for at_s in [at_s for at_s in self.events if at_s <= self.now_s]:
            self.events.pop(at_s)()
        return self.is_hurried


# ------------------------------------------------------------------------------------------------------- the address


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("localhost", "localhost"), ("::", "[::1]"),
        ("fe80::1", "[fe80::1]"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_tls", [False, True])
def test_url(host: str, shown: str, is_tls: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The URL works on this machine, has the port that was really taken, and is logged."""
    caplog.set_level(logging.INFO)
    web_config = WebConfig(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) if is_tls else None
    with serving(prometheus_host=host, web_config=web_config) as served:
        root = f"{'https' if is_tls else 'http'}://{shown}:{FREE_PORT}/"
        assert served.session.url == f"{root}metrics"
    assert caplog.messages == [f"Metrics for Prometheus at {root}metrics", f"Live page at {root}"]


def test_off() -> None:
    """Without a port nothing is served, declared, awaited or reported at the end."""
    served = Served(settings(prometheus_port="off"))
    served.endpoint.finish(active_run())
    served.endpoint.stop(0.0)
    assert (served.session.url, served.outcomes, served.endpoint.account) == (None, {}, "")


def test_it_is_declared() -> None:
    """Its exports count from 0, so that the first failure is a change."""
    assert Served(settings()).outcomes == {"success": 0, "failure": 0}


def test_a_port_by_name_that_is_taken() -> None:
    """It is never replaced by another port."""
    with pytest.raises(ConfigurationError, match=r"port 9700 of 127\.0\.0\.1 is taken") as caught:
        Served(settings(prometheus_port="9700"))
    assert caught.value.slug == "prometheus-port-taken"


@pytest.mark.parametrize(("taken", "port"), [((9646,), 9647), (tuple(range(9646, 9655)), 9655)])
def test_a_default_port_that_is_taken(taken: tuple[int, ...], port: int, caplog: pytest.LogCaptureFixture) -> None:
    """The next free port replaces it, and the log warns."""
    with network(*taken):
        served = Served(settings(prometheus_port=None))
    assert served.session.url == f"http://127.0.0.1:{port}/metrics"
    assert caplog.messages == [
        f"Port 9646 is taken; /metrics is on port {port}. Let Prometheus scrape that port, or name a free one."
    ]


def test_all_default_ports_are_taken() -> None:
    """After the last default port the search ends."""
    with network(*range(9646, 9800)), pytest.raises(ConfigurationError, match=f"port {LAST_PORT} "):
        Served(settings(prometheus_port=None))


@pytest.mark.parametrize(
    ("error", "found", "slug"),
    [
        (PermissionError(13, "Permission denied"), "port 80 is reserved for the system.", "prometheus-port-reserved"),
        (OSError(99, "Cannot assign"), "cannot listen on 127.0.0.1:80: Cannot assign.", "prometheus-host"),
    ],
)
def test_addresses_that_are_refused(error: OSError, found: str, slug: str) -> None:
    """A port of the system and an address of another machine are refused, with a reason."""
    with network(refused=error), pytest.raises(ConfigurationError) as caught:
        Served(settings(prometheus_port="80"))
    assert (caught.value.found, caught.value.slug) == (found, slug)


def test_workers_serve_beside_each_other() -> None:
    """A worker serves on its own port above the given one."""
    served = Served(
        settings(prometheus_port="9700", export_from="workers"), Origin(name="w", is_worker=True, port_offset=3)
    )
    assert served.session.url == "http://127.0.0.1:9703/metrics"


def test_open_files() -> None:
    """The limit of open files is raised to what the system allows: each connection needs one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 1, before[1]))
    Served(settings())
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])


@pytest.mark.parametrize(
    ("broken", "message"), [("__init__", "/metrics is not served"), ("run", "/metrics is not served any more")]
)
def test_a_server_that_breaks(
    broken: str, message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the thread of the server is logged, the port is free again, and a stop returns at once."""
    listener = Mock(getsockname=lambda: ("127.0.0.1", 1))
    monkeypatch.setattr(output, "_bound", lambda *_: listener)
    monkeypatch.setattr(Server, broken, lambda *_: 1 / 0)
    served = Served(settings())
    assert served.endpoint._thread is not None
    served.endpoint._thread.join()
    assert [(record.getMessage(), bool(record.exc_info)) for record in caplog.records] == [(message, True)]
    listener.close.assert_called_once_with()
    served.endpoint.stop(0.0)


def test_stop() -> None:
    """A stop waits until the server is loaded, and then stops it."""
    served = Served(settings())
    served.endpoint.stop(monotonic() + 5)
    assert served.server._uvicorn.should_exit


# ---------------------------------------------------------------------------------------------------- after a restart


def test_after_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    """A restarted exporter has the same port and scrapers, and does not log its address again."""
    first = Served(settings(prometheus_port=None))
    first.session.taken = rich_snapshot()
    first.ask(User_Agent="Prometheus", X_Prometheus_Scrape_Timeout_Seconds="10")
    caplog.clear()
    caplog.set_level(logging.INFO)
    second = Served(first.session.settings, state=pickle.loads(first.session.saved()))  # noqa: S301  # our own
    assert second.session.url == first.session.url == "http://127.0.0.1:9646/metrics"
    assert second.endpoint._scrapers.last_total("run-1") == 13
    assert list(second.endpoint._scrapers.awaited("run-2")) == ["127.0.0.1"]
    assert caplog.messages == []


@pytest.mark.parametrize(("free_after", "is_served"), [(90, True), (110, False)])
def test_a_port_that_is_still_taken_after_a_restart(
    free_after: int, is_served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restarted exporter tries its port for 2 s, every 20 ms, and no other: Prometheus would not find it there."""
    clock = Clock()
    monkeypatch.setattr(output, "monotonic", clock)
    monkeypatch.setattr(output, "sleep", clock.wait)
    attempts = []

    def listen(host: str, port: int) -> Mock:
        attempts.append(port)
        if len(attempts) <= free_after:
            raise OSError(98, "Address already in use")
        return Mock(getsockname=lambda: (host, port))

    monkeypatch.setattr(output, "_bound", listen)
    state = State(kept={"endpoint": {"port": 9700}})
    if is_served:
        assert Served(settings(), state=state).session.url == "http://127.0.0.1:9700/metrics"
    else:
        with pytest.raises(ConfigurationError, match="taken by another process"):
            Served(settings(), state=state)
    assert set(attempts) == {9700}
    assert len(attempts) == pytest.approx(91 if is_served else 101, abs=1)


# ---------------------------------------------------------------------------------------------------------- the end


class Ending:
    """An endpoint at the end of a run."""

    def __init__(self, **flags: Any) -> None:
        self.clock = Clock()
        self.served = Served(settings(**flags))
        self.endpoint = self.served.endpoint
        self.served.session.hurry = self.clock  # type: ignore[assignment]
        self.scrapers = self.endpoint._scrapers = Scrapers(self.clock)

    def scrape(self, total: int = 13, timeout_s: float | None = 10.0, *, is_final: bool = False) -> None:
        """Scrape."""
        self.scrapers.came(PROMETHEUS, timeout_s=timeout_s)
        self.scrapers.seen(PROMETHEUS, run_id="run-1", total=total, is_final=is_final)

    def finish(self) -> float:
        """Return the seconds until it has finished."""
        began_s = self.clock.now_s
        self.endpoint.finish(active_run())
        return self.clock.now_s - began_s


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[..., Ending]:
    """Give a function that starts an endpoint with some flags, at the clock of a test."""
    caplog.set_level(logging.INFO)

    def make(**flags: Any) -> Ending:
        made = Ending(**flags)
        caplog.clear()
        monkeypatch.setattr(output, "monotonic", made.clock)
        return made

    return make


def test_no_scraper(ending: Callable[..., Ending], caplog: pytest.LogCaptureFixture) -> None:
    """Without a scraper the end comes at once; a visitor is not one, but its values count."""
    end = ending()
    assert end.finish() == 0
    assert end.endpoint.account == "never scraped"
    end.scrape(timeout_s=None)
    assert end.finish() == 0
    assert (end.endpoint.account, caplog.messages) == ("last scrape 13", [])


def test_a_scraper_is_awaited(ending: Callable[..., Ending], caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint waits until the scraper has the final values, and the account has their total."""
    end = ending()
    end.scrape()
    end.clock.events = {
        1003.0: lambda: end.scrape(14),
        1007.0: lambda: end.scrape(1_500, is_final=True),
    }
    assert end.finish() == pytest.approx(7, abs=0.1)
    assert caplog.messages == [
        "Waiting up to 12.0 s for 10.0.0.1 to scrape the final values; press Ctrl-C to end it now."
    ]
    assert end.endpoint.account == "last scrape 1,500"
    assert end.finish() == 0


def test_a_scraper_that_does_not_come(ending: Callable[..., Ending]) -> None:
    """The wait ends after 1.2 of its intervals, and the account has the values of its last scrape."""
    end = ending()
    end.scrape()
    end.clock.now_s += 4
    assert end.finish() == pytest.approx(8, abs=0.1)
    assert end.endpoint.account == "last scrape 13"


@pytest.mark.parametrize(
    ("linger", "grace_s", "waited_s"), [("off", None, 0), ("auto", 0.0, 0), ("3s", None, 3), ("9s", 2, 2)]
)
def test_limits(ending: Callable[..., Ending], linger: str, grace_s: float | None, waited_s: float) -> None:
    """The shortest of the interval, the flag and the time that is left is the limit."""
    end = ending(prometheus_linger=linger)
    end.served.session.grace_s = grace_s
    end.scrape()
    assert end.finish() == pytest.approx(waited_s, abs=0.1)


@pytest.mark.parametrize("after_s", [0, 5])
def test_hurry(ending: Callable[..., Ending], after_s: float) -> None:
    """In a hurry the wait ends at once."""
    end = ending()
    end.scrape()
    end.clock.events = {1000 + after_s: end.clock.set}
    if not after_s:
        end.clock.wait(0)
    assert end.finish() == pytest.approx(after_s, abs=0.1)


def test_no_account_where_workers_export() -> None:
    """With --export-from workers no process has all numbers."""
    served = Served(settings(export_from="workers"), Origin(name="host", is_master=True))
    served.session.taken = replace(rich_snapshot(), is_final=True)
    served.ask()
    served.endpoint.finish(active_run())
    assert served.endpoint.account == ""
