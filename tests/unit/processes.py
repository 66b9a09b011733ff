"""Locust's process and the exporter for tests, in one process: a link that keeps messages, and an exporter."""

from __future__ import annotations

import pickle
from argparse import Namespace
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgpack
from locust.rpc.protocol import Message
from locust.runners import WorkerNode as LocustWorker
from locust.runners import WorkerNodes
from locust.stats import RequestStats

from locust_otel.core.settings import Flags, flags_of, values_of
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.intake import Intake
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Origin, Session, State
from locust_otel.exporter.settings import resolve
from locust_otel.exporter.slow_log import SlowLog
from locust_otel.plugin.bridge import Bridge
from locust_otel.plugin.distributed import MasterNode, WorkerNode
from locust_otel.plugin.life import Life
from locust_otel.plugin.link import Link
from locust_otel.plugin.local import LocalNode
from locust_otel.slo.objectives import Slo
from locust_otel.wire import frames
from tests.unit.factories import Admin, Shopper, event, fire, objectives, user

START_TIME = 1_764_000_000.25


def flags(**given: object) -> Flags:
    """Return flags that differ from the defaults by these."""
    return flags_of(values_of(None, {"prometheus_port": "off", **given}))


def environment(runner: Any = None, **options: Any) -> Any:
    """Return an environment of Locust with this runner; `FakeRunner` by default."""
    return SimpleNamespace(
        runner=runner or FakeRunner(), stats=RequestStats(), user_classes=[Shopper, Admin], host="http://shop",
        locustfile="shop.py", parsed_locustfiles=["/home/me/shop.py"], profile="p", reset_stats=False, web_ui=None,
        process_exit_code=None, stop_timeout=0.0, parsed_options=Namespace(**{"headless": True, **options}),
    )  # fmt: skip


class FakeRunner:
    """Runner of Locust with the attributes that the plugin uses.

    Attributes:
        heard: Listeners of messages, by name.
        sent: Messages over Locust's own connection: name, data, and client.
    """

    client_id: str
    worker_index: int

    def __init__(self, *, is_master: bool = False) -> None:
        self.state = "running"
        self.user_classes = [Shopper, Admin]
        self.user_classes_count = {"Shopper": 3}
        self.target_user_count = 4
        self.target_user_classes_count: dict[str, int] = {}
        self.spawn_rate = 2.0
        self.heard: dict[str, Callable[..., None]] = {}
        self.sent: list[tuple[str, Any, str | None]] = []
        if is_master:
            self.clients: Any = WorkerNodes()
            self.reported_user_classes_count = {"Shopper": 3}

    def add_worker(self, client_id: str, state: str = "running") -> None:
        """Connect a worker."""
        self.clients[client_id] = LocustWorker(client_id, state=state)

    def get_worker_index(self, client_id: str) -> int:
        """Return the index of a worker."""
        return list(self.clients).index(client_id)

    def register_message(self, name: str, listener: Callable[..., None]) -> None:
        """Register the listener of a message."""
        self.heard[name] = listener

    def send_message(self, name: str, data: Any = None, client_id: str | None = None) -> None:
        """Send a message."""
        self.sent.append((name, sent(data), client_id))


def sent(data: Any) -> Any:
    """Return the data after the way over Locust's connection."""
    return Message.unserialize(Message("stats", data, "host_1").serialize()).data


class FakeLink(Link):
    """Link to an exporter that keeps all messages.

    Attributes:
        said: Messages, as they arrive.
        room: Whether the exporter reads.
        answers: Answers to questions; other questions time out.
    """

    is_usable = True

    def __init__(self, ready: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.ready = ready if ready is not None else Exporter().ready
        self.said: list[list[Any]] = []
        self.room = True
        self.answers: dict[str, Any] = {}

    @property
    def has_room(self) -> bool:
        """True if the exporter reads."""
        return self.room

    def send(self, *message: Any) -> None:
        """Keep a message."""
        self.said += frames.Frames().feed(frames.packed(*message))

    def ask(self, question: str, argument: object = None, timeout_s: float = 2.0) -> Any:
        """Keep a question, and return its answer."""
        self.said.append([frames.ASK, question, argument])
        if question not in self.answers:
            raise TimeoutError(f"the exporter did not answer within {timeout_s:g} s")
        return self.answers[question]

    def close(self, interrupted: Callable[[float], bool]) -> None:  # noqa: ARG002
        """Keep the message of the end."""
        self.said.append([frames.STOP])

    def names(self) -> list[str]:
        """Return the names of the messages."""
        return [name for name, *_ in self.said]

    def only(self, name: str) -> list[Any]:
        """Return the arguments of the only message of a name."""
        (arguments,) = [arguments for said, *arguments in self.said if said == name]
        return arguments


class Exporter:
    """Exporter without a process: a session, and the intake of messages.

    Attributes:
        told: Messages to Locust's process.
    """

    def __init__(
        self, *, slo: Slo | None = None, is_master: bool = False, is_worker: bool = False, name: str = "host-0",
        state: State | None = None, **given: object,
    ) -> None:  # fmt: skip
        settings = resolve(values_of(None, {"prometheus_port": "off", **given}), is_worker=is_worker)
        if slo is not None:
            settings = replace(settings, slo=slo, slow_s=float(slo.slow_s))
        versions = {"version": "0.1.0", "python_version": "3.11.2"}
        origin = Origin(
            name=name, is_master=is_master, is_worker=is_worker, start_time=START_TIME, versions=versions
        )  # fmt: skip
        self.told: list[tuple[Any, ...]] = []
        self.session = Session(settings, origin, lambda *message: self.told.append(message), state)
        self.slow_log = SlowLog(self.session)
        self.intake = Intake(self.session, self.slow_log)

    def successor(self) -> Exporter:
        """Return an exporter that continues with the saved state of this one."""
        made = copy(self)
        state: State = pickle.loads(self.session.saved())  # noqa: S301  # our own
        made.session = Session(self.session.settings, self.session.origin, self.session.tell, state)
        made.slow_log = SlowLog(made.session)
        made.intake = Intake(made.session, made.slow_log)
        return made

    @property
    def ready(self) -> dict[str, Any]:
        """Message of the exporter when it is ready."""
        settings, slo = self.session.settings, self.session.settings.slo
        return {
            "url": None, "received": 0, "has_slo": slo is not None, "slow_s": settings.slow_s,
            "max_names": settings.max_names, "trace_ratio": settings.trace_ratio,
            "thresholds_s": list(slo.thresholds_s) if slo else [], "kept_names": sorted(slo.names) if slo else [],
            "group_names": settings.group_names,
        }  # fmt: skip

    def begin(self, run_id: str = "run-1", **changes: Any) -> Run:
        """Begin a run."""
        return self.intake.begin({
            "run_id": run_id, "start_time": START_TIME, "started_s": 100.0, "info": {"host": "http://shop"},
            "users_target": 4, "is_headless": True, "only_summary": False, "settings": {}, **changes,
        })  # fmt: skip

    @property
    def run(self) -> Run:
        """The current run."""
        assert self.session.run is not None
        return self.session.run

    def take(self, *messages: list[Any]) -> None:
        """Take in messages of Locust's process."""
        takes: dict[str, Callable[..., object]] = {
            frames.BEGIN: self.intake.begin, frames.REPORT: self.intake.report, frames.WORKER: self.intake.worker,
            frames.STATUS: self.intake.status, frames.MARK: self.intake.mark, frames.EVENT: self.intake.event,
            frames.STOPPED: self.intake.stopped, frames.FINISH: lambda *_: self.run.finish(),
        }  # fmt: skip
        for message in messages:
            name, *arguments = msgpack.unpackb(msgpack.packb(message))
            takes[name](*arguments)


class Master:
    """Master and its exporter."""

    def __init__(self, workers: Collection[str] = (), *, slo: Slo | None = None, **given: Any) -> None:
        self.exporter = Exporter(is_master=True, slo=slo, **given)
        self.link = FakeLink(self.exporter.ready)
        self.runner = FakeRunner(is_master=True)
        for client_id in workers:
            self.runner.add_worker(client_id)
        self.environment = environment(self.runner, expect_workers=len(workers))
        self.node = MasterNode(self.environment, flags(**given), self.link)

    def begin(self) -> Run:
        """Begin a run in the master and in the exporter."""
        return self.exporter.begin(self.node.start_run().run_id)

    def hear(self, client_id: str, data: dict[str, Any]) -> None:
        """Take a report of a worker, and pass it to the exporter."""
        self.node.on_worker_report(client_id, data)
        self.deliver()

    def deliver(self) -> Snapshot:
        """Pass all messages to the exporter and its names back; return its snapshot."""
        self.exporter.take(*self.link.said)
        self.link.said.clear()
        for name, *arguments in self.exporter.told:
            if name == frames.NAMES:
                self.node.tell_names(*arguments)
        self.exporter.told.clear()
        return self.exporter.session.snapshot()


class Worker:
    """Worker without its own exporter."""

    def __init__(self, client_id: str = "host_1", index: int = 0, **given: Any) -> None:
        self.client_id = client_id
        self.runner = FakeRunner()
        self.runner.client_id, self.runner.worker_index = client_id, index
        self.environment = environment(self.runner)
        self.node = WorkerNode(self.environment, flags(**given), Link())

    def begin(self, master: Master) -> None:
        """Begin the master's run, with the options that Locust sends with the order to spawn users."""
        options = sent(vars(master.environment.parsed_options))
        self.environment.parsed_options = Namespace(**options)
        self.environment.stats.clear_all()
        self.node.start_run()

    def request(self, count: int = 1, **fields: Any) -> None:
        """Make requests of a user, which Locust counts too."""
        fire(self.node.recorder.on_request, [event(**fields)] * count, user())
        for _ in range(count):
            self.environment.stats.log_request("GET", "/", 12, 100)

    def report(self) -> dict[str, Any]:
        """Return the report that Locust sends every three seconds, as it arrives."""
        data = {"stats_total": self.environment.stats.total.get_stripped_report()}
        self.node.on_report_to_master(data)
        result: dict[str, Any] = sent(data)
        return result

    def report_to(self, master: Master) -> None:
        """Report, and take the messages of the master."""
        master.hear(self.client_id, self.report())
        for name, data, _ in [message for message in master.runner.sent if message[2] == self.client_id]:
            self.runner.heard[name](msg=SimpleNamespace(data=data), environment=None)
        master.runner.sent = [message for message in master.runner.sent if message[2] != self.client_id]


class LocalProcess:
    """Local Locust process with one user, without Locust's events."""

    def __init__(self, *, has_slo: bool = False, is_headless: bool = True, **options: Any) -> None:
        self.link = FakeLink(Exporter(slo=objectives() if has_slo else None).ready)
        self.environment = environment(headless=is_headless, **options)
        self.quits: list[str] = []
        for name in ("quit", "stop"):
            setattr(self.environment.runner, name, lambda name=name: self.quits.append(name))
        self.node = LocalNode(self.environment, flags(run_id="run"), self.link)
        self.life = Life(self.node, freezes=False)
        self.bridge = Bridge(self.node, self.life)

    def said(self) -> list[str]:
        """Return the messages since the last call: names, with the run if there is one."""
        told = [message for message in self.link.said if message[0] != frames.REPORT]
        self.link.said.clear()
        runs = {frames.BEGIN, frames.STATUS}
        return [
            f"{name} {arguments[0]['run_id'] if name in runs else arguments[0] if arguments else ''}".strip()
            for name, *arguments in told
        ]

    def marks(self) -> list[list[str]]:
        """Return the marks that were sent: text and kind."""
        return [message[2:4] for message in self.link.said if message[0] == frames.MARK]
