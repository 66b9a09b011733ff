"""With an SLO file the verdict decides the exit code, in every way to run Locust and to end a run."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from locust_otel.demo import shop as demo_shop
from tests.backends.servers import free_port
from tests.e2e.harness import CALM, IDLE, LOCUSTFILES, Distributed, Outcome, Process, Stage, forking, played
from tests.e2e.pages import Metrics
from tests.e2e.slo import CODES as VERDICTS
from tests.e2e.slo import (
    HEALTHY,
    LOGIN_FAULT,
    OBJECTIVES,
    SLOW_SHOP,
    tables,
    tracebacks_but_of_users,
    unless_late,
    write_slo,
)

pytestmark = pytest.mark.slow

BLOCKING = LOCUSTFILES / "blocking.py"
CODES = {**VERDICTS, "few": 4, "idle": 4, "aborted": 3, "refused": 78}
USERS = 5
UNBOUNDED = "60s"
_url: list[str] = []
"""Of the shop of the module, whose login fails."""


@pytest.fixture(scope="module", autouse=True)
def shop() -> Iterator[None]:
    """Start the shop that all runs share."""
    with demo_shop.start(time_scale=0.1, faults=[LOGIN_FAULT, SLOW_SHOP]) as started:
        _url[:] = [started.url]
        yield


@dataclass(frozen=True)
class Cell:
    """A run, by how it ends and its result.

    Attributes:
        mode: `local`, `forked`, `distributed` or `web`, which end by their run time; `sigint`, `sigterm` and `twice`
            (two Ctrl-C) end a longer run.
        result: A key of `CODES`.
    """

    mode: str
    result: str

    @property
    def __name__(self) -> str:
        return f"{self.mode}-{self.result}"

    def __call__(self, stage: Stage) -> Outcome:
        """Play it; repeat it when the generator was late."""
        return self._play(stage) if self.result == "invalid" else unless_late(lambda: self._play(stage))

    def _play(self, stage: Stage) -> Outcome:
        port = free_port()
        arguments = self._arguments(stage, port)
        workers: list[Process] = []
        env = {"TEST_BURN": "1"} if self.mode == "local" else {}
        if self.mode == "distributed":
            both = Distributed(stage, *arguments, workers=1 if self.result == "refused" else 2)
            process, workers = both.master, both.workers
        else:
            process = stage.run(*arguments, env=env)
        if self.result == "refused":
            return Outcome(code=process.wait(), log=process.log)
        scraper = stage.scrape(port)
        if self.mode in SIGNALS:
            scraper.wait_for(self._is_decided, "a verdict")
            process.send_to_group(SIGNALS[self.mode])
            if self.mode == "twice":
                time.sleep(0.3)
                if process.is_alive:
                    process.send_to_group(signal.SIGINT)
        elif (self.mode, self.result) == ("web", "aborted"):  # the process waits for another run
            scraper.wait_for(lambda page: page.by("locust_run_active").get(()) == 0, "the run is stopped")
            process.send(signal.SIGTERM)
        code = process.wait()
        scraper.wait_until_gone()
        workers_codes = [worker.wait() for worker in workers]
        return Outcome(code=code, log=process.log, metrics=scraper.last, more={"workers": workers_codes})

    def _arguments(self, stage: Stage, port: int) -> list[str]:
        is_long = self.result == "aborted" or self.mode in SIGNALS
        # Workers report every 3 s, and it takes 2 s to detect that a generator is late.
        run_time = 4 + 3 * (self.mode in {"forked", "distributed"}) + 3 * (self.result == "invalid")
        file = {"invalid": BLOCKING, "idle": IDLE}.get(self.result, CALM)
        return [
            *("-f", str(file), "--host", _url[0], "-u", str(USERS if file is CALM else 1), "-r", "100"),
            *("-t", UNBOUNDED if is_long else f"{run_time}s", "--prometheus-port", str(port)),
            *(["--web-host", "127.0.0.1", "--web-port", str(free_port()), "--autostart", "--autoquit", "1"]
              if self.mode == "web" else ["--headless", "--only-summary"]),
            *(forking() if self.mode == "forked" else []),
            *self._slo(stage),
        ]  # fmt: skip

    def _slo(self, stage: Stage) -> list[str]:
        if self.result == "refused":
            broken = stage.folder / "broken.yaml"
            broken.write_text("service: shop\nobjectives: {a: {sli: success, target: 99}}\n")
            return {"forked": ["--slo", "none.yaml"], "distributed": ["--slo-abort"]}.get(
                self.mode, ["--slo", str(broken)]
            )
        match = HEALTHY if self.result in {"met", "few"} else ""
        file = write_slo(stage.folder, match=match, min_requests=1_000_000 if self.result == "few" else 10)
        return ["--slo", str(file), *(["--slo-abort"] if self.result == "aborted" else [])]

    def _is_decided(self, page: Metrics) -> bool:
        if self.result == "few":
            return page.requests > 20
        statuses = page.by("locust_slo_status", "status", slo="availability")
        return any(statuses.get((status,)) == 1 for status in (self.result, "invalid"))


SIGNALS = {"sigint": signal.SIGINT, "sigterm": signal.SIGTERM, "twice": signal.SIGINT}
BY_TIME = ("local", "forked", "distributed", "web")
JUDGED = (
    *(Cell(mode, result) for mode in (*BY_TIME, *SIGNALS) for result in ("met", "missed", "few", "invalid")),
    Cell("local", "idle"),
)
ABORTED = tuple(Cell(mode, "aborted") for mode in BY_TIME)
REFUSED = tuple(Cell(mode, "refused") for mode in BY_TIME)
STATUSES = {"few": "undecided", "idle": "undecided"}


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Cell:
    """Give the cell of this test."""
    cell: Cell = request.node.callspec.params["outcome"]
    return cell


@played(*JUDGED)
def test_the_verdict_decides_the_exit_code(outcome: Outcome, cell: Cell) -> None:
    """0 met, 3 missed, 4 undecided, 5 invalid: exit code, Locust's log and the last page agree."""
    assert outcome.code == CODES[cell.result], outcome.log[-3000:]
    assert f"Shutting down (exit code {outcome.code})" in outcome.log
    (table,) = tables(outcome.log)
    exported = {
        name: status for (name, status), value in outcome.last.by("locust_slo_status", "slo", "status").items() if value
    }
    assert {name: row.status for name, row in table.items()} == exported
    expected = dict.fromkeys(OBJECTIVES, STATUSES.get(cell.result, cell.result))
    if cell.result in {"missed", "invalid"}:  # only by its failures
        expected |= {"latency": "met", "mean": "met"}
    assert exported == expected
    counts = outcome.last.by("locust_slo_events_total", "slo", "outcome")
    on_page = {name: (counts[name, "good"], counts[name, "good"] + counts[name, "bad"]) for name in OBJECTIVES[:2]}
    on_page["mean"] = (0, outcome.last.value("locust_slo_mean_requests_total"))
    logged = {name: (row.good or 0, row.total) for name, row in table.items()}
    if cell.mode == "twice":  # the second Ctrl-C ends the wait for this page
        assert all(on_page[name][1] <= total for name, (_, total) in logged.items())
    else:
        assert on_page == logged, outcome.log[-3000:]
    assert table["availability"].total > 0 or cell.result == "idle"


@played(*JUDGED)
def test_no_end_has_a_traceback(outcome: Outcome) -> None:
    """No signal leads to a traceback, except in a user's greenlet that Ctrl-C has interrupted."""
    assert tracebacks_but_of_users(outcome.log) == []


@played(*(Cell("distributed", result) for result in ("met", "missed", "few", "invalid")))
def test_workers_have_no_verdict(outcome: Outcome, cell: Cell) -> None:
    """A worker ends with 0, as without an SLO file."""
    assert outcome.more["workers"] == [0, 0]


@played(*ABORTED)
def test_a_burning_pair_ends_the_run(outcome: Outcome) -> None:
    """Code 3, long before the run time, with the reason in the log and a mark in the metrics."""
    assert outcome.code == CODES["aborted"], outcome.log[-3000:]
    assert outcome.tracebacks == 0
    assert outcome.last.value("locust_run_elapsed_seconds") < 30
    assert outcome.last.by("locust_marks_total", "mark", "kind") == {("slo-abort availability", "abort"): 1}
    (line,) = [line for line in outcome.log.splitlines() if "as --slo-abort asks for" in line]
    assert "/ERROR/" in line
    assert "availability spends its budget " in line
    assert line.endswith("(critical above 3)")
    (table,) = tables(outcome.log)
    assert table["availability"].status == "missed"
    assert table["availability"].total >= 10


@played(*REFUSED)
def test_a_bad_configuration_never_spawns_a_user(outcome: Outcome, cell: Cell) -> None:
    """78, one sentence with its slug, no user and no traceback."""
    assert outcome.code == CODES["refused"], outcome.log
    slug = {"forked": "slo-unreadable", "distributed": "contradictory-flags"}.get(cell.mode, "target-range")
    (sentence,) = [line for line in outcome.log.splitlines() if line.startswith("locust-otel:")]
    assert slug in outcome.log, sentence
    assert "spawned" not in outcome.log
    assert outcome.tracebacks == 0


def without_slo(stage: Stage) -> Outcome:
    """A run with failures, without an SLO file."""
    process = stage.run(
        *("-f", CALM, "--host", _url[0], "-u", "5", "-r", "100", "-t", "2s", "--headless"),
        *("--prometheus-port", "off"),
    )
    return Outcome(code=process.wait(), log=process.log)


@played(without_slo)
def test_without_a_file_the_code_is_that_of_locust(outcome: Outcome) -> None:
    """The code is 1, for failed requests, and the log does not mention objectives."""
    assert outcome.code == 1
    assert "objectives" not in outcome.log
