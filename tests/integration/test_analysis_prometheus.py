"""The analysis of a run in a real Prometheus, compared with that of its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from locust_otel.cli import main
from locust_otel.core.errors import ConfigurationError
from locust_otel.review.analysis import readers
from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Pattern
from locust_otel.review.analysis.timeline import Timeline
from locust_otel.review.prometheus import Prometheus
from locust_otel.review.record.reader import load
from tests.analysis.simulation import Plan, simulate, steps
from tests.backends.servers import promtool
from tests.integration.test_backfill import OnBlocks

RUN_ID = "simulated-1"


@pytest.fixture(scope="module")
def both(backend: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Timeline, str]]:
    """Give the timeline of a simulated collapse from its record, and the URL of a Prometheus with the same run."""
    backend("promtool")
    backend("prometheus")
    folder = Path(tmp_path_factory.mktemp("prometheus"))
    plan = Plan(steps(20, 160, 8, 30), 270, "pool-cliff", time_scale=7.0)
    path = simulate(plan, folder, start_time=time.time() - 3600)
    text, data = folder / "run.om", folder / "data"
    assert main(["report", str(path), "--format", "openmetrics", "-o", str(text)]) == 0
    made = promtool("tsdb", "create-blocks-from", "openmetrics", text, data)
    assert made.returncode == 0, made.stderr
    with OnBlocks(data) as server:
        yield readers.from_record(load(path)), f"http://127.0.0.1:{server.port}"


def test_same_requests(both: tuple[Timeline, str]) -> None:
    """The timeline of Prometheus has the requests of the record, without those after the last step."""
    of_record, url = both
    timeline = readers.from_prometheus(Prometheus(url), RUN_ID)
    for mine, other in zip(timeline.endpoints, of_record.endpoints, strict=True):
        assert mine.label == other.label
        assert mine.good.sum() == pytest.approx(other.good.sum(), rel=0.04)
        assert mine.good_s.sum() == pytest.approx(other.good_s.sum(), rel=0.06)
    assert timeline.users.max() == 160
    assert timeline.keeps_up.all()


def test_same_pattern(both: tuple[Timeline, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Both find the cliff, at the same knee."""
    of_record, url = both
    mine, other = analyze(readers.from_prometheus(Prometheus(url), RUN_ID)), analyze(of_record)
    assert mine.main.pattern is other.main.pattern is Pattern.CLIFF
    assert mine.knee["rps"] == pytest.approx(other.knee["rps"], rel=0.1)
    assert main(["analyze", "--prometheus", url, "--run-id", RUN_ID]) == 0
    assert "CLIFF" in capsys.readouterr().out


def test_no_such_run(both: tuple[Timeline, str]) -> None:
    """A run that Prometheus does not have is refused."""
    with pytest.raises(ConfigurationError) as raised:
        readers.from_prometheus(Prometheus(both[1]), "another")
    assert raised.value.slug == "analyze-run-id"
