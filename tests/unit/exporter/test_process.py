"""Tests of the exporter process, in a thread: its messages, and its calls of the outputs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Condition, Thread
from threading import Event as Flag
from time import sleep
from typing import Any

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.events import Event
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter import process as process_module
from locust_otel.exporter.checkpoint import Checkpoint
from locust_otel.exporter.connection import Plugin
from locust_otel.exporter.output import Output
from locust_otel.exporter.process import Exporter
from locust_otel.exporter.run import Phase, Run
from locust_otel.exporter.session import Session
from locust_otel.exporter.settings import Settings
from locust_otel.wire import frames
from locust_otel.wire.report import encode, fingerprint
from tests.unit.factories import Load

RUN = {
    "run_id": "run-1", "start_time": 1_764_000_000.25, "started_s": 0.0, "info": {}, "users_target": 4,
    "is_headless": True, "only_summary": False, "settings": {},
}  # fmt: skip
FINISH = ["finish", "run-1", None]


class FakeOutput(Output):
    """An output that notes its calls.

    Attributes:
        calls: Names of the called methods, with the run if there is one, in order; all outputs share it.
        totals: Requests in each snapshot.
        may_finish: `finish` waits for it.
        fails_in: The method that raises an error.
        problem: The error that `start` raises.
    """

    session: Session

    def __init__(self, calls: list[str], name: str = "") -> None:
        self.calls = calls
        self.name = name
        self.totals: list[int] = []
        self.events: list[Event] = []
        self.may_finish = Flag()
        self.may_finish.set()
        self.fails_in = ""
        self.problem: ConfigurationError | None = None

    def _call(self, method: str, run_id: str = "") -> None:
        self.calls.append(f"{self.name} {method} {run_id}".strip())
        if method == self.fails_in:
            raise RuntimeError(f"broken in {method}")

    def start(self, settings: Settings) -> None:  # noqa: ARG002
        """Start."""
        self._call("start")
        if self.problem is not None:
            raise self.problem

    def begin(self, run: Run) -> None:
        """Begin."""
        self._call("begin", run.run_id)

    def collect(self, snapshot: Snapshot) -> None:
        """Collect."""
        assert snapshot.run is not None
        self.totals.append(snapshot.run.requests.total)
        if self.fails_in == "collect":
            raise RuntimeError("broken in collect")

    def note(self, event: Event) -> None:
        """Take an event."""
        self.events.append(event)

    def answer(self, question: str, argument: object) -> Any:
        """Answer."""
        return [self.name, argument] if question == f"page of {self.name}" else None

    def finish(self, run: Run) -> None:
        """Finish."""
        assert self.may_finish.wait(5)
        self._call("finish", run.run_id)

    def stop(self, deadline_s: float) -> None:  # noqa: ARG002
        """Stop."""
        self._call("stop")

    @property
    def account(self) -> str:
        """Its part of the account."""
        return f"{self.name} has all" if self.name else ""


class FakePlugin(Plugin):
    """The connection to Locust's process, without a socket.

    Attributes:
        incoming: Messages to the exporter; None closes the connection.
        heard: Messages of the exporter.
        news: Notified after each message of the exporter.
    """

    def __init__(self) -> None:
        self.incoming: SimpleQueue[Any] = SimpleQueue()
        self.messages = iter(self.incoming.get, None)
        self.heard: list[list[Any]] = []
        self.news = Condition()

    def tell(self, *message: Any) -> None:
        """Take a message of the exporter."""
        with self.news:
            self.heard += frames.Frames().feed(frames.packed(*message))
            self.news.notify_all()

    def close(self, timeout_s: float) -> None:  # noqa: ARG002
        """Close the connection."""
        self.incoming.put(None)


class Locust:
    """Locust's process as the exporter sees it, with an exporter in a thread."""

    def __init__(self, files: list[int], outputs: list[FakeOutput]) -> None:
        self.outputs = outputs
        self.output = outputs[0]
        self.plugin = FakePlugin()
        self.exporter = Exporter(self.plugin, Checkpoint(files[:2]), Checkpoint(files[2:]))
        self.code: int | None = None
        self._thread = Thread(target=self._work)

    def _work(self) -> None:
        settings = self.plugin.settings()
        assert settings is not None
        self.code = self.exporter.main(settings)

    @property
    def session(self) -> Session:
        """The session of the exporter."""
        return self.output.session

    @property
    def run(self) -> Run:
        """The current run."""
        assert self.session.run is not None
        return self.session.run

    def say(self, *messages: list[Any]) -> None:
        """Send messages."""
        for message in messages:
            self.plugin.incoming.put(message)

    def start(self, **changes: Any) -> dict[str, Any]:
        """Send the settings, and return the answer of an exporter that is ready."""
        values = values_of(None, {"prometheus_port": "off", **changes.pop("given", {})})
        self.say(["settings", {
            "values": values, "log_level": logging.INFO, "name": "host-0", "is_master": False, "is_worker": False,
            "port_offset": 0, "start_time": 1.5, "restarts": 0, "said": 0, "versions": {}, **changes,
        }])  # fmt: skip
        self._thread.start()
        self.until(lambda: self.told(frames.READY) or self.told(frames.REFUSED))
        return dict(self.told(frames.READY)[0][0]) if self.told(frames.READY) else {}

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition; it is checked after each message of the exporter, which sends one each interval."""
        with self.plugin.news:
            assert self.plugin.news.wait_for(condition, 5)

    def until_saved(self, messages: int) -> None:
        """Wait until a checkpoint has these messages."""
        self.until(lambda: [messages] in self.told(frames.KEPT))

    def told(self, name: str) -> list[list[Any]]:
        """Return the arguments of the messages with a name."""
        return [arguments for heard, *arguments in self.plugin.heard if heard == name]

    def log(self) -> list[str]:
        """Return the lines of the log and of standard output."""
        return [message[-1] for message in self.plugin.heard if message[0] in {frames.LOG, frames.SAY}]

    def report(self, count: int, run_id: str = "run-1") -> list[Any]:
        """Return a report with this number of requests."""
        series = [["GET", "/", "Shopper", 0, 0, 1.0, 10, [8, count], {}]]
        layout = fingerprint(Load().merged.layout)
        return ["report", "host-0", encode(run_id, layout, series)]

    def close(self) -> None:
        """Close the connection, and wait for the end of the exporter."""
        for output in self.outputs:
            output.may_finish.set()
        self.plugin.close(0)
        self.wait()

    def wait(self) -> None:
        """Wait for the end of the exporter."""
        self._thread.join(5)
        assert not self._thread.is_alive()


Start = Callable[..., Locust]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a maker of exporters with outputs of these names; all have the same checkpoints."""
    logger = logging.getLogger("locust_otel")
    state = logger.level, logger.propagate, logger.handlers[:], logging.getLogger().handlers[:]
    files = [os.memfd_create(f"test-{number}") for number in range(4)]
    made: list[Locust] = []
    monkeypatch.setattr(process_module, "INTERVAL_S", 0.02)
    monkeypatch.setattr(process_module, "setproctitle", lambda _: None)

    def make_locust(*names: str) -> Locust:
        calls: list[str] = []
        outputs = [FakeOutput(calls, name) for name in names or ("",)]

        def outputs_of(session: Session) -> list[FakeOutput]:
            for output in outputs:
                output.session = session
            return outputs

        monkeypatch.setattr(process_module, "outputs_of", outputs_of)
        made.append(Locust(files, outputs))
        return made[-1]

    yield make_locust
    for locust in made:
        if locust.code is None:
            locust.close()
    logger.level, logger.propagate, logger.handlers[:], logging.getLogger().handlers[:] = state
    for file in files:
        os.close(file)


# ------------------------------------------------------------------------------------------------------------ start


def test_ready(make: Start) -> None:
    """The outputs start in order; then the exporter sends its settings to Locust's process."""
    locust = make("a", "b")
    assert locust.start(given={"max_request_names": "7", "propagate_traces": "0.5"}) == {
        "url": None, "received": 0, "has_slo": False, "slow_s": 5.0, "max_names": 7, "trace_ratio": 0.5,
        "thresholds_s": [], "kept_names": [], "group_names": False,
    }  # fmt: skip
    assert locust.output.calls == ["a start", "b start"]
    locust.close()
    assert locust.code == 0


def test_refused_settings(make: Start) -> None:
    """Each problem is sent with its parts; no output starts."""
    locust = make("a")
    locust.start(given={"prometheus_port": "x", "run_id": "-"})
    locust.wait()
    (problems,) = locust.told(frames.REFUSED)[0]
    assert [(where, slug) for where, _, _, slug in problems] == [
        ("--prometheus-port", "prometheus-port"), ("--run-id", "run-id"),
    ]  # fmt: skip
    assert (locust.code, locust.output.calls) == (78, [])


def test_an_output_that_cannot_start(make: Start) -> None:
    """The problem of an output refuses the run."""
    locust = make("a", "b")
    locust.outputs[1].problem = ConfigurationError("--a", "is taken.", "Give another.", slug="taken")
    locust.start()
    locust.wait()
    assert locust.told(frames.REFUSED) == [[[["--a", "is taken.", "Give another.", "taken"]]]]
    assert locust.code == 78


# -------------------------------------------------------------------------------------------------------------- run


def test_a_run(make: Start) -> None:
    """Outputs begin, collect each interval, and finish after the last report; then the account is logged."""
    locust = make("a", "b")
    locust.start()
    locust.say(["begin", RUN], locust.report(3))
    locust.until(lambda: 3 in locust.outputs[1].totals)
    assert locust.output.calls[2:] == ["a begin run-1", "b begin run-1"]
    locust.output.may_finish.clear()
    locust.say(locust.report(5), ["stopped", "run-1", 2.5], ["finish", "run-1", 7.5])
    locust.until(lambda: "b finish run-1" in locust.output.calls)
    assert locust.log() == []
    assert (locust.run.phase, locust.run.elapsed_s, locust.session.grace_s) == (Phase.FINAL, 2.5, 7.5)
    locust.say(["stop"])
    locust.output.may_finish.set()
    locust.wait()
    assert locust.output.calls[4:] == ["b finish run-1", "a finish run-1", "a stop", "b stop"]
    assert [event.name for event in locust.outputs[1].events] == ["locust.run.start", "locust.run.stop"]
    assert locust.outputs[1].events[-1].attributes == {"run_id": "run-1", "requests": 5, "failures": 0}
    assert locust.log() == ["requests: recorded 5 · a has all · b has all"]
    assert locust.plugin.heard[-1] == [frames.DONE]
    assert locust.code == 0


def test_outputs_that_add_events_finish_first(make: Start) -> None:
    """An output with `adds_events` finishes before the others begin to."""
    locust = make("a", "b")
    locust.outputs[1].adds_events = True
    locust.start()
    locust.outputs[1].may_finish.clear()
    locust.say(["begin", RUN], FINISH)
    locust.until(lambda: len(locust.told(frames.KEPT)) > 5)
    assert "a finish run-1" not in locust.output.calls
    locust.outputs[1].may_finish.set()
    locust.until(locust.log)
    assert locust.output.calls[-2:] == ["b finish run-1", "a finish run-1"]


def test_a_final_run(make: Start) -> None:
    """After its end outputs collect no more, and finish only once."""
    locust = make()
    locust.start()
    locust.say(["begin", RUN], FINISH)
    locust.until(locust.log)
    collected = len(locust.output.totals)
    locust.until(lambda: len(locust.told(frames.KEPT)) > 5)
    assert len(locust.output.totals) == collected
    locust.say(FINISH, ["finish", "run-0", None], ["stop"])
    locust.wait()
    assert locust.output.calls.count("finish run-1") == 1


def test_a_second_run(make: Start) -> None:
    """A run begins after the end of the one before, whose outputs are hurried."""
    locust = make()
    locust.start()
    locust.output.may_finish.clear()
    locust.say(["begin", RUN], FINISH, ["begin", RUN | {"run_id": "run-2"}])
    locust.until(locust.session.hurry.is_set)
    assert "begin run-2" not in locust.output.calls
    locust.output.may_finish.set()
    locust.until(lambda: "begin run-2" in locust.output.calls)
    assert locust.output.calls == ["start", "begin run-1", "finish run-1", "begin run-2"]
    assert not locust.session.hurry.is_set()
    locust.say(locust.report(2, "run-2"))
    locust.until(lambda: 2 in locust.output.totals)


def test_a_hurry(make: Start) -> None:
    """A second signal sets `hurry` for all outputs."""
    locust = make()
    locust.start()
    locust.say(["hurry"])
    locust.until(locust.session.hurry.is_set)


def test_questions(make: Start) -> None:
    """The output that knows the answer gives it; the answer to an unknown question is None."""
    locust = make("a", "b")
    locust.start()
    locust.say(["ask", 1, "page of b", 7], ["ask", 2, "unknown", None])
    locust.until(lambda: len(locust.told(frames.ANSWER)) == 2)
    assert locust.told(frames.ANSWER) == [[1, ["b", 7]], [2, None]]


def test_invalid_messages(make: Start) -> None:
    """Each invalid message is logged, and the next one is taken in."""
    locust = make()
    locust.start()
    locust.say(["begin", RUN], ["news", 1], ["report"], ["stopped", 1, 2, 3], locust.report(3))
    locust.until(lambda: 3 in locust.output.totals)
    assert [text.splitlines()[0] for text in locust.log()] == [
        f"The message {name} could not be processed" for name in ("news", "report", "stopped")
    ]


@pytest.mark.parametrize("method", ["begin", "collect", "finish", "stop"])
def test_an_output_that_fails(make: Start, method: str) -> None:
    """The failure of an output is logged, and the others continue."""
    locust = make("a", "b")
    locust.output.fails_in = method
    locust.start()
    locust.say(["begin", RUN], locust.report(3))
    locust.until(lambda: 3 in locust.outputs[1].totals)
    locust.say(FINISH, ["stop"])
    locust.wait()
    assert {"b begin run-1", "b finish run-1", "b stop"} <= set(locust.output.calls)
    assert locust.code == 0
    assert any(text.startswith("FakeOutput failed\n") and f"broken in {method}" in text for text in locust.log())


# --------------------------------------------------------------------------------------------------- life and death


def test_locust_dies(make: Start) -> None:
    """After the end of the connection the run is lost, and concluded with a time limit."""
    locust = make()
    locust.start()
    locust.say(["begin", RUN], locust.report(3))
    locust.until(lambda: 3 in locust.output.totals)
    locust.close()
    assert (locust.run.phase, locust.session.grace_s) == (Phase.LOST, 25.0)
    assert locust.session.snapshot().is_final
    assert locust.output.calls[2:] == ["finish run-1", "stop"]
    assert locust.code == 0


def test_locust_dies_after_the_end_of_a_run(make: Start) -> None:
    """The run keeps its end and its time limit, and is concluded once."""
    locust = make()
    locust.start()
    locust.say(["begin", RUN], ["finish", "run-1", 7.5])
    locust.until(lambda: locust.output.calls[2:])
    locust.close()
    assert (locust.run.phase, locust.session.grace_s) == (Phase.FINAL, 7.5)
    assert locust.output.calls[2:] == ["finish run-1", "stop"]


def test_a_successor_continues(make: Start) -> None:
    """It has the state of the checkpoint, and sends the number of its messages; outputs do not begin again."""
    first = make()
    first.start()
    first.say(["begin", RUN], first.report(3), ["mark", "run-1", "db", "fault", 1.5])
    first.until_saved(3)
    second = make()
    assert second.start(restarts=1)["received"] == 3
    second.say(second.report(5))
    second.until(lambda: 5 in second.output.totals)
    assert second.run.marks == {("db", "fault"): 1}
    assert second.session.snapshot().health.restarts == 1
    assert second.output.calls == ["start"]
    second.until_saved(4)


def test_a_successor_catches_up(make: Start) -> None:
    """It gives outputs no snapshot before it has all messages sent to its predecessor: numbers would fall."""
    first = make()
    first.start()
    first.say(["begin", RUN], first.report(3))
    first.until_saved(2)
    second = make()
    assert second.start(restarts=1, said=5)["received"] == 2
    second.say(second.report(5), ["ask", 1, "unknown", None])
    second.until(lambda: second.told(frames.ANSWER))
    assert not second.session.lock.acquire(blocking=False)
    assert second.output.totals == []
    second.say(second.report(7))
    second.until(lambda: 7 in second.output.totals)
    assert set(second.output.totals) == {7}


def test_a_successor_catches_up_over_two_runs(make: Start) -> None:
    """It concludes a run whose end was not in the checkpoint, and begins the next one."""
    second = make()
    second.start(restarts=1, said=6)
    second.say(["begin", RUN], second.report(3), ["stopped", "run-1", 2.5], FINISH)
    second.say(["begin", RUN | {"run_id": "run-2"}], second.report(2, "run-2"))
    second.until(lambda: 2 in second.output.totals and second.log())
    assert second.output.calls == ["start", "begin run-1", "finish run-1", "begin run-2"]
    assert second.log() == ["requests: recorded 3"]


def test_locust_dies_before_a_successor_has_caught_up(make: Start) -> None:
    """The successor concludes the run with the messages that it has."""
    second = make()
    second.start(restarts=1, said=6)
    second.say(["begin", RUN], second.report(3))
    second.close()
    assert second.output.calls == ["start", "begin run-1", "finish run-1", "stop"]
    assert second.log() == ["requests: recorded 3"]


def test_a_successor_concludes_a_run(make: Start) -> None:
    """If its predecessor died while concluding a run, the outputs finish that run."""
    first = make()
    first.start()
    first.output.may_finish.clear()
    first.say(["begin", RUN], first.report(3), FINISH)
    first.until_saved(3)
    second = make()
    second.start(restarts=1)
    second.until(second.log)
    assert second.output.calls == ["start", "finish run-1"]
    assert second.log() == ["requests: recorded 3"]


def test_a_successor_does_not_conclude_a_run_again(make: Start) -> None:
    """A run with a logged account is over."""
    first = make()
    first.start()
    first.say(["begin", RUN], first.report(3), FINISH)
    first.until(first.log)
    saved = len(first.told(frames.KEPT))
    first.until(lambda: len(first.told(frames.KEPT)) > saved + 1)
    second = make()
    second.start(restarts=1)
    second.until(lambda: len(second.told(frames.KEPT)) > 2)
    assert (second.output.calls, second.log(), second.output.events) == (["start"], [], [])


def test_a_successor_has_all_exports(make: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports after the last checkpoint count too, since a scrape may have shown them."""
    monkeypatch.setattr(process_module, "INTERVAL_S", 60.0)
    first = make()
    first.start()
    first.say(["begin", RUN])
    first.until_saved(1)
    for _ in range(3):
        first.session.exports.note("prometheus", ok=True, seconds=0.5)
    second = make()
    second.start(restarts=1, said=1)
    (count,) = second.session.exports.counts()
    assert (count.exporter, count.count) == ("prometheus", 3)


def test_a_first_exporter_reads_no_checkpoint(make: Start) -> None:
    """Only a successor reads a checkpoint."""
    first = make()
    first.start()
    first.say(["begin", RUN])
    first.until_saved(1)
    assert make().start()["received"] == 0


@pytest.mark.parametrize("message", [["begin", RUN], ["mark", "run-1", "db", "fault", 1.5]], ids=lambda m: m[0])
def test_saved_at_once(make: Start, monkeypatch: pytest.MonkeyPatch, message: list[Any]) -> None:
    """A new run and a mark do not wait for the next checkpoint."""
    monkeypatch.setattr(process_module, "INTERVAL_S", 60.0)
    locust = make()
    locust.start()
    locust.say(["begin", RUN])
    locust.until_saved(1)
    locust.say(message)
    locust.until_saved(2)


def test_a_storm_of_marks(make: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs collect once an interval, also with a new mark during each checkpoint."""
    locust = make()
    locust.start()
    write = Checkpoint.write

    def write_and_mark(checkpoint: Checkpoint, data: bytes) -> None:
        write(checkpoint, data)
        sleep(0)  # lets other threads run
        locust.session.on_mark()

    monkeypatch.setattr(Checkpoint, "write", write_and_mark)
    locust.say(["begin", RUN])
    locust.until(lambda: len(locust.output.totals) > 5)


def test_a_checkpoint_that_cannot_be_written(make: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is logged once, and the run continues."""
    locust = make()
    locust.start()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoint, "write", full)
    locust.say(["begin", RUN], locust.report(3))
    locust.until(locust.log)
    locust.close()
    assert locust.log()[0].startswith("The exporter cannot save its state for a restart: [Errno 28] No space")
    assert locust.log()[1:] == ["requests: recorded 3"]
    assert locust.code == 0
