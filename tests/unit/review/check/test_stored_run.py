"""Tests of the source for a run in Prometheus, against series with known values."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from locust_otel.core.errors import ConfigurationError
from locust_otel.review.check import stored_run
from locust_otel.review.check.assessments import Assessments
from locust_otel.review.prometheus import Sample
from tests.unit.check_files import Answers, slo, statuses

Series = tuple[str, dict[str, str], float]

OBJECTIVES = "s: {sli: success, target: 99%}, l: {sli: latency, target: 95%, within: 2s}, m: {sli: mean, within: 500ms}"
SCRAPED = {"job": "locust", "instance": "10.0.0.1:9646"}
PUSHED = {"job": "shop/locust-otel", "instance": "b7", "otel_scope_name": "locust_otel", "deployment": "x"}


def of_slo(
    exporter: dict[str, str] = SCRAPED,
    *,
    bad: int = 10,
    good: int = 990,
    slow: int = 50,
    sum_s: float = 500.0,
    elapsed: float = 910.0,
    active: float = 0,
    start: float = 1e9,
    invalid: float = 0,
    target: float = 0.99,
    within: float = 2.0,
) -> Iterator[Series]:
    """Yield the series of a run of 1,000 judged requests with the three objectives."""
    yield "locust_run_elapsed_seconds", exporter, elapsed
    yield "locust_run_active", exporter, active
    yield "locust_run_start_time_seconds", exporter, start
    yield "locust_requests_total", exporter | _key("success"), 7777
    for name, counts in (("s", (good, bad)), ("l", (1000 - slow, slow))):
        for outcome, value in zip(("good", "bad"), counts, strict=True):
            yield "locust_slo_events_total", exporter | {"slo": name, "slo_service": "shop", "outcome": outcome}, value
    yield "locust_slo_mean_seconds_total", exporter | {"slo": "m", "slo_service": "shop"}, sum_s
    yield "locust_slo_mean_requests_total", exporter | {"slo": "m", "slo_service": "shop"}, 1000
    for name, ratio in (("s", target), ("l", 0.95)):
        yield "locust_slo_objective_ratio", exporter | {"slo": name}, ratio
    for name, seconds in (("l", within), ("m", 0.5)):
        yield "locust_slo_threshold_seconds", exporter | {"slo": name}, seconds
    for name in "slm":
        yield "locust_slo_status", exporter | {"slo": name, "status": "invalid"}, invalid


def _key(outcome: str, method: str = "GET", name: str = "/a", user_class: str = "U") -> dict[str, str]:
    return {"method": method, "name": name, "user_class": user_class, "outcome": outcome}


def judged(*series: Series, objectives: str = OBJECTIVES, warmup: str = "10s", min_requests: int = 100) -> Assessments:
    """Return the run of objectives by series."""
    source = stored_run.source(Answers(*series), "r1", lookback="7d")
    return source(slo(objectives, warmup=warmup, min_requests=min_requests))


def notes(run: Assessments) -> set[str]:
    """Return all notes of the objectives."""
    return {result.note for result in run.results}


def test_at_the_bounds() -> None:
    """As many bad requests as allowed, and exactly the mean, are met, with the spent budget."""
    run = judged(*of_slo())
    assert statuses(run) == {"s": "met", "l": "met", "m": "met"}
    s, latency, m = run.results
    assert (s.counts, latency.counts, m.counts) == ((990, 10, 0.0), (950, 50, 0.0), (1000, 0, 500.0))
    assert s.budget_spent == pytest.approx(900 / 1800)
    assert run.notes == ()


def test_just_above() -> None:
    """One more bad request, and one more millisecond, are missed."""
    run = judged(*of_slo(bad=11, good=989, slow=51, sum_s=500.001))
    assert set(statuses(run).values()) == {"missed"}


def test_queries() -> None:
    """Each query is over the look-back, since an instant query is empty after the run."""
    server = Answers(*of_slo())
    stored_run.source(server, "r1", lookback="12h")(slo(OBJECTIVES))
    assert 'max_over_time(locust_slo_events_total{run_id="r1"}[12h])' in server.asked
    assert 'last_over_time(locust_slo_status{run_id="r1"}[12h])' in server.asked


def test_a_hostile_run_id_stays_a_text() -> None:
    """Quotes and backslashes do not end the selector."""
    queries: list[str] = []

    class Recording(Answers):
        def query(self, promql: str) -> list[Sample]:
            queries.append(promql)
            return []

    stored_run.source(Recording(), 'a"} or vector(1) #\\', lookback="7d")(slo(OBJECTIVES))
    assert len(queries) > 1
    assert all('{run_id="a\\"} or vector(1) #\\\\"}[7d]' in promql for promql in queries)


@pytest.mark.parametrize(
    ("run_id", "lookback", "slug"),
    [
        ("", "7d", "run-id"), ("a\nb", "7d", "run-id"), ("x" * 201, "7d", "run-id"), ("\ud800", "7d", "run-id"),
        ("r1", "", "lookback"), ("r1", "7", "lookback"), ("r1", "7d]", "lookback"), ("r1", "-1h", "lookback"),
    ],
)  # fmt: skip
def test_bad_settings(run_id: str, lookback: str, slug: str) -> None:
    """A run id of several lines or 201 characters, and other look-backs than times, are refused."""
    with pytest.raises(ConfigurationError) as raised:
        stored_run.source(Answers(), run_id, lookback=lookback)
    assert raised.value.slug == f"check-{slug}"


def test_scraped_and_pushed_counts_once() -> None:
    """Of two exporters of a run the one with more requests is taken, with any labels."""
    run = judged(*of_slo(good=900), *of_slo(PUSHED, good=989, bad=11))
    assert [result.counts.total for result in run.results] == [1000, 1000, 1000]
    assert statuses(run)["s"] == "missed"


def test_no_data() -> None:
    """A run without data is undecided."""
    run = judged(*((name, {**labels, "run_id": "other"}, value) for name, labels, value in of_slo()))
    assert set(statuses(run).values()) == {"undecided"}
    assert notes(run) == {"no data of run r1 in the last 7d"}


def test_a_run_that_judged_nothing() -> None:
    """Counters at 0, and too few requests, are undecided."""
    assert statuses(judged(*of_slo(good=0, bad=0)))["s"] == "undecided"
    assert statuses(judged(*of_slo(), min_requests=1001))["s"] == "undecided"


def test_an_invalid_run() -> None:
    """A run with a late load generator is invalid."""
    assert set(statuses(judged(*of_slo(invalid=1, bad=500))).values()) == {"invalid"}


def test_an_undecided_objective() -> None:
    """An objective that the run itself left undecided is undecided, with the reason."""
    run = judged(*of_slo(), ("locust_slo_status", {**SCRAPED, "slo": "l", "status": "undecided"}, 1))
    assert statuses(run) == {"s": "met", "l": "undecided", "m": "met"}
    assert run.results[1].note.startswith("undecided by the run")


def test_folded_names() -> None:
    """Requests that are counted as _OTHER may match a pattern too: the objective is undecided."""
    folded = ("locust_requests_total", SCRAPED | _key("success", name="_OTHER"), 1.0)
    objectives = "a: {sli: success, target: 90%, match: {name: /a*}}, s: {sli: success, target: 90%}"
    run = judged(*observed(), folded, objectives=objectives)
    assert statuses(run) == {"a": "undecided", "s": "met"}
    assert "_OTHER" in run.results[0].note


def test_a_running_run() -> None:
    """A running run is undecided; one exporter with its end is enough."""
    run = judged(*of_slo(active=1))
    assert set(statuses(run).values()) == {"undecided"}
    assert "still running" in notes(run).pop()
    assert statuses(judged(*of_slo(active=1), *of_slo(PUSHED)))["s"] == "met"


def test_an_id_of_two_runs() -> None:
    """Two runs with one id are undecided."""
    run = judged(*of_slo(), *of_slo({**SCRAPED, "instance": "other"}, start=1e9 + 3600))
    assert set(statuses(run).values()) == {"undecided"}
    assert "more than one run" in notes(run).pop()


def test_another_slo_file() -> None:
    """Objectives with another target or threshold in the run, or unknown to it, are undecided."""
    run = judged(*of_slo(target=0.95, within=1.5), objectives=f"{OBJECTIVES}, new: {{sli: success, target: 99%}}")
    assert statuses(run) == {"s": "undecided", "l": "undecided", "m": "met", "new": "undecided"}
    s, latency, _, new = (result.note for result in run.results)
    assert s == "not decidable: the run was judged with target 0.95, the file has 0.99"
    assert latency == "not decidable: the run was judged with within 1.5, the file has 2"
    assert new == "not decidable: the run had no such objective in its SLO file"


def test_another_kind_of_objective() -> None:
    """An objective of another kind with the same name is undecided."""
    run = judged(*of_slo(), objectives="s: {sli: latency, target: 99%, within: 1s}, l: {sli: success, target: 95%}")
    assert set(statuses(run).values()) == {"undecided"}


def test_an_aborted_run_is_missed() -> None:
    """The objective because of which --slo-abort ended the run is missed, whatever its final counts are."""
    mark = ("locust_marks_total", {**SCRAPED, "mark": "slo-abort l", "kind": "abort"}, 1.0)
    run = judged(*of_slo(), mark)
    assert statuses(run) == {"s": "met", "l": "missed", "m": "met"}


def observed(
    exporter: dict[str, str] = SCRAPED, *, edges: tuple[str, ...] = ("1.0", "2.0", "+Inf"), of_run: bool = True
) -> Iterator[Series]:
    """Yield the series of a run without --slo: 1,000 requests of two endpoints, 20 failed, 40 above 2 s."""
    if of_run:
        yield "locust_run_elapsed_seconds", exporter, 900.0
        yield "locust_run_active", exporter, 0.0
    for key, count, fast, sum_s in (
        (_key("success"), 680, 660, 300.0),
        (_key("failure"), 20, 10, 100.0),
        (_key("success", "POST", "/b", "V"), 300, 290, 100.0),
    ):
        yield "locust_requests_total", exporter | key, count
        yield "locust_request_duration_seconds_count", exporter | key, count
        yield "locust_request_duration_seconds_sum", exporter | key, sum_s
        for edge in edges:
            value = count if "Inf" in edge else fast if float(edge) == 2 else 1
            yield "locust_request_duration_seconds_bucket", exporter | key | {"le": edge}, value


@pytest.mark.parametrize("edges", [("1.0", "2.0", "+Inf"), ("1", "2", "+Inf")])
def test_without_an_slo_file(edges: tuple[str, ...]) -> None:
    """Requests, histogram and sum decide, with edges in both notations; a note names the warm-up."""
    objectives = (
        f"{OBJECTIVES}, v: {{sli: success, target: 99%, match: {{user_class: V}}}}, "
        "ok: {sli: latency, target: 97%, within: 2s, only: success}, "
        "off: {sli: latency, target: 97%, within: 1.7s}"
    )
    run = judged(*observed(edges=edges), objectives=objectives)
    assert statuses(run) == {
        "s": "missed",
        "l": "met",
        "m": "met",
        "v": "met",
        "ok": "missed",
        "off": "undecided",
    }
    assert [result.counts[:2] for result in run.results] == [
        (980, 20), (960, 40), (1000, 0), (300, 0), (950, 30), (0, 0),
    ]  # fmt: skip
    assert run.results[2].actual == 0.5
    assert any("warm-up of 10 s" in note for note in run.notes)
    assert "1700 ms is no edge" in run.results[5].note


def test_without_an_slo_file_scraped_and_pushed() -> None:
    """The same requests of two exporters count once."""
    run = judged(*observed(), *observed(PUSHED, edges=("1", "2", "+Inf")))
    assert [result.counts.total for result in run.results] == [1000, 1000, 1000]


def test_workers_that_export_add_up() -> None:
    """Requests of workers without series of the run add up; those of a second job that scrapes them do not."""
    of_run = [entry for entry in observed() if entry[0].startswith("locust_run")]
    workers = [series for n in "12" for series in observed({**SCRAPED, "instance": n}, of_run=False)]
    again = [series for n in "12" for series in observed({"job": "again", "instance": n}, of_run=False)]
    for run in (judged(*of_run, *workers), judged(*of_run, *workers, *again)):
        assert [result.counts[:2] for result in run.results] == [(1960, 40), (1920, 80), (2000, 0)]


def test_workers_of_two_jobs_may_be_the_same() -> None:
    """Workers that were scraped and pushed cannot be distinguished from more workers."""
    workers = [series for exporter in (SCRAPED, PUSHED) for series in observed(exporter, of_run=False)]
    run = judged(*workers)
    assert set(statuses(run).values()) == {"undecided"}
    assert "twice" in notes(run).pop()


def test_a_store_with_native_histograms_alone() -> None:
    """Without classic buckets latency is undecided, and the rest is decided."""
    series = [entry for entry in observed() if not entry[0].endswith("_bucket")]
    assert statuses(judged(*series)) == {"s": "missed", "l": "undecided", "m": "met"}
