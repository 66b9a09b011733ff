"""Tests of the wiring into Locust, with its own events and a link that keeps all messages to the exporter."""

from __future__ import annotations

import platform
from argparse import Namespace
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from types import SimpleNamespace
from typing import Any

import gevent
import locust
import pytest
from locust.env import Environment
from locust.event import Events
from locust.runners import MasterRunner, WorkerNodes, WorkerRunner

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import OPTIONS
from locust_otel.exporter.settings import resolve
from locust_otel.plugin import wiring
from locust_otel.plugin.wiring import attach, mark
from locust_otel.wire import frames
from locust_otel.wire.report import Piece, decode
from tests.unit.factories import Shopper, event, user
from tests.unit.processes import Exporter, FakeLink


class Links:
    """All links.

    Attributes:
        settings: The settings of each exporter, as they arrive.
        problem: The error of a start.
    """

    def __init__(self) -> None:
        self.links: list[FakeLink] = []
        self.settings: list[dict[str, Any]] = []
        self.problem: ConfigurationError | None = None

    def __call__(self) -> FakeLink:
        """Return a new link."""
        link = FakeLink({})
        link.is_usable = False

        def start(settings: Mapping[str, Any]) -> None:
            if self.problem is not None:
                raise self.problem
            ((_, received),) = frames.Frames().feed(frames.packed(frames.SETTINGS, settings))
            self.settings.append(received)
            link.ready |= {**Exporter().ready, "has_slo": received["values"]["slo"] is not None}
            link.is_usable = True

        link.start = start  # type: ignore[method-assign]
        self.links.append(link)
        return link


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[Links]:
    """Start no exporter; at the end close the bridges."""
    links = Links()
    monkeypatch.setattr(wiring, "Link", links)
    yield links
    for bridge in list(wiring._bridges.values()):
        bridge.close()
    wiring._bridges.clear()


def environment() -> Any:
    """Return an environment of Locust with a local runner."""
    env = Environment(user_classes=[Shopper])
    env.create_local_runner()
    return env


def request(env: Any, count: int = 1) -> None:
    """Let a user make requests."""
    gevent.spawn(lambda _: [env.events.request.fire(**event()) for _ in range(count)], user()).get()


def reports(link: FakeLink) -> list[Piece]:
    """Return all pieces of reports."""
    return [decode(message[2]) for message in link.said if message[0] == frames.REPORT]


def recorded(link: FakeLink) -> dict[str, int]:
    """Return the number of reported requests by user class."""
    return {series.key.user_class: sum(series.counts.values()) for piece in reports(link) for series in piece.series}


def test_the_events_of_a_run(links: Links) -> None:
    """Each of Locust's events, from the first to the last, leads to its message."""
    env = environment()
    bridge = attach(env, run_id="nightly")
    (link,) = links.links
    env.events.test_start.fire(environment=env)
    assert bridge.is_running
    request(env, 3)
    env.events.spawning_complete.fire(user_count=1)
    env.events.user_error.fire(user_instance=user(), exception=KeyError(), tb=None)
    env.events.reset_stats.fire()
    env.events.test_stop.fire(environment=env)
    env.events.quitting.fire(environment=env, reverse=True)
    env.events.quit.fire(exit_code=0)
    names = link.names()
    order = [frames.BEGIN, frames.EVENT, frames.STOPPED, frames.REPORT, frames.FINISH, frames.STOP]
    assert [name for name in dict.fromkeys(names) if name in order] == order
    assert recorded(link) == {"Shopper": 3}
    tail = reports(link)[-1].tail
    assert tail is not None
    assert (tail.reset, len(tail.events)) == (3, 1)


def test_settings_of_an_exporter(links: Links) -> None:
    """It gets the settings of the program in a form that it can read, and the kind of process."""
    attach(
        environment(), prometheus_port=0, run_id="nightly", run_label={"team": "shop", "n": 1}, slow_request=0.25,
        otlp_endpoint=None, slo_abort=False,
    )  # fmt: skip
    (received,) = links.settings
    settings = resolve(received["values"])
    assert (settings.port, settings.run_id, settings.run_labels, settings.slow_s) == (
        0, "nightly", {"team": "shop", "n": "1"}, 0.25,
    )  # fmt: skip
    assert (received["name"], received["port_offset"]) == (f"{gethostname()}-0", 0)
    assert (received["is_master"], received["is_worker"]) == (False, False)
    assert received["versions"] == {"version": version("locust-otel"), "python_version": platform.python_version()}


@pytest.mark.parametrize(
    "labels", [("a=1", "b=x/y"), ["a=1", "b=x/y"], {"a": 1, "b": Path("x/y")}], ids=lambda labels: type(labels).__name__
)
def test_values_of_any_kind(links: Links, tmp_path: Path, labels: Any) -> None:
    """The exporter can read paths, tuples and mappings, too."""
    attach(environment(), prometheus_port="off", run_record=tmp_path, run_label=labels)
    settings = resolve(links.settings[0]["values"])
    assert (settings.run_record, settings.run_labels) == (str(tmp_path), {"a": "1", "b": "x/y"})


def test_register(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust's parser gets our options, and each initialised environment a bridge; a second call changes nothing."""
    events = Events()
    monkeypatch.setattr(locust, "events", events)
    wiring.register()
    wiring.register()
    flags: list[str] = []
    group = SimpleNamespace(add_argument=lambda flag, **_: flags.append(flag))
    events.init_command_line_parser.fire(parser=SimpleNamespace(add_argument_group=lambda *_: group))
    assert flags == [option.flag for option in OPTIONS]
    env = environment()
    for _ in range(2):
        events.init.fire(environment=env, runner=env.runner, web_ui=None)
    assert len(links.links) == 1
    assert attach(env).run_id is None
    events.test_start.fire(environment=env)
    assert attach(env).is_running


@pytest.mark.parametrize("logfile", [None, "run.log"])
def test_summary_of_a_run(
    links: Links, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, logfile: str | None
) -> None:
    """It goes to standard output, and to the log only if that is a file."""
    caplog.set_level("INFO")
    env = environment()
    env.parsed_options = Namespace(headless=True, logfile=logfile)
    attach(env)
    links.links[0].commands[frames.SAY]("100 % of requests")
    assert capsys.readouterr().out == "100 % of requests\n"
    assert caplog.messages == ([] if logfile is None else ["100 % of requests"])


def test_attach_twice(links: Links) -> None:
    """Each environment has one bridge."""
    env, other = environment(), environment()
    assert attach(env, prometheus_port="off") is attach(env, prometheus_port=0)
    assert attach(other) is not attach(env)
    assert len(links.links) == 2


@pytest.mark.parametrize("of_user", [1, None])
@pytest.mark.parametrize("is_before", [True, False])
def test_the_verdict_sets_the_exit_code_last(links: Links, is_before: bool, of_user: int | None) -> None:
    """The user's own listener of `quitting` may have been added before us or later."""
    env = environment()

    def set_code(environment: Any, **_: object) -> None:
        environment.process_exit_code = of_user

    if is_before:
        env.events.quitting.add_listener(set_code)
    attach(env, slo="slo.yaml", prometheus_port="off")
    if not is_before:
        env.events.quitting.add_listener(set_code)
    links.links[0].answers["verdict"] = 3
    env.events.test_start.fire(environment=env)
    env.events.quitting.fire(environment=env, reverse=True)
    assert env.process_exit_code == 3


def test_commands_of_the_exporter(links: Links, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may stop the run, and pass on a mark."""
    env = environment()
    attach(env, run_id="nightly")
    quits: list[int] = []
    monkeypatch.setattr(env.runner, "quit", lambda: quits.append(1))
    env.events.test_start.fire(environment=env)
    commands = links.links[0].commands
    commands[frames.MARKED]("db", "fault")
    commands[frames.ABORT]("nightly")
    gevent.sleep(0)
    assert quits == [1]
    assert links.links[0].only(frames.MARK)[:3] == ["nightly", "db", "fault"]


def test_marks_of_all_bridges(links: Links) -> None:
    """A mark is set in the active run of each environment."""
    env, other, idle = environment(), environment(), environment()
    for attached in (env, other, idle):
        attach(attached)
    assert not mark("db", "fault")
    for attached in (env, other):
        attached.events.test_start.fire(environment=attached)
    assert mark("db", "fault")
    assert [link.names().count(frames.MARK) for link in links.links] == [1, 1, 0]


def test_a_run_that_began_before_init(links: Links) -> None:
    """Its requests are kept with their users, and recorded when the bridge is attached."""
    env = environment()
    env.events.test_start.add_listener(wiring._on_test_start)
    env.events.test_start.fire(environment=env)
    request(env, 3)
    wiring._on_init(env)
    request(env, 2)
    env.events.test_stop.fire(environment=env)
    env.events.quit.fire(exit_code=0)
    (link,) = links.links
    assert link.names().count(frames.BEGIN) == 1
    assert recorded(link) == {"Shopper": 5}


def test_a_refusal(links: Links, capsys: pytest.CaptureFixture[str]) -> None:
    """Locust ends before any user spawns, with all problems and exit code 78; `attach` raises the error."""
    links.problem = ConfigurationError.of([
        ConfigurationError("--a", "is odd.", "Give one.", slug="a"),
        ConfigurationError("--b", "is odd.", "Fix it.", slug="b"),
    ])  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        wiring._on_init(environment())
    assert caught.value.code == 78
    assert capsys.readouterr().err == (
        "locust-otel: --a: is odd. Give one. (a)\nlocust-otel: --b: is odd. Fix it. (b)\n"
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
    """It has an exporter, with its own port, only if it serves its own numbers."""
    env = Environment(user_classes=[Shopper])
    env.runner = FakeWorker()
    bridge = attach(env, export_from=export_from)
    assert bridge._node.link.is_usable == (export_from == "workers")
    assert [(given["name"], given["port_offset"], given["is_worker"]) for given in links.settings] == (
        [("host-2", 3, True)] if export_from == "workers" else []
    )
    data: dict[str, Any] = {"stats_total": {"num_requests": 0}}
    env.events.report_to_master.fire(client_id="host_0123", data=data)
    assert len(data["locust_otel"]) == 1


class FakeMaster(MasterRunner):
    """A master without workers."""

    def __init__(self) -> None:
        self.clients = WorkerNodes()
        self.greenlet = None
        self.sent: list[tuple[object, ...]] = []

    def register_message(self, *_: object, **__: object) -> None:
        """Do nothing."""

    def send_message(self, *message: object, **options: object) -> None:
        """Keep a message."""
        self.sent.append((*message, *options.values()))


def test_a_master(links: Links) -> None:
    """It passes reports to the exporter, and names to workers; without options it gets Locust's defaults."""
    env: Any = Environment(user_classes=[Shopper])
    env.runner = runner = FakeMaster()
    attach(env, export_from="master")
    assert env.parsed_options.expect_workers == 1
    assert [(given["is_master"], given["port_offset"]) for given in links.settings] == [(True, 0)]
    (link,) = links.links
    env.events.worker_report.fire(client_id="host_1", data={"stats_total": {"num_requests": 7}})
    assert link.only(frames.WORKER) == ["host_1", 7, None]
    link.commands[frames.NAMES]("host_1", "run-1", [["GET", "/"]])
    assert runner.sent == [("locust_otel.names", ["run-1", [["GET", "/"]]], "host_1")]
