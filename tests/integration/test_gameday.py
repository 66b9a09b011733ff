"""A game day with real servers: its scorecard agrees with them, and every end undoes the fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from locust_otel.demo.shop import ShopProcess
from locust_otel.demo.shop import start as start_shop
from tests.backends.needed import need
from tests.backends.servers import Alertmanager, Prometheus, VictoriaMetrics, free_port
from tests.e2e.pages import wait_until
from tests.integration import gameday_stage as stage
from tests.integration.webhook import Webhook

pytestmark = pytest.mark.slow

BURN = "LocustSLOBudgetBurn"


@dataclass
class Servers:
    """Servers of all game days.

    Attributes:
        webhook: The tests' own.
        webhook_port: Port of the product's.
    """

    prometheus: Prometheus
    alertmanager: Alertmanager
    webhook: Webhook
    webhook_port: int


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give a Prometheus with the rules, and an Alertmanager that notifies the product's webhook and the tests' own."""
    need("prometheus", "alertmanager")
    port = free_port()
    rules = stage.rules(tmp_path_factory.mktemp("rules"))
    with (
        Webhook() as webhook,
        Alertmanager(webhook.url, f"http://127.0.0.1:{port}/") as alertmanager,
        Prometheus(rule_files=[rules], alertmanagers=[alertmanager.address], slots=7) as prometheus,
    ):
        prometheus.wait_until('up{job="slots"}', lambda up: len(up) == 7)
        yield Servers(prometheus, alertmanager, webhook, port)


@pytest.fixture
def shop() -> Iterator[ShopProcess]:
    """Give a shop with short service times."""
    with start_shop(time_scale=0.1) as process:
        yield process


@dataclass
class Played:
    """A game day that is over."""

    code: int
    card: dict[str, Any]
    folder: Path
    errors: str
    undone: str
    file: Path
    faults: dict[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return str(self.card["run_id"])

    def fault(self, name: str) -> dict[str, Any]:
        """Return the score of a fault."""
        return next(fault for fault in self.card["faults"] if fault["name"] == name)


@pytest.fixture(scope="module")
def played(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play a game day: one fault that must alert, one that must not, and one expectation that cannot be kept."""
    folder = tmp_path_factory.mktemp("gameday")
    mark = folder / "undone"
    with start_shop(time_scale=0.1) as shop:
        outage = {"name": "errors", "ratio": 0.9, "status": 503}
        slow = {"name": "latency", "added_s": 0.1}
        steps = [
            {"at": "8s", "fault": stage.fault(shop, "outage", outage, 8, mark),
             "expect": [{"alert": BURN, "severity": "critical", "within": "10s", "clears_within": "16s"}]},
            {"at": "34s", "fault": stage.fault(shop, "slow", slow, 4, mark), "expect": [{"no_alert": BURN}]},
            {"at": "42s", "fault": stage.fault(shop, "unseen", slow, 4, mark),
             "expect": [{"alert": BURN, "within": "6s"}]},
        ]  # fmt: skip
        file = stage.day(folder, shop, servers.prometheus.take_slot(), 52, steps)
        process = stage.start(
            file, "--prometheus", servers.prometheus.url, "--alertmanager", servers.alertmanager.url,
            "--webhook-port", str(servers.webhook_port), "-o", folder / "out", "--format", "json",
        )  # fmt: skip
        out, err = process.communicate(timeout=150)
        assert out, err
        faults = shop.faults()
    return Played(process.returncode, json.loads(out), folder / "out", err, mark.read_text(), file, faults)


def test_the_scorecard_has_kept_and_broken_expectations(played: Played) -> None:
    """The alert in time and the silence are kept, the impossible expectation is broken: exit code 3."""
    outcomes = [fault["expectations"][0]["outcome"] for fault in played.card["faults"]]
    assert outcomes == ["kept", "kept", "broken"], played.card
    assert played.code == played.card["code"] == 3
    assert "did not fire within 6 s" in played.fault("unseen")["expectations"][0]["why"]
    assert played.card["aborted"] is None


def test_times_agree_with_the_servers_own(played: Played, servers: Servers) -> None:
    """Times differ by 2 s at most: firing is ALERTS' first sample, resolved its last, notified the webhook's clock."""
    fault = played.fault("outage")
    (_, points), *_ = servers.prometheus.query_range(
        f'ALERTS{{run_id="{played.run_id}", alertname="{BURN}", alertstate="firing"}}',
        fault["begun_at"] - 5, fault["ended_at"] + 30, "1s",
    )  # fmt: skip
    assert fault["firing_s"] == pytest.approx(points[0][0] - fault["begun_at"], abs=2)
    assert fault["resolved_s"] == pytest.approx(points[-1][0] - fault["ended_at"], abs=2.5)
    notified_s = stage.first(servers.webhook, played.run_id, BURN, "firing") - fault["begun_at"]
    assert fault["notified_s"] == pytest.approx(notified_s, abs=2)
    assert fault["alertmanager_s"] == pytest.approx(notified_s, abs=2)


def test_the_order_of_events(played: Played) -> None:
    """Bad requests come before the breach, the alert with it or after it, the notification last; then users recover."""
    fault = played.fault("outage")
    assert 0 <= fault["first_bad_s"] <= fault["breach_s"] <= fault["firing_s"] + 1
    assert fault["firing_s"] <= fault["notified_s"] + 0.5
    assert -2 <= fault["recovered_s"] <= fault["resolved_s"]
    assert 0 < fault["resolved_s"] <= 16
    assert fault["bad_requests"] > 20
    assert 0 < fault["budget_spent"]["availability"] < 2
    assert played.fault("slow")["first_bad_s"] is None
    assert played.fault("slow")["firing_s"] is None


def test_every_fault_was_undone_once(played: Played) -> None:
    """Three faults, three undos, a healthy shop, and no journal."""
    assert played.undone.splitlines() == ["undone"] * 3
    assert played.faults["active"] == []
    assert not played.file.with_name("day.yaml.journal").exists()


def test_the_files_of_a_game_day(played: Played) -> None:
    """The folder holds the scorecard three times, the commands' log, the load's log and the run record."""
    names = {path.name for path in played.folder.iterdir()}
    assert {"scorecard.txt", "scorecard.json", "scorecard.md", "game-day.log", "load.log", "events.json"} <= names
    assert f"{played.run_id}.jsonl.gz" in names
    assert json.loads((played.folder / "scorecard.json").read_text()) == played.card
    assert "run outage: exit code 0" in (played.folder / "game-day.log").read_text()


def test_it_can_be_scored_again(played: Played, servers: Servers) -> None:
    """After the game day, Prometheus and the folder give the same scorecard."""
    process = stage.start(
        played.file, "--prometheus", servers.prometheus.url, "--run-id", played.run_id, "--score-only",
        "-o", played.folder, "--format", "json",
    )  # fmt: skip
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    again = json.loads(out)
    for before, after in zip(played.card["faults"], again["faults"], strict=True):
        (first,), (second,) = before["expectations"], after["expectations"]
        assert first["outcome"] == second["outcome"]
        assert (before["firing_s"], before["notified_s"]) == (after["firing_s"], after["notified_s"])


def _broken_shop(servers: Servers, shop: ShopProcess, folder: Path) -> tuple[subprocess.Popen[str], Path, Path]:
    """Start a game day, wait until its fault is active, and return it."""
    mark = folder / "undone"
    outage = stage.fault(shop, "outage", {"name": "errors", "ratio": 0.5}, 40, mark)
    file = stage.day(folder, shop, servers.prometheus.take_slot(), 60, [{"at": "1s", "fault": outage}])
    process = stage.start(file, "--prometheus", servers.prometheus.url, "-o", folder / "out")
    _until(lambda: shop.faults()["active"], process)
    return process, mark, file


def _until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    wait_until(lambda: condition() or (process is not None and process.poll() is not None), "the game day")
    assert process is None or process.poll() is None, process.communicate()


def _load_of(process: subprocess.Popen[str]) -> psutil.Process:
    """Wait until the load is the only child, since the command of the fault may be one too, and return it."""
    _until(lambda: len(psutil.Process(process.pid).children()) == 1, process)
    (load,) = psutil.Process(process.pid).children()
    return load


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_undoes(servers: Servers, shop: ShopProcess, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM during a fault: it is undone, the load ends, and the result is undecided."""
    process, mark, file = _broken_shop(servers, shop, tmp_path)
    load = _load_of(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4, err
    assert mark.read_text() == "undone\n"
    assert shop.faults()["active"] == []
    assert not load.is_running()
    assert f"aborted: {number.name}" in out
    assert not file.with_name("day.yaml.journal").exists()


def test_the_death_of_the_load_undoes(servers: Servers, shop: ShopProcess, tmp_path: Path) -> None:
    """A load that is killed during a fault ends the game day, and the fault."""
    process, mark, _ = _broken_shop(servers, shop, tmp_path)
    _load_of(process).kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4, err
    assert mark.read_text() == "undone\n"
    assert shop.faults()["active"] == []
    assert "the load ended before its time, with exit code -9" in out


def test_a_killed_game_day_can_be_undone(servers: Servers, shop: ShopProcess, tmp_path: Path) -> None:
    """After kill -9 the fault and the load go on; no game day begins until --undo has ended both."""
    process, mark, file = _broken_shop(servers, shop, tmp_path)
    load = _load_of(process)
    process.kill()
    process.communicate(timeout=30)
    assert shop.faults()["active"] != []
    assert load.is_running()
    again = stage.start(file, "--prometheus", servers.prometheus.url)
    _, err = again.communicate(timeout=30)
    assert again.returncode == 78
    assert "gameday-left-over" in err
    undo = stage.start(file, "--undo")
    out, err = undo.communicate(timeout=60)
    assert (undo.returncode, out) == (0, "undone outage\nthe load has ended\n"), err
    assert mark.read_text() == "undone\n"
    assert shop.faults()["active"] == []
    assert not load.is_running() or load.status() == psutil.STATUS_ZOMBIE
    assert not file.with_name("day.yaml.journal").exists()


def test_a_game_day_waits_for_a_run(servers: Servers, shop: ShopProcess, tmp_path: Path) -> None:
    """With the id of a run that Prometheus does not have, a signal ends the game day before its first fault."""
    mark = tmp_path / "undone"
    outage = stage.fault(shop, "outage", {"name": "errors"}, 5, mark)
    file = stage.day(tmp_path, shop, 1, 30, [{"at": "1s", "fault": outage}])
    process = stage.start(file, "--prometheus", servers.prometheus.url, "--run-id", "nobody")
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 4
    assert "Ended before the first fault: SIGINT" in err
    assert not mark.exists()


def test_the_marks_alone_are_enough(played: Played, servers: Servers) -> None:
    """Without the folder, begin and end of each fault come from the marks of the run, to the scrape."""
    assert "No mark was set" not in played.errors
    marks = servers.prometheus.query(f'max_over_time(locust_marks_total{{run_id="{played.run_id}"}}[5m])')
    process = stage.start(
        played.file, "--prometheus", servers.prometheus.url, "--run-id", played.run_id, "--score-only",
        "--format", "json",
    )  # fmt: skip
    out, err = process.communicate(timeout=60)
    assert len(marks) == 6, played.errors
    assert process.returncode == 3, err
    for before, after in zip(played.card["faults"], json.loads(out)["faults"], strict=True):
        assert before["expectations"][0]["outcome"] == after["expectations"][0]["outcome"]
        assert 0 <= after["begun_at"] - before["begun_at"] < 2
        assert -0.5 <= after["ended_at"] - before["ended_at"] < 2


def test_rules_of_another_file_are_refused(servers: Servers, shop: ShopProcess, tmp_path: Path) -> None:
    """If Prometheus has the rules of another service: 78, the command to run, and neither load nor fault."""
    mark = tmp_path / "undone"
    expect = [{"alert": BURN, "severity": "critical", "within": "10s"}]
    steps = [{"at": "1s", "fault": stage.fault(shop, "outage", {"name": "errors"}, 5, mark), "expect": expect}]
    file = stage.day(tmp_path, shop, 1, 30, steps)
    slo = tmp_path / "slo.yaml"
    slo.write_text(slo.read_text().replace("service: webshop", "service: web"))
    process = stage.start(
        file, "--prometheus", servers.prometheus.url, "--alertmanager", "http://127.0.0.1:1", "-o", tmp_path / "out"
    )
    _, err = process.communicate(timeout=30)
    assert process.returncode == 78, err
    rules, alertmanager = err.splitlines()
    assert (
        f'{servers.prometheus.url}/api/v1/rules has no rule for {BURN} (critical, 10s, 4s) with slo_service="web"'
        in rules
    )
    assert f"locust-otel rules {slo} -o DIR" in rules
    assert "http://127.0.0.1:1/api/v2/alerts does not answer: Connection refused." in alertmanager
    assert not mark.exists()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_limit_ends_the_wait_for_the_run(
    victoria_metrics: VictoriaMetrics, shop: ShopProcess, tmp_path: Path
) -> None:
    """Without a run --stop-after counts from the start; there is a note that the server does not show its rules."""
    mark = tmp_path / "undone"
    outage = stage.fault(shop, "outage", {"name": "errors"}, 5, mark)
    file = stage.day(tmp_path, shop, 1, 30, [{"at": "1s", "fault": outage, "expect": [{"no_alert": BURN}]}])
    process = stage.start(file, "--prometheus", victoria_metrics.url, "--run-id", "unknown", "--stop-after", "3s")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert f"note: {victoria_metrics.url} does not list its rules: check that it has some for {BURN}." in err
    assert "Ended before the first fault: --stop-after 3 s." in err
    assert not mark.exists()


def test_an_alertmanager_that_dies_breaks_no_promise(servers: Servers, shop: ShopProcess, tmp_path: Path) -> None:
    """Without its answers an expectation is undecided, also when the game day is scored again."""
    outage = stage.fault(shop, "outage", {"name": "errors", "ratio": 0.9}, 10, tmp_path / "undone")
    expect = [{"alert": BURN, "severity": "critical", "within": "10s"}]
    file = stage.day(
        tmp_path, shop, servers.prometheus.take_slot(), 18, [{"at": "6s", "fault": outage, "expect": expect}]
    )
    options = ("--prometheus", servers.prometheus.url, "-o", tmp_path / "out", "--format", "json")
    with Alertmanager() as other:  # which is sent no alert
        process = stage.start(file, *options, "--alertmanager", other.url)
        _until(lambda: shop.faults()["active"], process)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 4, err
    card = json.loads(out)
    (result,) = card["faults"][0]["expectations"]
    assert result["firing_s"] is not None
    assert result["outcome"] == "undecided"
    assert result["why"].endswith("no notification was sent; Alertmanager did not answer for part of that time")
    again = stage.start(file, *options, "--run-id", card["run_id"], "--score-only")
    out, err = again.communicate(timeout=60)
    assert json.loads(out)["faults"][0]["expectations"] == [result], err


def test_a_prometheus_that_hangs_does_not_extend_the_limit(shop: ShopProcess, tmp_path: Path) -> None:
    """It hangs during a fault: --stop-after ends the game day, the fault is undone, the result undecided."""
    need("prometheus")
    mark = tmp_path / "undone"
    outage = stage.fault(shop, "outage", {"name": "errors", "ratio": 0.9}, 40, mark)
    expect = [{"alert": BURN, "severity": "critical", "within": "4s"}]
    with Prometheus(rule_files=[stage.rules(tmp_path)], slots=1) as own:
        file = stage.day(tmp_path, shop, own.take_slot(), 60, [{"at": "2s", "fault": outage, "expect": expect}])
        process = stage.start(file, "--prometheus", own.url, "-o", tmp_path / "out", "--stop-after", "12s")
        _until(lambda: shop.faults()["active"], process)
        os.kill(own.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            out, err = process.communicate(timeout=90)
        finally:
            os.kill(own.pid, signal.SIGCONT)
    assert process.returncode == 4, err
    # 10 s are left until the limit; then come the undo, the end of the load, and a last question of 10 s.
    assert time.monotonic() - began < 40
    assert mark.read_text() == "undone\n"
    assert "aborted: --stop-after 12 s" in out
    assert "undecided" in out
