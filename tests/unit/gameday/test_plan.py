"""Tests of game-day files: their values, and all problems at once, each with its line."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday.plan import load, moments
from locust_otel.gameday.schema import json_schema
from locust_otel.gameday.scoreboard import plan

EXAMPLES = Path(__file__).parents[3] / "locustfiles"
GOOD = """\
name: lose the database
slo: slo.yaml
load: {locustfile: webshop.py, users: 50, run_time: 10m}
steps:
  - at: 2m
    fault: {name: db, run: break it, undo: undo it, for: 2m}
    expect:
      - {alert: LocustSLOBudgetBurn, severity: critical, within: 60s, clears_within: 2m}
  - at: 6m
    fault: {name: replica, run: break it, undo: undo it, for: 1m}
    expect: [{no_alert: LocustSLOBudgetBurn}]
stop_when: {failure_ratio: 50%}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an SLO file and a locustfile."""
    for name in ("slo.yaml", "webshop.py"):
        (tmp_path / name).write_text((EXAMPLES / name).read_text())
    return tmp_path


def problems(folder: Path, text: str) -> list[tuple[int, str]]:
    """Return line and slug of each problem of a file."""
    path = folder / "day.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load(str(path))
    problems = raised.value.problems
    assert all(problem.remedy for problem in problems)
    places = [(problem.where.removeprefix(f"{path}:").split(":")[0], problem.slug) for problem in problems]
    return [(int(line) if line.isdigit() else 0, slug) for line, slug in places]


def test_a_good_file_has_its_values(folder: Path) -> None:
    """Times are seconds, steps are in order, and the game day ends with its load."""
    path = folder / "day.yaml"
    path.write_text(GOOD)
    day = load(str(path))
    assert day.name == "lose the database"
    assert day.load is not None
    assert (day.load.users, day.load.run_time, day.end_s) == (50, Decimal(600), Decimal(600))
    times = [tuple(map(int, (step.at, step.end_s, step.settled_s))) for step in day.steps]
    assert times == [(120, 240, 360), (360, 420, 420)]
    assert day.steps[0].expect[0].sentence == "LocustSLOBudgetBurn (critical) within 1:00, gone within 2:00"
    assert day.steps[1].expect[0].sentence == "no LocustSLOBudgetBurn"
    assert day.stop_when is not None
    assert (day.stop_when.failure_ratio, day.stop_when.over) == (Decimal("0.5"), Decimal(15))
    assert replace(day, load=None).end_s == 420
    assert [moment.kind for moment in moments(day)] == [
        "start", "fault", "alert", "undo", "clear", "fault", "quiet", "undo", "end",
    ]  # fmt: skip


def test_the_example_is_right() -> None:
    """The shipped game day has no problem and fits the schema, and its plan has all faults."""
    day = load(str(EXAMPLES / "game-day.yaml"))
    schema = Draft202012Validator(json_schema())
    assert not list(schema.iter_errors(yaml.safe_load((EXAMPLES / "game-day.yaml").read_text())))
    assert day.notes == ()
    assert all(step.fault.name in plan(day) for step in day.steps)


PROBLEMS: list[tuple[str, str, int, str]] = [
    ("name: lose", "nmae: lose", 1, "gameday-unknown-key"),
    ("users: 50", "users: many", 3, "gameday-count"),
    ("users: 50, ", "", 3, "gameday-missing"),
    ("run_time: 10m", "run_time: 10", 3, "gameday-duration-unit"),
    ("run_time: 10m", "run_time: 6m", 9, "gameday-at-late"),
    ("run_time: 10m", "run_time: 390s", 10, "gameday-fault-late"),
    ("run_time: 10m", "run_time: 10m, args: [--headless]", 3, "gameday-args"),
    ("run_time: 10m", "run_time: 10m, args: ['-u=5']", 3, "gameday-args"),
    ("webshop.py", "nowhere.py", 3, "gameday-no-file"),
    ("slo: slo.yaml", "slo: nowhere.yaml", 2, "gameday-no-file"),
    ("at: 2m", "at: soon", 5, "gameday-duration"),
    (", undo: undo it, for: 2m", ", for: 2m", 6, "gameday-fault-no-undo"),
    (", undo: undo it, for: 2m", ", undo: undo it, for: 5m", 6, "gameday-overlap"),
    (", undo: undo it, for: 2m", ", undo: undo it", 6, "gameday-missing"),
    ("name: replica", "name: db", 10, "gameday-fault-twice"),
    ("within: 60s", "within: 60", 8, "gameday-duration-unit"),
    ("within: 60s", "within: 5m", 8, "gameday-expect-late"),
    ("clears_within: 2m", "clears_within: 3m", 8, "gameday-expect-late"),
    ("alert: LocustSLOBudgetBurn, sev", "alert: LocustSLOBudgetBrun, sev", 8, "gameday-unknown-alert"),
    ("alert: LocustSLOBudgetBurn, sev", "alert: LocustNothing, sev", 8, "gameday-unknown-alert"),
    ("alert: LocustSLOBudgetBurn, severity: critical", "alert: LocustRunActive", 8, "gameday-not-counted"),
    ("{no_alert: LocustSLOBudgetBurn}", "{no_alert: LocustRunActive}", 11, "gameday-not-counted"),
    ("alert: LocustSLOBudgetBurn, severity: critical", "alert: CartDown, severity: none", 8, "gameday-not-counted"),
    ("severity: critical", "severity: page", 8, "gameday-severity"),
    ("alert: LocustSLOBudgetBurn, sev", "sev", 8, "gameday-expect"),
    ("clears_within: 2m", "clears_within: 34s", 8, "gameday-keep-firing"),
    ("within: 60s, clears_within: 2m", "clears_within: 2m", 8, "gameday-missing"),
    ("{no_alert: LocustSLOBudgetBurn}", "{no_alert: LocustSLOBudgetBurn, within: 5s}", 11, "gameday-contradiction"),
    ("failure_ratio: 50%", "failure_ratio: 150%", 12, "gameday-target-range"),
    ("failure_ratio: 50%", "failure_ratio: ", 12, "gameday-type"),
]


@pytest.mark.parametrize(
    ("good", "bad", "line", "slug"), PROBLEMS, ids=[f"{slug}-{bad[:20]}" for _, bad, _, slug in PROBLEMS]
)
def test_each_problem_has_its_line(folder: Path, good: str, bad: str, line: int, slug: str) -> None:
    """One problem of a good file is found at its line."""
    assert good in GOOD
    assert (line, slug) in problems(folder, GOOD.replace(good, bad, 1))


def test_all_problems_come_at_once(folder: Path) -> None:
    """Three problems come together, by line, with one of the SLO file."""
    (folder / "slo.yaml").write_text("service: x\n")
    text = GOOD.replace("users: 50", "users: 0").replace("undo: undo it, for: 2m", "for: 2m").replace("60s", "60")
    found = problems(folder, text)
    assert [line for line, _ in found][:3] == [3, 6, 8]
    assert {slug for _, slug in found} == {
        "gameday-count", "gameday-fault-no-undo", "gameday-duration-unit", "slo-missing",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "[]", "name: x\nsteps: []\n", "name: x\nsteps: 5\n", "steps:\n- 3\n", "&a x"])
def test_other_files_are_refused(folder: Path, text: str) -> None:
    """A file that is not a game day is refused with a slug, and raises no other error."""
    assert problems(folder, text)
    assert all(slug.startswith("gameday-") for _, slug in problems(folder, text))


def test_an_alert_of_the_user_is_a_note(folder: Path) -> None:
    """The name of another alert is allowed, and noted."""
    path = folder / "day.yaml"
    path.write_text(GOOD.replace("no_alert: LocustSLOBudgetBurn", "no_alert: CartDown"))
    day = load(str(path))
    assert day.own_alerts == {"CartDown"}
    note = "CartDown is an alert of your own: Prometheus is asked for its rule before the load starts."
    assert day.notes == (note,)


@pytest.mark.parametrize(
    ("severity", "limit", "kept", "least"), [("critical", "20s", "30s", "35s"), ("warning", "2m", "2m", "2m5s")]
)
def test_an_alert_that_keeps_firing_cannot_be_gone(
    folder: Path, severity: str, limit: str, kept: str, least: str
) -> None:
    """`clears_within` must cover the rule's `keep_firing_for` and one evaluation; the plan shows the former."""
    path = folder / "day.yaml"
    text = GOOD.replace("severity: critical", f"severity: {severity}")
    path.write_text(text.replace("clears_within: 2m", f"clears_within: {limit}"))
    with pytest.raises(ConfigurationError) as raised:
        load(str(path))
    (problem,) = raised.value.problems
    assert problem.where == f"{path}:8: steps.0.expect.0.clears_within"
    assert problem.found == (
        f"LocustSLOBudgetBurn keeps firing for {kept} after the last bad window: it cannot be gone within {limit}."
    )
    assert problem.remedy == f"Write {least} or more: its keep_firing_for and one evaluation."
    path.write_text(text.replace("clears_within: 2m", f"clears_within: {least}").replace("at: 6m", "at: 7m"))
    assert f"LocustSLOBudgetBurn must be gone (it keeps firing for {kept})" in plan(load(str(path)))


def test_without_severity_the_shortest_time_counts(folder: Path) -> None:
    """Either of two rules may raise the alert: a time is refused if neither rule can be that fast."""
    path = folder / "day.yaml"
    text = GOOD.replace("severity: critical, ", "")
    path.write_text(text.replace("clears_within: 2m", "clears_within: 35s"))
    assert load(str(path)).notes == ()
    assert problems(folder, text.replace("clears_within: 2m", "clears_within: 34s")) == [(8, "gameday-keep-firing")]
