"""Tests of the analysis on runs whose latency is a formula: each pattern, and each reason not to name one."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from locust_otel.review.analysis import finding
from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Analysis, Pattern
from locust_otel.review.analysis.timeline import Floats
from locust_otel.slo.file import parse
from locust_otel.wire.record import Mark
from tests.unit.timelines import THINK_S, flat, made, stairs

SLO = b"service: s\nperiod: 6m\nscrape_interval: 5s\nobjectives:\n  fast: {sli: latency, target: 95%, within: 200ms}\n"


def saturated(time_s: Floats, users: Floats, per_request_s: float = 0.01, base_s: float = 0.04) -> Floats:
    """Return the latency of users who all wait for each other: R = R0 + a X R, X = N / (Z + R)."""
    half = (THINK_S - base_s - per_request_s * users) / 2
    return -half + np.sqrt(half**2 + base_s * THINK_S)


def capped(time_s: Floats, users: Floats) -> Floats:
    """Return a latency with a knee at 100 requests/s, 305 users."""
    return np.maximum(0.05, users / 100 - THINK_S)


def stalled(time_s: Floats, users: Floats) -> Floats:
    """Return a stall of three seconds every 17."""
    return np.where(time_s % 17 < 3, 0.9, 0.05)


def drifting(time_s: Floats, users: Floats) -> Floats:
    """Return a drift of 60 ms a minute."""
    return 0.05 + time_s / 1000


def late(time_s: Floats, users: Floats) -> Floats:
    """Return a latency that is ten times as high from 200 s on."""
    return np.where(time_s >= 200, 0.8, 0.08)


def test_linear() -> None:
    """A shared resource gives a straight growth, with what each request in flight adds and what can be carried."""
    found = analyze(made(stairs(400), {"/a": saturated, "/b": saturated})).main
    assert found.pattern is Pattern.LINEAR
    assert found.is_certain
    assert found.figures["slope_s_per_request_in_flight"] == pytest.approx(0.01, rel=0.15)
    assert found.figures["capacity_rps"] == pytest.approx(100, rel=0.15)
    assert found.figures["capacity_low_rps"] <= found.figures["capacity_rps"] <= found.figures["capacity_high_rps"]


def test_cliff() -> None:
    """A limit gives a cliff, with its knee in users and requests/s."""
    analysis = analyze(made(stairs(480), {"/a": capped, "/b": capped}))
    assert analysis.main.pattern is Pattern.CLIFF
    assert analysis.main.is_certain
    assert analysis.knee["rps"] == pytest.approx(100, rel=0.1)
    assert analysis.knee["users"] == pytest.approx(305, rel=0.1)


def test_cliff_of_errors() -> None:
    """Requests that fail from some load on are a cliff, however fast they are."""
    users = stairs(400)
    found = analyze(made(users, {"/a": flat(), "/b": flat()}, failing=np.where(users > 300, 0.4, 0.0))).main
    assert found.pattern is Pattern.CLIFF
    assert found.figures["failure_onset_users"] == pytest.approx(350, rel=0.15)


@pytest.mark.parametrize("users", [stairs(300), np.full(360, 200.0), np.linspace(20, 300, 360)])
def test_sawtooth(users: Floats) -> None:
    """Stalls at regular intervals are found at any load, with their period."""
    found = analyze(made(users, {"/a": stalled, "/b": stalled})).main
    assert found.pattern is Pattern.SAWTOOTH
    assert found.figures["period_s"] == pytest.approx(17, rel=0.05)
    assert abs(found.figures["correlation_with_users"]) < 0.3


def test_load_that_comes_in_waves_is_no_sawtooth() -> None:
    """Latency that follows periodic load is not a stall."""
    users = np.where(np.arange(400) % 40 < 20, 100.0, 400.0)
    assert analyze(made(users, {"/a": saturated, "/b": saturated})).main.pattern is not Pattern.SAWTOOTH


def test_slow_endpoint() -> None:
    """The endpoint that got slow is named, with the moment and its share of the time."""
    analysis = analyze(made(stairs(300), {"/a": flat(), "/slow": late, "/b": flat(0.03)}))
    assert analysis.main.pattern is Pattern.SLOW_ENDPOINT
    assert analysis.main.endpoint == "GET /slow"
    assert analysis.main.since_s == pytest.approx(200, abs=10)
    assert analysis.main.figures["share"] == pytest.approx(0.8 / 0.88, rel=0.1)
    patterns = {each.endpoint: each.pattern for each in analysis.endpoints}
    assert patterns == {"GET /a": Pattern.NONE, "GET /slow": Pattern.SLOW_ENDPOINT, "GET /b": Pattern.NONE}


def test_slow_from_the_start() -> None:
    """An endpoint that always was slow is named with less certainty: there is nothing to compare it with."""
    found = analyze(made(stairs(300), {"/a": flat(), "/slow": flat(1.0), "/b": flat(0.03)})).main
    assert (found.pattern, found.endpoint, found.is_certain) == (Pattern.SLOW_ENDPOINT, "GET /slow", False)


@pytest.mark.parametrize("users", [stairs(300), np.full(900, 100.0), stairs(160, 135, 8, 15)])
def test_leak(users: Floats) -> None:
    """A drift while the load is held is a leak, not a growth with the load that rose meanwhile."""
    found = analyze(made(users, {"/a": drifting, "/b": drifting}, noise=0.03)).main
    assert found.pattern is Pattern.LEAK
    assert found.figures["slope_s_per_min"] == pytest.approx(0.06, rel=0.2)


def test_ramp_cannot_tell_growth_from_drift() -> None:
    """On a ramp growth and drift look the same, and the finding is not certain."""
    for latency in (saturated, drifting):
        found = analyze(made(np.linspace(20, 400, 360), {"/a": latency, "/b": latency})).main
        assert found.pattern in (Pattern.LINEAR, Pattern.LEAK)
        assert not found.is_certain
        assert "drift" in " ".join(found.evidence)


@pytest.mark.parametrize("seed", range(5))
def test_none(seed: int) -> None:
    """Latency that nothing changes is no pattern."""
    found = analyze(made(stairs(300), {"/a": flat(), "/b": flat(0.02)}, seed=seed, noise=0.2))
    assert [each.pattern for each in found.findings] == [Pattern.NONE]


def test_soak_without_drift() -> None:
    """A long run at one load says that nothing drifted, and that other loads are not known."""
    found = analyze(made(np.full(1200, 100.0), {"/a": flat(), "/b": flat()})).main
    assert found.pattern is Pattern.NONE
    assert "other loads" in " ".join(found.evidence)


@pytest.mark.parametrize(
    ("users", "keeps_up", "reason"),
    [
        (stairs(300)[:20], True, "too-short"),
        (np.full(120, 100.0), True, "no-variation"),
        (np.full(120, 1.0), True, "too-few"),
        (stairs(300), np.arange(360) < 250, "generator"),
    ],
)
def test_cannot_tell(users: Floats, keeps_up: bool | Floats, reason: str) -> None:
    """Nothing is named where the run cannot tell, and why is said."""
    found = analyze(made(users, {"/a": flat(), "/b": flat()}, keeps_up=keeps_up)).main
    assert found.pattern is Pattern.UNKNOWN
    assert found.figures["reason"] == reason
    assert found.summary.startswith("Cannot tell, because ")


def test_nothing_at_all() -> None:
    """A run without an interval is too short, and can be printed."""
    empty = made(stairs(100)[:0], {"/a": flat()})
    assert analyze(empty).main.figures["reason"] == "too-short"


def test_step_and_recovery() -> None:
    """A step at the same load is found with its mark, and how long the recovery took after the mark of its end."""
    users = np.full(700, 150.0)
    marks = (Mark(200.0, "pool down", "fault"), Mark(300.0, "pool up", "recovery"))

    def stepped(time_s: Floats, users: Floats) -> Floats:
        return np.where((time_s >= 200) & (time_s < 320), 0.4, 0.05)

    analysis = analyze(made(users, {"/a": stepped, "/b": stepped}, marks=marks))
    assert analysis.main.pattern is Pattern.SHIFT
    assert analysis.main.since_s == pytest.approx(200, abs=6)
    assert "pool down" in " ".join(analysis.main.evidence)
    recovery = next(note for note in analysis.notes if note.slug == "recovery")
    assert recovery.figures["seconds"] == pytest.approx(20, abs=8)


def test_objective_missed() -> None:
    """The users at which an objective is missed are told, as measured."""
    timeline = replace(made(stairs(480), {"/a": capped, "/b": capped}), slo=parse(SLO, "slo.yaml"))
    note = next(note for note in analyze(timeline).notes if note.slug == "objective")
    assert note.figures["users"] == pytest.approx(345, rel=0.1)  # the first step above: 305 users and 200 ms
    assert "as measured" in note.text


def analyses() -> list[Analysis]:
    """Return one of each kind."""
    runs = (saturated, capped, stalled, drifting, late, flat())
    return [analyze(made(stairs(400), {"/a": latency, "/b": flat(0.03)})) for latency in runs]


def test_output() -> None:
    """Every analysis can be said as text, with its figures, and as JSON that any parser takes."""
    for analysis in analyses():
        console = Console(width=100, record=True, file=io.StringIO())
        finding.print_to(analysis, console)
        told = console.export_text()
        assert analysis.main.pattern.value.upper() in told
        assert "GET /a" in told
        document = json.loads(finding.written(analysis))
        assert document["pattern"] == analysis.main.pattern.value
        assert 0 <= document["findings"][0]["confidence"] <= 1
