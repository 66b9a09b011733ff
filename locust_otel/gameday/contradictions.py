"""What one key of a game-day file says against another, or against the SLO file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from decimal import Decimal

from locust_otel.core.documents import Document, Place
from locust_otel.core.errors import ConfigurationError
from locust_otel.gameday.plan import Expectation, GameDay, Step
from locust_otel.slo.objectives import Slo, span
from locust_otel.slo.rules import names
from locust_otel.slo.rules.alerting_rules import Links, run_alerts, slo_alerts

KNOWN = tuple(
    value
    for key, value in vars(names).items()
    if key.isupper() and isinstance(value, str) and value.startswith("Locust")
)
"""The alerts of this package."""

_OURS = {
    "-f": "locustfile", "--locustfile": "locustfile", "-u": "users", "--users": "users", "-t": "run_time",
    "--run-time": "run_time", "-r": "spawn_rate", "--spawn-rate": "spawn_rate", "-H": "host", "--host": "host",
    "--slo": "slo", "--headless": "", "--run-id": "", "--run-record": "",
}  # fmt: skip
"""Arguments that the game day gives to Locust itself, and the key that says what."""

Places = Mapping[int, tuple[int, tuple[int, ...]]]
"""By position in `GameDay.steps`: position in the file, and those of its expectations."""


def contradictions(
    day: GameDay, document: Document, places: Places, *, slo_is_known: bool
) -> tuple[list[ConfigurationError], list[str]]:
    """Return what is wrong, and notes on what may be."""
    problems = [*_load(day, document), *_steps(day, document, places)]
    severities = severities_of(day.slo) if slo_is_known and day.slo is not None else {}
    notes: list[str] = []
    for position, step in enumerate(day.steps):
        index, expected = places[position]
        for number, each in zip(expected, step.expect, strict=True):
            place: Place = ("steps", index, "expect", number)
            problems += _alert(each, document, place, severities, notes)
    return problems, notes


def severities_of(slo: Slo) -> dict[str, set[str]]:
    """Return the severities that each alert of an SLO file's rules can have."""
    found: dict[str, set[str]] = {}
    for rule in (*slo_alerts(slo, Links()), *run_alerts(slo, Links())):
        found.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    return found


def _load(day: GameDay, document: Document) -> Iterator[ConfigurationError]:
    if day.load is None:
        return
    if not day.load.locustfile.is_file():
        yield ConfigurationError(
            document.where(("load", "locustfile")), f"There is no file {day.load.locustfile.name}.",
            "Name a locustfile, from the folder of this file.", slug="gameday-no-file",
        )  # fmt: skip
    for index, argument in enumerate(day.load.args):
        flag = argument.partition("=")[0]
        if flag in _OURS:
            remedy = f"Write {_OURS[flag]} of its own." if _OURS[flag] else "Remove it; the game day gives it."
            yield ConfigurationError(
                document.where(("load", "args", index)), f"{flag} is not for args.", remedy, slug="gameday-args"
            )


def _steps(day: GameDay, document: Document, places: Places) -> Iterator[ConfigurationError]:
    named: dict[str, Step] = {}
    for position, step in enumerate(day.steps):
        place: Place = ("steps", places[position][0])
        where = document.where((*place, "at"))
        following = day.steps[position + 1] if position + 1 < len(day.steps) else None
        if step.fault.name in named:
            yield ConfigurationError(
                document.where((*place, "fault", "name")), f"There are two faults {step.fault.name}.",
                "Give this one a name of its own: marks tell them apart by it.", slug="gameday-fault-twice",
            )  # fmt: skip
        named[step.fault.name] = step
        if day.load is not None and step.at_s >= day.load.run_time_s:
            yield ConfigurationError(
                where, f"{span(step.at_s)} is not before the end of the load at {span(day.load.run_time_s)}.",
                "Write an earlier time, or a longer run_time.", slug="gameday-at-late",
            )  # fmt: skip
            continue
        limit, what = None if day.load is None else day.load.run_time_s, "the load ends"
        if following is not None and (limit is None or following.at_s < limit):
            limit, what = following.at_s, f"{following.fault.name} begins"
        if limit is not None and step.end_s > limit:
            slug = "gameday-overlap" if following is not None else "gameday-fault-late"
            yield ConfigurationError(
                document.where((*place, "fault", "for")),
                f"{step.fault.name} lasts until {span(step.end_s)}, and {what} at {span(limit)}.",
                "Let it end before: of two faults at once nobody knows which raised an alert.", slug=slug,
            )  # fmt: skip
        elif limit is not None:
            yield from _deadlines(step, limit, what, document, place, places[position][1])


def _deadlines(  # noqa: PLR0913, PLR0917  # a step, where it stands, and what follows it
    step: Step, limit: Decimal, what: str, document: Document, place: Place, expected: tuple[int, ...]
) -> Iterator[ConfigurationError]:
    for number, each in zip(expected, step.expect, strict=True):
        for key, begun, length in (
            ("within", step.at_s, each.within_s), ("clears_within", step.end_s, each.clears_within_s),
        ):  # fmt: skip
            if length is not None and begun + length > limit:
                yield ConfigurationError(
                    document.where((*place, "expect", number, key)),
                    f"{span(length)} from {span(begun)} is {span(begun + length)}, and {what} at {span(limit)}: "
                    "nobody could tell.",
                    f"Write {span(limit - begun)} or less, or move what comes after.",
                    slug="gameday-expect-late",
                )


def _alert(
    each: Expectation, document: Document, place: Place, severities: Mapping[str, set[str]], notes: list[str]
) -> Iterator[ConfigurationError]:
    key = (*place, "alert" if each.fires else "no_alert")
    if each.alert not in KNOWN:
        near = difflib.get_close_matches(each.alert, KNOWN, 1, 0.8)
        if each.alert.startswith("Locust") or near:
            meant = f"Did you mean {near[0]}? " if near else ""
            yield ConfigurationError(
                document.where(key), f"No rule of ours makes an alert {each.alert}.",
                f"{meant}There are {', '.join(KNOWN)}; an alert of your own has another name.",
                slug="gameday-unknown-alert",
            )  # fmt: skip
        else:
            notes.append(f"{each.alert} is an alert of your own: whether its rule is there nobody checks.")
        return
    if severities and each.alert not in severities:
        yield ConfigurationError(
            document.where(key), f"The SLO file makes no rule for {each.alert}.",
            f"Add windows or objectives to it; it makes {', '.join(severities)}.", slug="gameday-no-rule",
        )  # fmt: skip
    elif severities and each.severity and each.severity not in severities[each.alert]:
        yield ConfigurationError(
            document.where((*place, "severity")), f"{each.alert} has no severity {each.severity} here.",
            f"Write {' or '.join(sorted(severities[each.alert]))}, or add windows of it to the SLO file.",
            slug="gameday-severity",
        )  # fmt: skip
