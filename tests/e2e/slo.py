"""SLO files for runs of seconds, and what a log says of their objectives."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.e2e.harness import Outcome

_FILE = """\
service: shop
period: {period}
scrape_interval: 500ms
warmup: {warmup}
min_requests: {min_requests}
objectives:
  availability: {{sli: success, target: 99%{match}}}
  latency: {{sli: latency, target: 90%, within: 5s}}
  mean: {{sli: mean, within: 3s}}
windows:
  - {{severity: critical, long: 4s, short: 2s, budget: 20%}}
"""
OBJECTIVES = ("availability", "latency", "mean")
HEALTHY = ", match: {name: [/api/v1/data, /api/mobile/feed]}"
"""Of the requests in `calm.py` those that do not meet the fault of the shop."""

LOGIN_FAULT = "errors:ratio=1,status=500,route=/api/login"

_PLAYS = 4


def write_slo(
    folder: Path, *, match: str = "", min_requests: int = 10, period: str = "60s", warmup: str = "0s"
) -> Path:
    """Write an SLO file with an objective of each kind into a folder; its critical burn rate is 3 at 60 s."""
    file = folder / "slo.yaml"
    file.write_text(_FILE.format(match=match, min_requests=min_requests, period=period, warmup=warmup))
    return file


class Row(NamedTuple):
    """A line of a table in the log; `good` is None for an objective on the mean."""

    actual: str
    good: int | None
    total: int
    budget_spent: str
    status: str


_ROW = re.compile(
    r"^(?P<name>[\w.-]+)  +\S.*?  +(?P<actual>–|[\d.]+ (?:%|ms|s))  +(?:(?P<good>[\d,]+)  +)?(?P<total>[\d,]+)"
    r"  +(?P<spent>–|\d+%)  +(?P<status>met|missed|undecided|invalid)\b",
    re.MULTILINE,
)
FINAL = "objectives of "
SO_FAR = "objectives so far:"


def tables(log: str, heading: str = FINAL) -> list[dict[str, Row]]:
    """Return the tables under a heading, each by objective."""

    def number(text: str) -> int:
        return int(text.replace(",", ""))

    found = []
    for part in log.split(heading)[1:]:
        lines = part.splitlines()[1:]
        end = next((i for i, line in enumerate(lines) if line.startswith("[")), len(lines))
        found.append(
            {
                m["name"]: Row(
                    m["actual"], number(m["good"]) if m["good"] else None, number(m["total"]), m["spent"], m["status"]
                )
                for m in _ROW.finditer("\n".join(lines[:end]))
            }
        )
    return found


def unless_saturated(play: Callable[[], Outcome]) -> Outcome:
    """Play a scenario, again where the machine was too busy for Locust: that makes a run invalid, and rightly so."""
    for _ in range(_PLAYS):
        outcome = play()
        if "generator saturated" not in outcome.log:
            break
    return outcome


def tracebacks_but_of_users(log: str) -> list[str]:
    """Return the tracebacks of a log, without those of user code.

    Python throws KeyboardInterrupt into whatever runs at the moment, and if that is a simulated user, gevent shows it.
    """
    found = re.findall(r"^Traceback.*?^(?=\[|Type  |\Z)", log, re.MULTILINE | re.DOTALL)
    return [text for text in found if "in run_user" not in text or "KeyboardInterrupt" not in text]
