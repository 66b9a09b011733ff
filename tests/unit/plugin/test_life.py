"""Tests of what a process tells the exporter, in which order, from start to end."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from locust_otel.plugin import life as life_module
from locust_otel.plugin.life import Life
from locust_otel.wire import frames
from locust_otel.wire.report import decode_event
from tests.unit.factories import event, fire, user
from tests.unit.processes import Exporter, LocalProcess, Master


@pytest.fixture
def process() -> LocalProcess:
    """Make a headless process."""
    return LocalProcess()


@pytest.fixture
def web_ui() -> LocalProcess:
    """Make a process with a web UI."""
    return LocalProcess(is_headless=False)


def test_a_headless_run(process: LocalProcess) -> None:
    """It begins, stops and is finished, with all requests told before that; then the exporter is to end."""
    life, bridge = process.life, process.bridge
    life.on_test_start()
    assert process.said() == ["begin run", "status run"]
    fire(process.node.recorder.on_request, [event()] * 3, user())
    life.on_test_stop()
    assert process.said() == ["stopped run"]
    life.on_quitting()
    life.on_verdict()
    bridge.close()
    names = process.link.names()
    assert names[:2] == [frames.REPORT, frames.REPORT]
    assert process.said() == ["status run", "finish run", "stop"]
    assert process.environment.process_exit_code is None


def test_what_is_told_of_a_run(process: LocalProcess) -> None:
    """The exporter knows of it what it cannot see: when it started, how it was started, and for which users."""
    process.environment.parsed_options.run_time = 60
    process.life.on_test_start()
    (told,) = process.link.only(frames.BEGIN)
    run = process.node.run
    assert run is not None
    assert told == {
        "run_id": "run", "start_time": run.start_time, "started_s": run.started_s, "info": process.node.info(),
        "slow_s": 5.0, "thresholds_s": [], "group_names": False, "users_target": 4, "is_headless": True,
        "only_summary": False,
        "settings": {"users": 4, "spawn_rate": 2.0, "run_time_s": 60},
    }  # fmt: skip
    assert Exporter().begin(**told).run_id == "run"


@pytest.mark.parametrize("runner", [None, SimpleNamespace()], ids=["none", "bare"])
def test_a_run_without_a_runner(runner: Any) -> None:
    """`run_single_user` has none, and is one user."""
    process = LocalProcess()
    process.environment.runner, process.environment.parsed_options = None, runner
    process.life.on_test_start()
    (told,) = process.link.only(frames.BEGIN)
    assert (told["users_target"], told["is_headless"], told["settings"]["users"]) == (1, False, None)


def test_a_run_that_nobody_stopped(process: LocalProcess) -> None:
    """The end of the process stops it."""
    process.life.on_test_start()
    process.said()
    process.bridge.close()
    assert process.said() == ["stopped run", "status run", "finish run", "stop"]


def test_no_run_at_all(process: LocalProcess) -> None:
    """Then there is nothing to finish."""
    process.life.on_test_stop()
    process.bridge.close()
    assert process.said() == ["stop"]


def test_runs_in_the_web_ui(web_ui: LocalProcess) -> None:
    """Each run is concluded in its own time, and the next one has an id of its own."""
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
    """The one before is finished first, and once."""
    web_ui.life.on_test_start()
    web_ui.life.on_test_stop()
    web_ui.said()
    web_ui.life.on_test_start()
    assert web_ui.said() == ["status run", "finish run", "begin run-2", "status run-2"]
    gevent.sleep(0)
    assert web_ui.said() == []


def test_a_master_waits_for_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in the web UI is finished when the workers have reported; one that begins meanwhile is left alone."""
    slept: list[float] = []
    master = Master()
    master.environment.parsed_options.headless = False
    life = Life(master.node, freezes=False)
    life.on_test_start()

    def wait() -> None:
        slept.append(4)
        gevent.sleep(0)

    monkeypatch.setattr(master.node, "wait_for_last_requests", wait)
    life.on_test_stop()
    gevent.sleep(0)
    assert (slept, frames.FINISH in master.link.names()) == ([4], False)
    gevent.sleep(0)
    assert frames.FINISH in master.link.names()
    life.on_test_start()
    life.on_test_stop()
    gevent.sleep(0)
    life.on_test_start()
    master.link.said.clear()
    gevent.sleep(0)
    assert master.link.said == []


def test_an_end_while_a_run_is_concluded(web_ui: LocalProcess) -> None:
    """What ends the process finishes the run, and nothing else does."""
    web_ui.life.on_test_start()
    web_ui.life.on_test_stop()
    web_ui.life.on_quitting()
    web_ui.said()
    gevent.sleep(0)
    assert web_ui.said() == []
    web_ui.bridge.close()
    assert web_ui.said() == ["status run", "finish run", "stop"]


def test_time_to_wait_for_scrapers(process: LocalProcess) -> None:
    """As long as the settings say; after SIGTERM at most what is left until somebody kills us."""
    for is_signal in (False, True):
        ended = LocalProcess()
        ended.life.on_test_start()
        if is_signal:
            gevent.spawn(ended.life.on_quitting).get(timeout=1)
        ended.bridge.close()
        _, grace_s = ended.link.only(frames.FINISH)
        assert 7 < grace_s <= 8 if is_signal else grace_s is None


def test_two_that_end_the_process(process: LocalProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and says nothing."""
    order: list[str] = []

    def slow_close(_: object) -> None:
        gevent.sleep(0.01)
        order.append("closed")

    monkeypatch.setattr(process.link, "close", slow_close)
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
def test_the_verdict_decides(verdict: int, of_user: int | None, code: int) -> None:
    """It is asked for once all is told; the code of the user's own listener outlives a pass only."""
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
    """Where the exporter does not answer in time, the code is 4 and the log says why."""
    process = LocalProcess(has_slo=True)
    process.life.on_test_start()
    process.life.on_verdict()
    assert process.environment.process_exit_code == 4
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == (
        "The verdict cannot be had, so the exit code is 4: the exporter did not answer within 2 s."
    )


def test_without_objectives_nothing_is_decided(process: LocalProcess) -> None:
    """Locust's own code stands, and the runner is left alone."""
    process.environment.process_exit_code = 1
    process.life.on_test_start()
    process.said()
    process.life.on_verdict()
    assert (process.environment.process_exit_code, process.quits, process.said()) == (1, [], [])


def test_users_that_do_not_end(caplog: pytest.LogCaptureFixture) -> None:
    """A further signal ends the waiting for them, here and when Locust has its runner quit once more."""
    process = LocalProcess(has_slo=True, stop_timeout=30)
    process.link.answers["verdict"] = 3
    process.environment.stop_timeout = 30
    process.environment.runner.quit = lambda: gevent.sleep(30)
    process.life.on_test_start()
    process.life._shutdown._interrupt.set()
    process.life.on_verdict()
    assert (process.environment.stop_timeout, process.environment.process_exit_code) == (0, 3)


# ------------------------------------------------------------------------------------------------------------ events


@pytest.mark.parametrize(("web_ui", "expected"), [(None, "quit"), (object(), "stop")])
def test_abort(process: LocalProcess, web_ui: object, expected: str) -> None:
    """The run is stopped; a process with a web UI goes on. Nothing else is stopped."""
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
def test_all_users_are_there(process: LocalProcess, resets: bool) -> None:
    """It is an event; and with `--reset-stats` what Locust's table had before is noted."""
    process.environment.reset_stats = resets
    process.life.on_spawning_complete(user_count=1)
    process.life.on_test_start()
    fire(process.node.recorder.on_request, [event()] * 3, user())
    process.life.on_spawning_complete(user_count=4)
    told = decode_event(*process.link.only(frames.EVENT))
    assert (told.name, told.body) == ("locust.run.spawning_complete", "All 4 users are there")
    assert told.attributes == {"run_id": "run", "users": 4}
    assert process.node.reset_away == (3 if resets else 0)
    process.node.on_reset()
    assert process.node.reset_away == 3


# ----------------------------------------------------------------------------------------------------------- ticking


@pytest.fixture
def ticking(process: LocalProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalProcess]:
    """Start a process that ticks a thousand times a second."""
    monkeypatch.setattr(life_module, "TICK_S", 0.001)
    process.life.start()
    yield process
    process.bridge.close()


def test_ticks(ticking: LocalProcess) -> None:
    """Four times a second there is a report, and once a second Locust's runner has its say."""
    ticking.life.on_test_start()
    ticking.link.said.clear()
    fire(ticking.node.recorder.on_request, [event()], user())
    with gevent.Timeout(5):
        while ticking.link.names().count(frames.STATUS) < 3:
            gevent.sleep(0.001)
    names = ticking.link.names()
    assert names.count(frames.REPORT) in range(9, 15)  # one more piece for the request


def test_no_status_while_the_exporter_does_not_read(ticking: LocalProcess) -> None:
    """Nothing piles up."""
    ticking.life.on_test_start()
    ticking.link.said.clear()
    ticking.link.room = False
    with gevent.Timeout(5):
        while ticking.node.merged_reports < 10:
            gevent.sleep(0.001)
    assert ticking.link.said == []


def test_a_fault_does_not_end_the_reporting(
    ticking: LocalProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next report is tried."""
    faults = iter([RuntimeError("one"), RuntimeError("two")])
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        for fault in faults:
            raise fault

    monkeypatch.setattr(ticking.node, "tick", tick)
    with gevent.Timeout(5):
        while len(ticks) < 5:
            gevent.sleep(0.001)
    assert caplog.text.count("A report could not be made") == 2


@pytest.mark.parametrize("freezes", [True, False])
def test_what_was_loaded_is_frozen_once(process: LocalProcess, monkeypatch: pytest.MonkeyPatch, freezes: bool) -> None:
    """Before the first run, unless that is switched off."""
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    life = Life(process.node, freezes=freezes)
    life.on_test_start()
    life.on_test_start()
    assert len(frozen) == int(freezes)
