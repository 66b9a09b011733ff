"""The plan of a game day: its file, checked with all problems at once, and its time line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from locust_otel.core.documents import Document, read
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.shape import validated
from locust_otel.gameday.schema import ExpectShape, GameDayShape, LoadShape, StepShape, StopShape
from locust_otel.slo import file as slo_file
from locust_otel.slo.objectives import Slo, span
from locust_otel.slo.rules import names
from locust_otel.slo.rules.alerting_rules import Links, run_alerts, slo_alerts
from locust_otel.slo.rules.recording_rules import Rule
from locust_otel.slo.schema import Time

KNOWN = tuple(
    value
    for key, value in vars(names).items()
    if key.isupper() and isinstance(value, str) and value.startswith("Locust") and value != names.RUN_ACTIVE
)
"""The alerts of this package."""

_SLUG = "gameday"
_TIME: TypeAdapter[Decimal] = TypeAdapter(Time)
_FAULT = {"name": "x", "run": "x", "undo": "x", "for": "1ms"}
_PLACEHOLDERS: dict[str, Any] = {"name": "x", "steps": [{"at": "0", "fault": _FAULT}]}
_WANTED = "Write name, slo, load and steps; see docs/game-days.md."
_RESERVED = {
    "-f", "--locustfile", "-u", "--users", "-t", "--run-time", "-r", "--spawn-rate", "-H", "--host", "--slo",
    "--headless", "--run-id", "--run-record",
}  # fmt: skip
"""Arguments of Locust that the game day sets itself."""


class Moment(NamedTuple):
    """An entry of the time line: `start`, `fault`, `undo`, `alert` and `clear` (deadlines), `quiet`, `end`."""

    at_s: Decimal
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class GameDay:
    """A game-day file."""

    name: str
    source: Path  # path of the file; commands run in its folder
    steps: tuple[StepShape, ...]  # by time; no two faults overlap
    slo: Slo | None = None
    slo_path: Path | None = None
    load: LoadShape | None = None  # None if the game day attaches to a run
    stop_when: StopShape | None = None
    notes: tuple[str, ...] = ()  # possible mistakes

    @property
    def end_s(self) -> Decimal:
        """End of the game day."""
        settled = max(step.settled_s for step in self.steps)
        return settled if self.load is None else max(settled, self.load.run_time)

    @property
    def expectations(self) -> list[ExpectShape]:
        """The expectations of all steps."""
        return [expectation for step in self.steps for expectation in step.expect]

    @property
    def own_alerts(self) -> frozenset[str]:
        """Expected alerts of the user's own rules, which may lack the label `run_id`."""
        return frozenset(expected.name for expected in self.expectations if not expected.name.startswith("Locust"))

    def counts(self, labels: Mapping[str, str], run_id: str) -> bool:
        """Return whether an alert counts for a run: it has its id, or is one of `own_alerts` and has none."""
        is_own = "run_id" not in labels and labels.get("alertname") in self.own_alerts
        return names.is_counted(labels) and (is_own or labels.get("run_id") == run_id)


def load(path: str) -> GameDay:
    """Read a game-day file, and the SLO file that it names.

    Raises:
        ConfigurationError: It cannot be used; `problems` has one error for each problem.
    """
    source = Path(path)
    document = Document(path, read(source, path, _SLUG), _SLUG)
    shape, _ = validated(document, GameDayShape, _PLACEHOLDERS, _WANTED)
    slo_path = None if shape.slo is None else source.parent / shape.slo
    day = GameDay(
        name=shape.name,
        source=source,
        steps=tuple(sorted((step for step in shape.steps if step.place), key=lambda step: step.at)),
        slo=None if slo_path is None else _slo(slo_path, document),
        slo_path=slo_path,
        load=shape.load,
        stop_when=shape.stop_when,
    )
    if day.load is not None:
        _check_load(day.load, source.parent, document)
    _check_times(day, document)
    notes = tuple(_check_alerts(day, document))
    document.raise_problems()
    return replace(day, notes=notes)


def alerting_rules(slo: Slo | None) -> list[Rule]:
    """Return the alerting rules of an SLO file; an empty list without a file."""
    return [] if slo is None else [*slo_alerts(slo, Links()), *run_alerts(slo, Links())]


def can_raise(rule: Rule, expectation: ExpectShape) -> bool:
    """Return whether a rule can raise the alert of an expectation."""
    return rule["alert"] == expectation.name and expectation.severity in {None, rule["labels"]["severity"]}


def kept_s(slo: Slo | None, expectation: ExpectShape) -> Decimal:
    """Return how long an alert of the SLO file keeps firing at least after its last bad window; 0 for others."""
    rules = [rule for rule in alerting_rules(slo) if can_raise(rule, expectation)]
    return min((_TIME.validate_python(rule.get("keep_firing_for", "0")) for rule in rules), default=Decimal(0))


def moments(day: GameDay) -> list[Moment]:
    """Return the time line, by time."""
    load = "a run in progress"
    if day.load is not None:
        load = f"{Path(day.load.locustfile).name}, {day.load.users} users, {span(day.load.run_time)}"
    line = [Moment(Decimal(0), "start", load), Moment(day.end_s, "end", "the game day ends")]
    for step in day.steps:
        line.append(Moment(step.at, "fault", f"{step.fault.name}: {step.fault.run}"))
        line.append(Moment(step.end_s, "undo", f"{step.fault.name}: {step.fault.undo}"))
        for expectation in step.expect:
            alert = expectation.name
            if expectation.within is None:
                line.append(Moment(step.at, "quiet", f"{alert} must not begin to fire before {span(step.end_s)}"))
                continue
            line.append(Moment(step.at + expectation.within, "alert", f"{alert} must have fired"))
            if expectation.clears_within is not None:
                kept = kept_s(day.slo, expectation)
                text = f"{alert} must be gone" + (f" (it keeps firing for {span(kept)})" if kept else "")
                line.append(Moment(step.end_s + expectation.clears_within, "clear", text))
    order = ("start", "clear", "undo", "alert", "fault", "quiet", "end")
    return sorted(line, key=lambda moment: (moment.at_s, order.index(moment.kind)))


def _slo(path: Path, document: Document) -> Slo | None:
    if not path.is_file():
        document.refuse(("slo",), f"There is no file {path.name}.", "Name an SLO file, from this folder.", "no-file")
        return None
    try:
        return slo_file.load(str(path))
    except ConfigurationError as error:
        document.problems.append(error)
        return None


def _check_load(shape: LoadShape, folder: Path, document: Document) -> None:
    locustfile = folder / shape.locustfile
    if not locustfile.is_file():
        remedy = "Name a locustfile, from the folder of this file."
        document.refuse(("load", "locustfile"), f"There is no file {locustfile.name}.", remedy, "no-file")
    for index, argument in enumerate(shape.args):
        flag = argument.partition("=")[0]
        if flag in _RESERVED:
            remedy = "Remove it: the game day sets it, from the keys of this file."
            document.refuse(("load", "args", index), f"{flag} is not allowed in args.", remedy, "args")


def _check_times(day: GameDay, document: Document) -> None:
    """Refuse faults that have the same name, overlap, or last longer than the load."""
    names_before: set[str] = set()
    run_time = None if day.load is None else day.load.run_time
    for step, following in zip_longest(day.steps, day.steps[1:]):
        name = step.fault.name
        if name in names_before:
            remedy = "Give this one another name: marks tell faults apart by their names."
            document.refuse((*step.place, "fault", "name"), f"There are two faults {name}.", remedy, "fault-twice")
        names_before.add(name)
        if run_time is not None and step.at >= run_time:
            found = f"{span(step.at)} is not before the end of the load at {span(run_time)}."
            document.refuse((*step.place, "at"), found, "Write an earlier time, or a longer run_time.", "at-late")
            continue
        limit_s, event = run_time, "the load ends"
        if following is not None and (limit_s is None or following.at < limit_s):
            limit_s, event = following.at, f"{following.fault.name} begins"
        if limit_s is None:
            continue
        if step.end_s > limit_s:
            found = f"{name} lasts until {span(step.end_s)}, and {event} at {span(limit_s)}."
            remedy = "End it earlier: of two faults at once it is unclear which one raised an alert."
            slug = "overlap" if following is not None else "fault-late"
            document.refuse((*step.place, "fault", "for"), found, remedy, slug)
        else:
            _check_deadlines(step, limit_s, event, document)


def _check_deadlines(step: StepShape, limit_s: Decimal, event: str, document: Document) -> None:
    """Refuse deadlines after the next fault or the end of the load, which is the event."""
    for expectation in step.expect:
        deadlines = (
            ("within", step.at, expectation.within),
            ("clears_within", step.end_s, expectation.clears_within),
        )
        for key, begin_s, length_s in deadlines:
            if length_s is not None and begin_s + length_s > limit_s:
                end = f"{span(length_s)} from {span(begin_s)} is {span(begin_s + length_s)}"
                found = f"{end}, and {event} at {span(limit_s)}: this cannot be judged."
                remedy = f"Write {span(limit_s - begin_s)} or less, or move the later step."
                document.refuse((*expectation.place, key), found, remedy, "expect-late")


def _check_alerts(day: GameDay, document: Document) -> Iterator[str]:
    """Refuse alerts that this package does not have, and yield notes on those of the user's own rules."""
    severities: dict[str, set[str]] = {}  # by alert, those that the rules of the SLO file can have
    for rule in alerting_rules(day.slo):
        severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    for expectation in day.expectations:
        alert, severity = expectation.name, expectation.severity
        place = (*expectation.place, "alert" if expectation.alert else "no_alert")
        near = difflib.get_close_matches(alert, KNOWN, 1, 0.8)
        if not names.is_counted({"alertname": alert, "severity": severity or ""}):
            found = f"{expectation.title} does not count as an alert: alerts of severity none only inhibit others."
            document.refuse(place, found, "Remove it, or name another alert.", "not-counted")
        elif alert not in KNOWN and not alert.startswith("Locust") and not near:
            yield f"{alert} is an alert of your own: Prometheus is asked for its rule before the load starts."
        elif alert not in KNOWN:
            meant = "".join(f"Did you mean {name}? " for name in near)
            remedy = f"{meant}There are {', '.join(KNOWN)}; give your own alerts other names."
            document.refuse(place, f"locust-otel has no alert {alert}.", remedy, "unknown-alert")
        elif severities and alert not in severities:
            remedy = f"Add windows or objectives to it; it makes {', '.join(severities)}."
            document.refuse(place, f"The SLO file makes no rule for {alert}.", remedy, "no-rule")
        elif severities and severity and severity not in severities[alert]:
            remedy = f"Write {' or '.join(sorted(severities[alert]))}, or add windows of it to the SLO file."
            found = f"{alert} has no severity {severity} here."
            document.refuse((*expectation.place, "severity"), found, remedy, "severity")
        elif day.slo is not None:
            _check_keep(day.slo, expectation, document)


def _check_keep(slo: Slo, expectation: ExpectShape, document: Document) -> None:
    """Refuse an alert that must be gone while its rule keeps it firing."""
    kept, limit_s = kept_s(slo, expectation), expectation.clears_within
    least_s = kept + slo.scrape_interval_s
    if kept and limit_s is not None and limit_s < least_s:
        found = f"{expectation.name} keeps firing for {span(kept)} after the last bad window"
        found += f": it cannot be gone within {span(limit_s)}."
        remedy = f"Write {span(least_s)} or more: its keep_firing_for and one evaluation."
        document.refuse((*expectation.place, "clears_within"), found, remedy, "keep-firing")
