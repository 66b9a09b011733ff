"""Tests of the exporter process, in a thread of this one: what it says, and when it calls its outputs."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from threading import Event as Flag
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.events import Event
from locust_otel.core.settings import values_of
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter import process as process_module
from locust_otel.exporter.__main__ import nice_if_alone
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

TOLD = {
    "run_id": "run-1", "start_time": 1_764_000_000.25, "started_s": 0.0, "info": {}, "users_target": 4,
    "is_headless": True, "only_summary": False, "settings": {},
}  # fmt: skip


class FakeOutput(Output):
    """An output that notes how it is called.

    Attributes:
        calls: Names of its methods, and the run where there is one, in order.
        session: The session that it is part of.
        totals: Requests in each snapshot that it was given.
        may_finish: It finishes no earlier than this is set.
    """

    def __init__(self, calls: list[str], name: str = "") -> None:
        self.calls = calls
        self.name = name
        self.session: Session | None = None
        self.totals: list[int] = []
        self.events: list[Event] = []
        self.may_finish = Flag()
        self.may_finish.set()
        self.fails_in = ""
        self.problem: ConfigurationError | None = None

    def _note(self, method: str, run_id: str = "") -> None:
        self.calls.append(f"{self.name} {method} {run_id}".strip())
        if method == self.fails_in:
            raise RuntimeError(f"broken in {method}")

    def start(self, settings: Settings) -> None:  # noqa: ARG002
        """Start."""
        self._note("start")
        if self.problem is not None:
            raise self.problem

    def begin(self, run: Run) -> None:
        """Begin."""
        self._note("begin", run.run_id)

    def collect(self, snapshot: Snapshot) -> None:
        """Look."""
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
        self.may_finish.wait(5)
        self._note("finish", run.run_id)

    def stop(self, deadline_s: float) -> None:  # noqa: ARG002
        """Stop."""
        self._note("stop")

    @property
    def account(self) -> str:
        """Its part of the account."""
        return f"{self.name} has all" if self.name else ""


class Locust:
    """Locust's process, as the exporter sees it; with the exporter."""

    def __init__(self, files: list[int], outputs: list[FakeOutput]) -> None:
        self.outputs = outputs
        self.heard: list[list[Any]] = []
        self.ours, theirs = socket.socketpair()
        self.plugin = Plugin(theirs)
        self.exporter = Exporter(self.plugin, Checkpoint(files[:2]), Checkpoint(files[2:]))
        self.code: int | None = None
        self._theirs = theirs
        self._threads = [Thread(target=self._work), Thread(target=self._hear)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        settings = self.plugin.settings()
        self.code = 1 if settings is None else self.exporter.main(settings)
        self._theirs.close()  # as the end of a process does

    def _hear(self) -> None:
        messages = frames.Frames()
        try:
            while data := self.ours.recv(65536):
                self.heard += messages.feed(data)
        except OSError:
            pass

    def say(self, *messages: list[Any]) -> None:
        """Send messages."""
        self.ours.sendall(b"".join(frames.packed(*message) for message in messages))

    def start(self, **changes: Any) -> dict[str, Any]:
        """Send the settings, and return what the exporter says when it is ready."""
        values = values_of(None, {"prometheus_port": "off", **changes.pop("given", {})})
        self.say(["settings", {
            "values": values, "log_level": logging.INFO, "name": "host-0", "is_master": False, "is_worker": False,
            "port_offset": 0, "start_time": 1.5, "restarts": 0, "said": 0, "versions": {}, **changes,
        }])  # fmt: skip
        until(lambda: self.told(frames.READY) or self.told(frames.REFUSED))
        return dict(self.told(frames.READY)[0][0]) if self.told(frames.READY) else {}

    def told(self, name: str) -> list[list[Any]]:
        """Return the arguments of the messages of a name."""
        return [arguments for told, *arguments in self.heard if told == name]

    def log(self) -> list[str]:
        """Return what was logged, or said on standard output."""
        return [message[-1] for message in self.heard if message[0] in {frames.LOG, frames.SAY}]

    def report(self, count: int, run_id: str = "run-1") -> list[Any]:
        """Return a report of so many requests."""
        series = [["GET", "/", "Shopper", 0, 0, 1.0, 10, [8, count], {}]]
        layout = fingerprint(Load().merged.layout)
        return ["report", "host-0", encode(run_id, layout, series)]

    def close(self) -> None:
        """Have the exporter end, and wait for it."""
        for output in self.outputs:
            output.may_finish.set()
        self.ours.shutdown(socket.SHUT_RDWR)
        self.wait()

    def wait(self) -> None:
        """Wait for the exporter's end."""
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        self.ours.close()


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = monotonic() + 5
    while not condition():
        assert monotonic() < end
        sleep(0.002)


Start = Callable[..., Locust]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return what starts an exporter, with outputs of these names; the first is a successor's predecessor."""
    logger = logging.getLogger("locust_otel")
    before = logger.level, logger.propagate, logger.handlers[:], logging.getLogger().handlers[:]
    files = [os.memfd_create(f"test-{number}") for number in range(4)]
    made: list[Locust] = []
    monkeypatch.setattr(process_module, "INTERVAL_S", 0.02)
    monkeypatch.setattr(process_module, "setproctitle", lambda _: None)

    def start(*names: str) -> Locust:
        calls: list[str] = []
        outputs = [FakeOutput(calls, name) for name in names or ("",)]

        def outputs_of(session: Session) -> list[FakeOutput]:
            for output in outputs:
                output.session = session
            return outputs

        monkeypatch.setattr(process_module, "outputs_of", outputs_of)
        made.append(Locust(files, outputs))
        return made[-1]

    yield start
    for locust in made:
        if locust.code is None:
            locust.close()
    logger.level, logger.propagate, logger.handlers[:], logging.getLogger().handlers[:] = before
    for file in files:
        os.close(file)


# ------------------------------------------------------------------------------------------------------------ start


def test_ready(started: Start) -> None:
    """The outputs start in order; then Locust's process is told what it has to know."""
    locust = started("a", "b")
    assert locust.start(given={"max_request_names": "7", "propagate_traces": "0.5"}) == {
        "url": None, "received": 0, "has_slo": False, "slow_s": 5.0, "max_names": 7, "trace_ratio": 0.5,
        "thresholds_s": [], "kept_names": [], "group_names": False,
    }  # fmt: skip
    assert locust.outputs[0].calls == ["a start", "b start"]
    locust.close()
    assert locust.code == 0


def test_settings_that_cannot_be_used(started: Start) -> None:
    """Each problem is told with its parts; nothing is started."""
    locust = started("a")
    locust.start(given={"prometheus_port": "x", "run_id": "-"})
    locust.wait()
    (problems,) = locust.told(frames.REFUSED)[0]
    assert [(where, slug) for where, _, _, slug in problems] == [
        ("--prometheus-port", "prometheus-port"), ("--run-id", "run-id"),
    ]  # fmt: skip
    assert (locust.code, locust.outputs[0].calls) == (78, [])


def test_an_output_that_cannot_start(started: Start) -> None:
    """Its problem refuses the run."""
    locust = started("a", "b")
    locust.outputs[1].problem = ConfigurationError("--a", "is taken.", "Give another.", slug="taken")
    locust.start()
    locust.wait()
    assert locust.told(frames.REFUSED) == [[[["--a", "is taken.", "Give another.", "taken"]]]]
    assert locust.code == 78


@pytest.mark.parametrize("message", [[], [["begin", TOLD]]], ids=["nothing", "no settings"])
def test_no_settings(started: Start, message: list[list[Any]]) -> None:
    """There is nothing to do."""
    locust = started()
    locust.say(*message)
    locust.close()
    assert locust.code == 1


# -------------------------------------------------------------------------------------------------------------- run


def test_a_run(started: Start) -> None:
    """Outputs begin, look once an interval, and finish when all is told; the account is logged when all have."""
    locust = started("a", "b")
    locust.start()
    locust.say(["begin", TOLD], locust.report(3))
    until(lambda: 3 in locust.outputs[1].totals)
    assert locust.outputs[0].calls[2:] == ["a begin run-1", "b begin run-1"]
    locust.outputs[0].may_finish.clear()
    locust.say(locust.report(5), ["stopped", "run-1", 2.5], ["finish", "run-1", 7.5])
    until(lambda: "b finish run-1" in locust.outputs[0].calls)
    assert not [text for text in locust.log() if "requests:" in text]
    session = locust.outputs[0].session
    assert session is not None
    assert session.run is not None
    assert (session.run.phase, session.run.elapsed_s, session.grace_s) == (Phase.FINAL, 2.5, 7.5)
    locust.say(["stop"])
    locust.outputs[0].may_finish.set()
    locust.wait()
    assert locust.outputs[0].calls[4:] == ["b finish run-1", "a finish run-1", "a stop", "b stop"]
    assert [event.name for event in locust.outputs[1].events] == ["locust.run.start", "locust.run.stop"]
    assert locust.outputs[1].events[-1].attributes == {"run_id": "run-1", "requests": 5, "failures": 0}
    assert locust.log() == ["requests: recorded 5 · a has all · b has all"]
    assert locust.heard[-1] == [frames.DONE]
    assert locust.code == 0


def test_outputs_look_no_more_when_a_run_is_final(started: Start) -> None:
    """There is nothing new to see."""
    locust = started()
    locust.start()
    locust.say(["begin", TOLD], ["finish", "run-1", None])
    until(locust.log)
    looks = len(locust.outputs[0].totals)
    until(lambda: len(locust.told(frames.KEPT)) > 5)
    assert len(locust.outputs[0].totals) == looks
    locust.say(["finish", "run-1", None], ["finish", "run-0", None], ["stop"])
    locust.wait()
    assert locust.outputs[0].calls.count("finish run-1") == 1


def test_a_second_run(started: Start) -> None:
    """It begins when the one before is concluded, which is hurried; not what comes after it."""
    locust = started()
    locust.start()
    output = locust.outputs[0]
    output.may_finish.clear()
    locust.say(["begin", TOLD], ["finish", "run-1", None])
    until(lambda: output.session is not None and output.session.run is not None and output.session.run.is_final)
    locust.say(["begin", {**TOLD, "run_id": "run-2"}])
    assert output.session is not None
    session = output.session
    until(session.hurry.is_set)
    assert "begin run-2" not in output.calls
    output.may_finish.set()
    until(lambda: "begin run-2" in output.calls)
    assert output.calls == ["start", "begin run-1", "finish run-1", "begin run-2"]
    assert not session.hurry.is_set()
    locust.say(locust.report(2, "run-2"))
    until(lambda: 2 in output.totals)


def test_a_hurry(started: Start) -> None:
    """A further signal is known to all outputs."""
    locust = started()
    locust.start()
    locust.say(["hurry"])
    session = locust.outputs[0].session
    assert session is not None
    until(session.hurry.is_set)


def test_questions(started: Start) -> None:
    """Each is answered once all that was said before is taken in; by the output that knows it."""
    locust = started("a", "b")
    locust.start()
    locust.say(["ask", 1, "page of b", 7], ["ask", 2, "unknown", None])
    until(lambda: len(locust.told(frames.ANSWER)) == 2)
    assert locust.told(frames.ANSWER) == [[1, ["b", 7]], [2, None]]


def test_messages_that_make_no_sense(started: Start) -> None:
    """Each is logged, and the next ones are taken in."""
    locust = started()
    locust.start()
    locust.say(["begin", TOLD], ["news", 1], ["report"], ["stopped", 1, 2, 3], locust.report(3))
    until(lambda: 3 in locust.outputs[0].totals)
    assert [text.splitlines()[0] for text in locust.log()] == [
        f"The message {name} was not understood" for name in ("news", "report", "stopped")
    ]


@pytest.mark.parametrize("method", ["begin", "collect", "finish", "stop"])
def test_an_output_that_fails(started: Start, method: str) -> None:
    """It is logged, and does not keep the others from theirs."""
    locust = started("a", "b")
    locust.outputs[0].fails_in = method
    locust.start()
    locust.say(["begin", TOLD], locust.report(3))
    until(lambda: 3 in locust.outputs[1].totals)
    locust.say(["finish", "run-1", None], ["stop"])
    locust.wait()
    assert {"b begin run-1", "b finish run-1", "b stop"} <= set(locust.outputs[0].calls)
    assert locust.code == 0
    if method != "stop":
        assert any(text.startswith("FakeOutput failed\n") and f"broken in {method}" in text for text in locust.log())


# --------------------------------------------------------------------------------------------------- life and death


def test_locust_has_gone(started: Start) -> None:
    """The end of the socket without a word: the run is lost, concluded all the same, and waited for with a limit."""
    locust = started()
    locust.start()
    locust.say(["begin", TOLD], locust.report(3))
    until(lambda: 3 in locust.outputs[0].totals)
    session = locust.outputs[0].session
    locust.close()
    assert session is not None
    assert session.run is not None
    assert (session.run.phase, session.grace_s) == (Phase.LOST, 25.0)
    assert session.snapshot().is_final
    assert locust.outputs[0].calls[2:] == ["finish run-1", "stop"]
    assert locust.code == 0


def test_locust_has_gone_while_a_run_was_concluded(started: Start) -> None:
    """Its end is as it was told, and once."""
    locust = started()
    locust.start()
    locust.say(["begin", TOLD], ["finish", "run-1", 7.5])
    until(lambda: locust.outputs[0].calls[2:])
    locust.close()
    session = locust.outputs[0].session
    assert session is not None
    assert session.run is not None
    assert (session.run.phase, session.grace_s) == (Phase.FINAL, 7.5)
    assert locust.outputs[0].calls[2:] == ["finish run-1", "stop"]


def test_a_successor_goes_on(started: Start) -> None:
    """It knows what the checkpoint has, and says how much of what was told that is; outputs do not begin again."""
    first = started()
    first.start()
    first.say(["begin", TOLD], first.report(3), ["mark", "run-1", "db", "fault", 1.5])
    until(lambda: [3] in first.told(frames.KEPT))
    second = started()
    assert second.start(restarts=1)["received"] == 3
    second.say(second.report(5))
    until(lambda: 5 in second.outputs[0].totals)
    session = second.outputs[0].session
    assert session is not None
    assert session.run is not None
    assert session.run.marks == {("db", "fault"): 1}
    assert session.snapshot().health.restarts == 1
    assert second.outputs[0].calls == ["start"]
    until(lambda: [4] in second.told(frames.KEPT))
    second.close()


def test_a_successor_catches_up(started: Start) -> None:
    """Until it has all that was said to the one before, outputs see nothing, since that would be less than before."""
    first = started()
    first.start()
    first.say(["begin", TOLD], first.report(3))
    until(lambda: [2] in first.told(frames.KEPT))
    second = started()
    assert second.start(restarts=1, said=4)["received"] == 2
    second.say(second.report(5))
    sleep(0.1)
    assert second.outputs[0].totals == []
    second.say(second.report(7))
    until(lambda: 7 in second.outputs[0].totals)
    assert set(second.outputs[0].totals) == {7}


def test_a_successor_catches_up_from_one_run_to_the_next(started: Start) -> None:
    """The run before is concluded, though its end was not saved when the exporter died."""
    second = started()
    second.start(restarts=1, said=6)
    second.say(["begin", TOLD], second.report(3), ["stopped", "run-1", 2.5], ["finish", "run-1", None])
    second.say(["begin", {**TOLD, "run_id": "run-2"}], second.report(2, "run-2"))
    until(lambda: 2 in second.outputs[0].totals and second.log())
    assert second.outputs[0].calls == ["start", "begin run-1", "finish run-1", "begin run-2"]
    assert second.log() == ["requests: recorded 3"]


def test_locust_has_gone_before_a_successor_had_caught_up(started: Start) -> None:
    """It concludes the run with what it has."""
    second = started()
    second.start(restarts=1, said=6)
    second.say(["begin", TOLD], second.report(3))
    until(lambda: "begin run-1" in second.outputs[0].calls)
    second.close()
    assert second.outputs[0].calls == ["start", "begin run-1", "finish run-1", "stop"]


def test_a_successor_concludes_what_was_not(started: Start) -> None:
    """Where the one before has died while it concluded a run, the outputs finish it."""
    first = started()
    first.start()
    first.outputs[0].may_finish.clear()
    first.say(["begin", TOLD], first.report(3), ["finish", "run-1", None])
    until(lambda: [3] in first.told(frames.KEPT))
    second = started()
    second.start(restarts=1)
    until(second.log)
    assert second.outputs[0].calls == ["start", "finish run-1"]
    assert second.log() == ["requests: recorded 3"]


def test_a_successor_does_not_conclude_again(started: Start) -> None:
    """A run whose account is logged, in a process with a web UI that goes on, is over."""
    first = started()
    first.start()
    first.say(["begin", TOLD], first.report(3), ["finish", "run-1", None])
    until(first.log)
    seen = len(first.told(frames.KEPT))
    until(lambda: len(first.told(frames.KEPT)) > seen + 1)
    second = started()
    second.start(restarts=1)
    second.say(["ask", 1, "verdict", None])
    until(lambda: second.told(frames.ANSWER))
    until(lambda: len(second.told(frames.KEPT)) > 2)
    assert (second.outputs[0].calls, second.log(), second.outputs[0].events) == (["start"], [], [])


def test_a_successor_shows_no_export_less(started: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was exported after the last checkpoint counts too: somebody may have seen it."""
    monkeypatch.setattr(process_module, "INTERVAL_S", 60.0)
    first = started()
    first.start()
    first.say(["begin", TOLD])
    until(lambda: [1] in first.told(frames.KEPT))
    assert first.outputs[0].session is not None
    for _ in range(3):
        first.outputs[0].session.exports.note("prometheus", ok=True, seconds=0.5)
    second = started()
    second.start(restarts=1, said=1)
    assert second.outputs[0].session is not None
    (count,) = second.outputs[0].session.exports.counts()
    assert (count.exporter, count.count) == ("prometheus", 3)


def test_a_first_exporter_reads_no_checkpoint(started: Start) -> None:
    """What is there of another is not its own."""
    first = started()
    first.start()
    first.say(["begin", TOLD])
    until(lambda: [1] in first.told(frames.KEPT))
    second = started()
    assert second.start()["received"] == 0


@pytest.mark.parametrize("message", [["begin", TOLD], ["mark", "run-1", "db", "fault", 1.5]], ids=lambda m: m[0])
def test_what_is_saved_at_once(started: Start, monkeypatch: pytest.MonkeyPatch, message: list[Any]) -> None:
    """A new run, and a mark, which is said once, does not wait for the next interval."""
    monkeypatch.setattr(process_module, "INTERVAL_S", 60.0)
    locust = started()
    locust.start()
    locust.say(["begin", TOLD])
    until(lambda: [1] in locust.told(frames.KEPT))
    locust.say(message)
    until(lambda: [2] in locust.told(frames.KEPT))


def test_a_storm_of_marks(started: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs look once an interval, though a new mark comes whenever the one before is being saved."""
    locust = started()
    locust.start()
    write = Checkpoint.write

    def slow_write(checkpoint: Checkpoint, data: bytes) -> None:
        write(checkpoint, data)
        sleep(0.001)
        session = locust.outputs[0].session
        assert session is not None
        session.on_mark()

    monkeypatch.setattr(Checkpoint, "write", slow_write)
    locust.say(["begin", TOLD])
    until(lambda: len(locust.outputs[0].totals) > 5)


def test_what_is_logged(started: Start) -> None:
    """Locust's process logs it, under the same name, at the level it has; what is below that is not sent."""
    locust = started()
    locust.start(log_level=logging.WARNING)
    logging.getLogger("locust_otel.exporter.x").info("info")
    logging.getLogger("locust_otel.exporter.x").warning("warning %s", "é 100%")
    until(lambda: locust.told(frames.LOG))
    assert locust.told(frames.LOG) == [["locust_otel.exporter.x", logging.WARNING, "warning é 100%"]]


@pytest.mark.parametrize(("cores", "expected"), [({0}, [5]), ({0, 1}, [])])
def test_the_only_core(monkeypatch: pytest.MonkeyPatch, cores: set[int], expected: list[int]) -> None:
    """Where Locust has to share it, the exporter comes second."""
    steps: list[int] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    monkeypatch.setattr(os, "nice", steps.append)
    nice_if_alone()
    assert steps == expected
