"""Tests of the messages that a process sends to the exporter, and of their order, from start to end."""

from __future__ import annotations

import gc
import logging
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from locust_otel.plugin import life as life_module
from locust_otel.plugin import shutdown
from locust_otel.plugin.life import Life
from locust_otel.wire import frames
from locust_otel.wire.report import decode_event
from tests.unit.factories import event, fire, user
from tests.unit.plugin.clocks import Clock
from tests.unit.processes import Exporter, LocalProcess, Master


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the waits of a shutdown take no real time."""
    clock = Clock()
    monkeypatch.setattr(shutdown, "monotonic", clock)
    replaced = SimpleNamespace(sleep=clock.sleep, spawn=gevent.spawn, get_hub=gevent.get_hub)
    monkeypatch.setattr(shutdown, "gevent", replaced)


@pytest.fixture
def process() -> LocalProcess:
    """Return a headless process."""
    return LocalProcess()


@pytest.fixture
def web_ui() -> LocalProcess:
    """Return a process with a web UI."""
    return LocalProcess(is_headless=False)


def test_a_headless_run(process: LocalProcess) -> None:
    """All requests are reported before the run is finished; then the exporter is asked to end."""
    life, bridge = process.life, process.bridge
    life.on_test_start()
    assert process.said() == ["begin run", "status run"]
    fire(process.node.recorder.on_request, [event()] * 3, user())
    life.on_test_stop()
    assert process.said() == ["stopped run"]
    life.on_quitting()
    life.on_verdict()
    bridge.close()
    assert process.link.names()[:2] == [frames.REPORT, frames.REPORT]
    assert process.said() == ["status run", "finish run", "stop"]
    assert process.environment.process_exit_code is None


def test_facts_of_a_run(process: LocalProcess) -> None:
    """The exporter gets the facts that only Locust's process knows."""
    process.environment.parsed_options.run_time = 60
    process.life.on_test_start()
    (facts,) = process.link.only(frames.BEGIN)
    run = process.node.run
    assert run is not None
    assert facts == {
        "run_id": "run", "start_time": run.start_time, "started_s": run.started_s, "info": process.node.info(),
        "slow_s": 5.0, "thresholds_s": [], "group_names": False, "users_target": 4, "is_headless": True,
        "only_summary": False,
        "settings": {"users": 4, "spawn_rate": 2.0, "run_time_s": 60},
    }  # fmt: skip
    assert Exporter().begin(**facts).run_id == "run"


@pytest.mark.parametrize("options", [None, SimpleNamespace()], ids=["no options", "no option of Locust's"])
def test_a_run_without_a_runner(process: LocalProcess, options: Any) -> None:
    """`run_single_user` has none, and is one user."""
    process.environment.runner, process.environment.parsed_options = None, options
    process.life.on_test_start()
    (facts,) = process.link.only(frames.BEGIN)
    assert (facts["users_target"], facts["is_headless"], facts["settings"]["users"]) == (1, False, None)


@pytest.mark.parametrize("has_run", [True, False])
def test_the_end_of_a_process_stops_its_run(process: LocalProcess, has_run: bool) -> None:
    """A run without `test_stop` is stopped and finished; without a run there is nothing to finish."""
    if has_run:
        process.life.on_test_start()
    else:
        process.life.on_test_stop()
    process.said()
    process.bridge.close()
    assert process.said() == [*(["stopped run", "status run", "finish run"] if has_run else []), "stop"]


def test_runs_in_the_web_ui(web_ui: LocalProcess) -> None:
    """Each run is concluded in the background, and the next one has its own id."""
    for run_id in ("run", "run-2"):
        web_ui.life.on_test_start()
        assert web_ui.said() == [f"begin {run_id}", f"status {run_id}"]
        web_ui.life.on_test_stop()
        assert web_ui.said() == [f"stopped {run_id}"]
        gevent.sleep(0)
        assert web_ui.said() == [f"status {run_id}", f"finish {run_id}"]
    web_ui.bridge.close()
    assert web_ui.said() == ["stop"]


def test_a_run_right_after_another(web_ui: LocalProcess) -> None:
    """The run before is finished first, and once."""
    web_ui.life.on_test_start()
    web_ui.life.on_test_stop()
    web_ui.said()
    web_ui.life.on_test_start()
    assert web_ui.said() == ["status run", "finish run", "begin run-2", "status run-2"]
    gevent.sleep(0)
    assert web_ui.said() == []


def test_a_master_waits_for_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in the web UI is finished after the workers have reported; a run that begins meanwhile is not."""
    master = Master()
    master.environment.parsed_options.headless = False
    life = Life(master.node, freezes=False)
    have_reported = Event()
    monkeypatch.setattr(master.node, "wait_for_last_requests", have_reported.wait)
    life.on_test_start()
    life.on_test_stop()
    gevent.sleep(0)
    assert frames.FINISH not in master.link.names()
    have_reported.set()
    gevent.sleep(0)
    assert frames.FINISH in master.link.names()
    have_reported.clear()
    life.on_test_start()
    life.on_test_stop()
    gevent.sleep(0)
    life.on_test_start()
    master.link.said.clear()
    have_reported.set()
    gevent.sleep(0)
    assert master.link.said == []


def test_an_end_while_a_run_is_concluded(web_ui: LocalProcess) -> None:
    """Only the end of the process finishes the run."""
    web_ui.life.on_test_start()
    web_ui.life.on_test_stop()
    web_ui.life.on_quitting()
    web_ui.said()
    gevent.sleep(0)
    assert web_ui.said() == []
    web_ui.bridge.close()
    assert web_ui.said() == ["status run", "finish run", "stop"]


@pytest.mark.parametrize(("is_signal", "expected_s"), [(False, None), (True, 8.0)])
def test_grace_for_scrapers(process: LocalProcess, is_signal: bool, expected_s: float | None) -> None:
    """The settings decide; after SIGTERM it is at most the time that is left."""
    process.life.on_test_start()
    if is_signal:
        gevent.spawn(process.life.on_quitting).get(timeout=1)
    process.bridge.close()
    _, grace_s = process.link.only(frames.FINISH)
    assert grace_s == expected_s


def test_two_greenlets_that_end_the_process(process: LocalProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and sends nothing."""
    order: list[str] = []

    def close(_: object) -> None:
        gevent.sleep(0)
        order.append("closed")

    monkeypatch.setattr(process.link, "close", close)
    first = gevent.spawn(process.bridge.close)
    gevent.sleep(0)
    process.bridge.close()
    order.append("second")
    first.get(timeout=1)
    assert order == ["closed", "second"]


# ---------------------------------------------------------------------------------------------------------- verdict


@pytest.mark.parametrize(
    ("verdict", "of_user", "code"), [(0, None, 0), (0, 1, 1), (3, None, 3), (3, 1, 3), (4, 0, 4), (5, 1, 5)]
)
def test_the_verdict_sets_the_exit_code(verdict: int, of_user: int | None, code: int) -> None:
    """It is asked for after all reports; only a pass keeps the code of the user's own listener."""
    process = LocalProcess(has_slo=True)
    process.link.answers["verdict"] = verdict
    process.environment.process_exit_code = of_user
    process.life.on_test_start()
    process.life.on_test_stop()
    process.said()
    process.life.on_quitting()
    process.life.on_verdict()
    assert process.quits == ["quit"]
    assert process.said() == ["status run", "ask verdict"]
    assert process.environment.process_exit_code == code


def test_no_verdict_is_never_a_pass(caplog: pytest.LogCaptureFixture) -> None:
    """If the exporter does not answer in time, the code is 4 and the log says why."""
    process = LocalProcess(has_slo=True)
    process.life.on_test_start()
    process.life.on_verdict()
    assert process.environment.process_exit_code == 4
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert message == "There is no verdict, so the exit code is 4: the exporter did not answer within 2 s."


def test_without_objectives_locusts_exit_code_stays(process: LocalProcess) -> None:
    """The runner is not asked to quit."""
    process.environment.process_exit_code = 1
    process.life.on_test_start()
    process.said()
    process.life.on_verdict()
    assert (process.environment.process_exit_code, process.quits, process.said()) == (1, [], [])


def test_users_that_do_not_end() -> None:
    """A further signal ends the wait for them, here and when Locust lets its runner quit a second time."""
    process = LocalProcess(has_slo=True)
    process.link.answers["verdict"] = 3
    process.environment.stop_timeout = 30
    process.environment.runner.quit = Event().wait
    process.life.on_test_start()
    process.life._shutdown._is_interrupted = True
    process.life.on_verdict()
    assert (process.environment.stop_timeout, process.environment.process_exit_code) == (0, 3)


# ------------------------------------------------------------------------------------------------------------ events


@pytest.mark.parametrize(("web_ui", "expected"), [(None, "quit"), (object(), "stop")])
def test_abort(process: LocalProcess, web_ui: object, expected: str) -> None:
    """Only the named run is stopped; a process with a web UI continues."""
    process.environment.web_ui = web_ui
    process.life.on_abort("run")
    process.life.on_test_start()
    process.life.on_abort("run-0")
    gevent.sleep(0)
    assert process.quits == []
    process.life.on_abort("run")
    gevent.sleep(0)
    assert process.quits == [expected]


@pytest.mark.parametrize("resets", [False, True])
def test_all_users_are_running(process: LocalProcess, resets: bool) -> None:
    """The exporter gets an event; with `--reset-stats` the requests of before are counted as reset."""
    process.environment.reset_stats = resets
    process.life.on_spawning_complete(user_count=1)
    process.life.on_test_start()
    fire(process.node.recorder.on_request, [event()] * 3, user())
    process.life.on_spawning_complete(user_count=4)
    sent = decode_event(*process.link.only(frames.EVENT))
    assert (sent.name, sent.body) == ("locust.run.spawning_complete", "All 4 users are running")
    assert sent.attributes == {"run_id": "run", "users": 4}
    assert process.node.reset_requests == (3 if resets else 0)
    process.node.on_reset()
    assert process.node.reset_requests == 3


# ----------------------------------------------------------------------------------------------------------- ticking


def tick(process: LocalProcess, count: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let a process tick so many times; return the seconds that it slept before each tick."""
    clock, slept = Clock(), list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now_s += seconds
        if len(slept) > count:
            raise gevent.GreenletExit

    monkeypatch.setattr(life_module, "monotonic", clock)
    monkeypatch.setattr(life_module, "gevent", SimpleNamespace(sleep=sleep))
    with pytest.raises(gevent.GreenletExit):
        process.life._tick()
    return slept[:count]


@pytest.mark.parametrize("has_room", [True, False])
def test_ticks(process: LocalProcess, monkeypatch: pytest.MonkeyPatch, has_room: bool) -> None:
    """There are four reports and one status a second; none while the exporter does not read."""
    process.life.on_test_start()
    process.link.said.clear()
    process.link.room = has_room
    fire(process.node.recorder.on_request, [event()], user())
    assert tick(process, 12, monkeypatch) == [pytest.approx(0.25)] * 12
    names = process.link.names()
    assert names.count(frames.STATUS) == (3 if has_room else 0)
    assert names.count(frames.REPORT) == (13 if has_room else 0)  # one more piece for the request
    assert process.node.merged_reports == (0 if has_room else 12)


def test_an_error_does_not_end_the_reporting(
    process: LocalProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next report is tried."""
    errors = iter([RuntimeError("one"), RuntimeError("two")])
    ticks: list[int] = []

    def fail_twice() -> None:
        ticks.append(1)
        for error in errors:
            raise error

    monkeypatch.setattr(process.node, "tick", fail_twice)
    tick(process, 5, monkeypatch)
    assert len(ticks) == 5
    assert caplog.text.count("A report failed; the next one follows in 0.25 s") == 2


def test_start(process: LocalProcess) -> None:
    """The process is measured and ticks until it is closed."""
    process.life.start()
    gevent.sleep(0)
    assert (bool(process.life._ticker), bool(process.node._generator._greenlet)) == (True, True)
    process.bridge.close()
    gevent.sleep(0)
    assert (bool(process.life._ticker), bool(process.node._generator._greenlet)) == (False, False)


@pytest.mark.parametrize("freezes", [True, False])
def test_objects_are_frozen_once(process: LocalProcess, monkeypatch: pytest.MonkeyPatch, freezes: bool) -> None:
    """It happens before the first run, unless it is switched off."""
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    life = Life(process.node, freezes=freezes)
    life.on_test_start()
    life.on_test_start()
    assert len(frozen) == int(freezes)
