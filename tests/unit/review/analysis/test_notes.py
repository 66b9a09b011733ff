"""Tests of observations: generator, warm-up, step and recovery, and objectives that are missed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Note, Pattern
from locust_otel.review.analysis.timeline import Floats, Timeline
from locust_otel.slo.file import parse
from locust_otel.wire.record import Mark
from tests.unit.timelines import Latency, capped, flat, made, saturated, stairs

MARKS = (Mark(200.0, "pool down", "fault"), Mark(300.0, "pool up", "recovery"))


def note(timeline: Timeline, slug: str) -> Note:
    """Return the only note of a kind."""
    (note,) = (note for note in analyze(timeline).notes if note.slug == slug)
    return note


@pytest.mark.parametrize(("marks", "since_s", "seconds"), [(MARKS, 300, 20), ((), 200, 120)], ids=["marks", "no marks"])
def test_step_and_recovery(marks: tuple[Mark, ...], since_s: float, seconds: float) -> None:
    """A step at constant load is named with its mark, and the recovery is timed from the mark of its end."""

    def stepped(time_s: Floats, users: Floats) -> Floats:
        return np.where((time_s >= 200) & (time_s < 320), 0.4, 0.05)

    timeline = made(np.full(700, 150.0), {"/a": stepped, "/b": stepped}, marks=marks)
    main = analyze(timeline).main
    assert main.pattern is Pattern.SHIFT
    assert main.since_s == pytest.approx(200, abs=6)
    assert ("'pool down'" in " ".join(main.evidence)) is bool(marks)
    recovery = note(timeline, "recovery")
    assert recovery.figures["since_s"] == pytest.approx(since_s, abs=6)
    assert recovery.figures["seconds"] == pytest.approx(seconds, abs=8)


def test_warmup() -> None:
    """A slow start is a warm-up, with its end."""

    def cold(time_s: Floats, users: Floats) -> Floats:
        return 0.05 + 0.5 * np.exp(-time_s / 20)

    warmup = note(made(np.full(700, 150.0), {"/a": cold, "/b": cold}), "warm-up")
    assert 30 < warmup.figures["until_s"] < 150
    assert warmup.figures["after_s"] == pytest.approx(0.05, rel=0.1)


def test_generator() -> None:
    """The share of the run in which the generator was behind is a note, with the first time."""
    generator = note(made(stairs(300), {"/a": flat(), "/b": flat()}, keeps_up=np.arange(360) < 342), "generator")
    assert generator.figures == {"share": pytest.approx(18 / 360), "since_s": 342.0}


def linear(time_s: Floats, users: Floats) -> Floats:
    """Return 1 ms for each user above 50 ms."""
    return 0.05 + 0.001 * users


@pytest.mark.parametrize(
    ("latency", "high", "within", "text", "users"),
    [
        (capped, 480, "200ms", "from about", 345),  # the first step above: 305 users and 200 ms
        (saturated, 400, "30ms", "is missed at every load of this run", 50),
        (linear, 240, "400ms", "would be missed at about", (0.4 / 1.16 - 0.05) / 0.001),  # the noise has p95 at 1.16
        (linear, 240, "60s", "would only be missed above twice the 240 users", None),
    ],
)
def test_objective(latency: Latency, high: int, within: str, text: str, users: float | None) -> None:
    """The number of users at which an objective is missed is measured, or else extrapolated."""
    slo = f"service: s\nperiod: 6m\nobjectives:\n  fast: {{sli: latency, target: 95%, within: {within}}}\n"
    timeline = replace(made(stairs(high), {"/a": latency, "/b": latency}), slo=parse(slo.encode(), "slo.yaml"))
    objective = note(timeline, "objective")
    assert text in objective.text
    assert objective.figures["users"] == (users and pytest.approx(users, rel=0.1))
    assert objective.figures["is_measured"] is ("would" not in text)
