"""Tests of the wiring into Locust: its own events, with a link that keeps what is said in the exporter's place."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from socket import gethostname
from typing import Any

import gevent
import pytest
from locust.env import Environment
from locust.runners import WorkerRunner

from locust_otel.core.errors import ConfigurationError
from locust_otel.exporter.settings import resolve
from locust_otel.plugin import wiring
from locust_otel.plugin.wiring import attach, mark
from locust_otel.wire import frames
from locust_otel.wire.report import Piece, decode
from tests.unit.factories import Shopper, event, user
from tests.unit.processes import Exporter, FakeLink


class Links:
    """All links that are made.

    Attributes:
        settings: What each exporter is told, as it arrives.
        problem: Why it refuses to start.
    """

    def __init__(self) -> None:
        self.made: list[FakeLink] = []
        self.settings: list[dict[str, Any]] = []
        self.problem: ConfigurationError | None = None

    def __call__(self) -> FakeLink:
        """Make one."""
        link = FakeLink({})
        link.is_usable = False

        def start(settings: Mapping[str, Any]) -> None:
            if self.problem is not None:
                raise self.problem
            ((_, told),) = frames.Frames().feed(frames.packed(frames.SETTINGS, settings))
            self.settings.append(told)
            link.ready |= {**Exporter().ready, "has_slo": told["values"]["slo"] is not None}
            link.is_usable = True

        link.start = start  # type: ignore[method-assign]
        self.made.append(link)
        return link


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[Links]:
    """Have no exporter be started; at the end close the bridges."""
    made = Links()
    monkeypatch.setattr(wiring, "Link", made)
    yield made
    for bridge in list(wiring._bridges.values()):
        bridge.close()
    wiring._bridges.clear()


def environment(**options: Any) -> Any:
    """Return an environment of Locust with a local runner."""
    made = Environment(user_classes=[Shopper], parsed_options=Namespace(headless=True, **options) if options else None)
    made.create_local_runner()
    return made


def request(of: Any, count: int = 1) -> None:
    """Have a user make requests."""
    gevent.spawn(lambda _: [of.events.request.fire(**event()) for _ in range(count)], user()).get()


def reports(link: FakeLink) -> list[Piece]:
    """Return all that was reported."""
    return [decode(message[2]) for message in link.said if message[0] == frames.REPORT]


def recorded(link: FakeLink) -> dict[str, int]:
    """Return how many requests were reported, by user class."""
    return {series.key.user_class: sum(series.counts.values()) for piece in reports(link) for series in piece.series}


def test_the_events_of_a_run(links: Links) -> None:
    """From the first to the last, as Locust fires them."""
    of = environment()
    bridge = attach(of, run_id="nightly")
    (link,) = links.made
    of.events.test_start.fire(environment=of)
    assert bridge.is_running
    request(of, 3)
    of.events.spawning_complete.fire(user_count=1)
    of.events.user_error.fire(user_instance=user(), exception=KeyError(), tb=None)
    of.events.reset_stats.fire()
    of.events.test_stop.fire(environment=of)
    of.events.quitting.fire(environment=of, reverse=True)
    of.events.quit.fire(exit_code=0)
    names = link.names()
    order = [frames.BEGIN, frames.EVENT, frames.STOPPED, frames.REPORT, frames.FINISH, frames.STOP]
    assert [name for name in dict.fromkeys(names) if name in order] == order
    assert recorded(link) == {"Shopper": 3}
    tail = reports(link)[-1].tail
    assert tail is not None
    assert (tail.reset, len(tail.events)) == (3, 1)


def test_what_an_exporter_is_told(links: Links) -> None:
    """The settings that a program gives, as values that the exporter understands, and whom it is beside."""
    attach(
        environment(), prometheus_port=0, run_id="nightly", run_label={"team": "shop", "n": 1}, slow_request=0.25,
        otlp_endpoint=None, slo_abort=False,
    )  # fmt: skip
    (told,) = links.settings
    settings = resolve(told["values"])
    assert (settings.port, settings.run_id, settings.run_labels, settings.slow_s) == (
        0, "nightly", {"team": "shop", "n": "1"}, 0.25,
    )  # fmt: skip
    assert (told["name"], told["port_offset"]) == (f"{gethostname()}-0", 0)
    assert (told["is_master"], told["is_worker"]) == (False, False)
    assert list(told["versions"]) == ["version", "python_version"]


@pytest.mark.parametrize(
    "labels", [("a=1", "b=x/y"), ["a=1", "b=x/y"], {"a": 1, "b": Path("x/y")}], ids=lambda labels: type(labels).__name__
)
def test_values_of_any_kind(links: Links, tmp_path: Path, labels: Any) -> None:
    """What Locust's process would understand the exporter understands too: paths, tuples, and what is in them."""
    attach(environment(), prometheus_port="off", run_record=tmp_path, run_label=labels)
    settings = resolve(links.settings[0]["values"])
    assert (settings.run_record, settings.run_labels) == (str(tmp_path), {"a": "1", "b": "x/y"})


def test_twice(links: Links) -> None:
    """An environment has one bridge; another has another."""
    of, other = environment(), environment()
    assert attach(of, prometheus_port="off") is attach(of, prometheus_port=0)
    assert attach(other) is not attach(of)
    assert len(links.made) == 2


@pytest.mark.parametrize("of_user", [1, None])
@pytest.mark.parametrize("is_before", [True, False])
def test_the_verdict_is_the_last_word(links: Links, is_before: bool, of_user: int | None) -> None:
    """Whether the user's own listener of `quitting` was there before us or came later."""
    of = environment()

    def users_own(environment: Any, **_: object) -> None:
        environment.process_exit_code = of_user

    if is_before:
        of.events.quitting.add_listener(users_own)
    attach(of, slo="slo.yaml", prometheus_port="off")
    if not is_before:
        of.events.quitting.add_listener(users_own)
    links.made[0].answers["verdict"] = 3
    of.events.test_start.fire(environment=of)
    of.events.quitting.fire(environment=of, reverse=True)
    assert of.process_exit_code == 3


def test_the_exporter_stops_a_run(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and may mark what was marked elsewhere."""
    of = environment()
    attach(of, run_id="nightly")
    quits: list[int] = []
    monkeypatch.setattr(of.runner, "quit", lambda: quits.append(1))
    of.events.test_start.fire(environment=of)
    commands = links.made[0].commands
    commands[frames.MARKED]("db", "fault")
    commands[frames.ABORT]("nightly")
    gevent.sleep(0)
    assert quits == [1]
    assert links.made[0].only(frames.MARK)[:3] == ["nightly", "db", "fault"]


def test_marks_of_all_bridges(links: Links) -> None:
    """A mark of the process is one in the run of each environment that has one."""
    of, other, idle = environment(), environment(), environment()
    for one in (of, other, idle):
        attach(one)
    assert not mark("db", "fault")
    for one in (of, other):
        one.events.test_start.fire(environment=one)
    assert mark("db", "fault")
    assert [link.names().count(frames.MARK) for link in links.made] == [1, 1, 0]


def test_a_run_that_began_before_init(links: Links) -> None:
    """Its requests are kept until the bridge is there, with their users, and are then recorded in it."""
    of = environment()
    of.events.test_start.add_listener(wiring._on_test_start)
    of.events.test_start.fire(environment=of)
    request(of, 3)
    wiring._on_init(of)
    request(of, 2)
    of.events.test_stop.fire(environment=of)
    of.events.quit.fire(exit_code=0)
    (link,) = links.made
    assert link.names().count(frames.BEGIN) == 1
    assert recorded(link) == {"Shopper": 5}


def test_a_refusal(links: Links, capsys: pytest.CaptureFixture[str]) -> None:
    """Locust ends before any user spawns, with all problems and the code for that; a library gets the error."""
    links.problem = ConfigurationError.of([
        ConfigurationError("--a", "is none.", "Give one.", slug="a"),
        ConfigurationError("--b", "is odd.", "Mend it.", slug="b"),
    ])  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        wiring._on_init(environment())
    assert caught.value.code == 78
    assert capsys.readouterr().err == (
        "locust-otel: --a: is none. Give one. (a)\nlocust-otel: --b: is odd. Mend it. (b)\n"
    )
    with pytest.raises(ConfigurationError):
        attach(environment())
    assert not wiring._bridges


class FakeWorker(WorkerRunner):
    """A worker without a master."""

    def __init__(self) -> None:
        self.client_id, self.worker_index, self.state = "host_0123", 2, "ready"
        self.greenlet = None

    def register_message(self, *_: object, **__: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize("export_from", ["master", "workers"])
def test_a_worker(links: Links, export_from: str) -> None:
    """It has an exporter only where it serves its own numbers, at a port of its own."""
    of = Environment(user_classes=[Shopper])
    of.runner = FakeWorker()
    bridge = attach(of, export_from=export_from)
    assert bridge._node.link.is_usable == (export_from == "workers")
    assert [(told["name"], told["port_offset"], told["is_worker"]) for told in links.settings] == (
        [("host-2", 3, True)] if export_from == "workers" else []
    )
    data: dict[str, Any] = {"stats_total": {"num_requests": 0}}
    of.events.report_to_master.fire(client_id="host_0123", data=data)
    assert len(data["locust_otel"]) == 1
