"""Tests of the check of a run in Prometheus, against series that say what they say."""

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


def asked(  # keyword-only, one for each thing that can differ
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
    for name, outcome, value in (
        ("s", "good", good),
        ("s", "bad", bad),
        ("l", "good", 1000 - slow),
        ("l", "bad", slow),
    ):
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
    """Return what the series say of the objectives."""
    return stored_run.source(Answers(*series), "r1", lookback="7d")(
        slo(objectives, warmup=warmup, min_requests=min_requests)
    )


def notes(found: Assessments) -> set[str]:
    """Return all notes of the objectives."""
    return {result.note for result in found.results}


def test_at_the_bounds() -> None:
    """Just as many bad requests, and just the mean, that are asked for: met, with the budget that is spent."""
    found = judged(*asked())
    assert statuses(found) == {"s": "met", "l": "met", "m": "met"}
    s, latency, m = found.results
    assert (s.counts, latency.counts, m.counts) == ((990, 10, 0.0), (950, 50, 0.0), (1000, 0, 500.0))
    assert s.budget_spent == pytest.approx(900 / 1800)
    assert found.notes == ()


def test_just_above() -> None:
    """One bad request more, and a millisecond more, are missed."""
    found = judged(*asked(bad=11, good=989, slow=51, sum_s=500.001))
    assert set(statuses(found).values()) == {"missed"}


def test_what_is_asked() -> None:
    """Each series is asked for over the look-back, since an instant query is empty once the target is gone."""
    server = Answers(*asked())
    stored_run.source(server, "r1", lookback="12h")(slo(OBJECTIVES))
    assert 'max_over_time(locust_slo_events_total{run_id="r1"}[12h])' in server.asked
    assert 'last_over_time(locust_slo_status{run_id="r1"}[12h])' in server.asked


def test_a_hostile_run_id_stays_a_text() -> None:
    """Quotes and backslashes end no selector; what is no line of text is refused."""
    seen: list[str] = []

    class Listening(Answers):
        def query(self, promql: str) -> list[Sample]:
            seen.append(promql)
            return []

    stored_run.source(Listening(), 'a"} or vector(1) #\\', lookback="7d")(slo(OBJECTIVES))
    assert all('{run_id="a\\"} or vector(1) #\\\\"}[7d]' in promql for promql in seen)
    for bad in ("", "a\nb", "x" * 201, "\ud800"):
        with pytest.raises(ConfigurationError) as raised:
            stored_run.source(Listening(), bad, lookback="7d")
        assert raised.value.slug == "check-run-id"
    for bad in ("", "7", "7d]", "-1h"):
        with pytest.raises(ConfigurationError) as raised:
            stored_run.source(Listening(), "r1", lookback=bad)
        assert raised.value.slug == "check-lookback"


def test_scraped_and_pushed_counts_once() -> None:
    """Of two stores of the same run the one that has seen more is taken, whatever further labels it has."""
    found = judged(*asked(good=900), *asked(PUSHED, good=989, bad=11))
    assert [result.counts.total for result in found.results] == [1000, 1000, 1000]
    assert statuses(found)["s"] == "missed"


def test_no_data() -> None:
    """An unknown run id is no data."""
    found = judged(*((name, {**labels, "run_id": "other"}, value) for name, labels, value in asked()))
    assert set(statuses(found).values()) == {"undecided"}
    assert notes(found) == {"no data of run r1 in the last 7d"}


def test_a_run_that_judged_nothing() -> None:
    """Counters at 0, and fewer requests than it takes, are no pass."""
    assert statuses(judged(*asked(good=0, bad=0)))["s"] == "undecided"
    assert statuses(judged(*asked(), min_requests=1001))["s"] == "undecided"


def test_an_invalid_run() -> None:
    """A load generator that was too slow leaves nothing to believe."""
    assert set(statuses(judged(*asked(invalid=1, bad=500))).values()) == {"invalid"}


def test_a_run_that_goes_on() -> None:
    """Nothing is final before the end of a run; one store that saw the end is enough."""
    found = judged(*asked(active=1))
    assert set(statuses(found).values()) == {"undecided"}
    assert "has not ended" in notes(found).pop()
    assert statuses(judged(*asked(active=1), *asked(PUSHED)))["s"] == "met"


def test_an_id_of_two_runs() -> None:
    """The highest values of two runs are those of neither."""
    found = judged(*asked(), *asked({**SCRAPED, "instance": "other"}, start=1e9 + 3600))
    assert set(statuses(found).values()) == {"undecided"}
    assert "more than one run" in notes(found).pop()


def test_another_slo_file() -> None:
    """A run that was judged by another target, threshold or file says nothing of this one's."""
    found = judged(*asked(target=0.95, within=1.5), objectives=f"{OBJECTIVES}, new: {{sli: success, target: 99%}}")
    assert statuses(found) == {"s": "undecided", "l": "undecided", "m": "met", "new": "undecided"}
    s, latency, _, new = (result.note for result in found.results)
    assert s == "not decidable: the run was judged with target 0.95, the file has 0.99"
    assert latency == "not decidable: the run was judged with within 1.5, the file has 2"
    assert new == "not decidable: the run had no such objective in its SLO file"


def test_another_kind_of_objective() -> None:
    """The same name for latency instead of success is another objective."""
    found = judged(*asked(), objectives="s: {sli: latency, target: 99%, within: 1s}, l: {sli: success, target: 95%}")
    assert set(statuses(found).values()) == {"undecided"}


def test_an_aborted_run_is_missed() -> None:
    """--slo-abort ends a run as missed, whatever its counts came to in the end."""
    mark = ("locust_marks_total", {**SCRAPED, "mark": "slo-abort l", "kind": "abort"}, 1.0)
    found = judged(*asked(), mark)
    assert statuses(found) == {"s": "met", "l": "missed", "m": "met"}


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
    """Requests, histogram and sum decide, however an edge is written; a note says that the warm-up is in."""
    objectives = (
        f"{OBJECTIVES}, v: {{sli: success, target: 99%, match: {{user_class: V}}}}, "
        "ok: {sli: latency, target: 97%, within: 2s, only: success}, "
        "off: {sli: latency, target: 97%, within: 1.7s}"
    )
    found = judged(*observed(edges=edges), objectives=objectives)
    assert statuses(found) == {"s": "missed", "l": "met", "m": "met", "v": "met", "ok": "missed", "off": "undecided"}
    assert [result.counts[:2] for result in found.results] == [
        (980, 20), (960, 40), (1000, 0), (300, 0), (950, 30), (0, 0),
    ]  # fmt: skip
    assert found.results[2].actual == 0.5
    assert any("warm-up of 10 s" in note for note in found.notes)
    assert "1700 ms is no edge" in found.results[5].note


def test_without_an_slo_file_scraped_and_pushed() -> None:
    """The same requests in two stores count once."""
    found = judged(*observed(), *observed(PUSHED, edges=("1", "2", "+Inf")))
    assert [result.counts.total for result in found.results] == [1000, 1000, 1000]


def test_workers_that_export_add_up() -> None:
    """Workers, which know nothing of the run, have its requests together; two jobs that scrape them are no more."""
    of_run = [each for each in observed() if each[0].startswith("locust_run")]
    workers = [series for n in "12" for series in observed({**SCRAPED, "instance": n}, of_run=False)]
    again = [series for n in "12" for series in observed({"job": "again", "instance": n}, of_run=False)]
    for found in (judged(*of_run, *workers), judged(*of_run, *workers, *again)):
        assert [result.counts[:2] for result in found.results] == [(1960, 40), (1920, 80), (2000, 0)]


def test_workers_of_two_jobs_may_be_the_same() -> None:
    """Workers that were scraped and pushed cannot be told from more workers."""
    workers = [series for exporter in (SCRAPED, PUSHED) for series in observed(exporter, of_run=False)]
    found = judged(*workers)
    assert set(statuses(found).values()) == {"undecided"}
    assert "twice" in notes(found).pop()


def test_a_store_with_native_histograms_alone() -> None:
    """No bucket, no verdict on latency; success is decided."""
    series = [each for each in observed() if not each[0].endswith("_bucket")]
    assert statuses(judged(*series))["l"] == "undecided"
    assert statuses(judged(*series))["s"] == "missed"
