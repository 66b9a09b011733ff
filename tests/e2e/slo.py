"""SLO files for runs of seconds, and the tables of objectives in a log."""

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
"""Matches the requests of `calm.py` that do not fail with `LOGIN_FAULT`."""

LOGIN_FAULT = "errors:ratio=1,status=500,route=/api/login"
SLOW_SHOP = "latency:added_s=0.4"
"""Makes answers slow. The generator is late when its delay is above 5 % of the mean duration of requests: with slow
answers a busy machine does not make it late, and the verdict does not depend on the machine."""

_ATTEMPTS = 4


def write_slo(
    folder: Path, *, match: str = "", min_requests: int = 10, period: str = "60s", warmup: str = "0s"
) -> Path:
    """Write an SLO file with an objective of each kind into a folder; its critical burn rate is 3 at 60 s."""
    file = folder / "slo.yaml"
    file.write_text(_FILE.format(match=match, min_requests=min_requests, period=period, warmup=warmup))
    return file


class Row(NamedTuple):
    """One line of a table in the log; `good` is None for an objective on the mean."""

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
CODES = {"missed": 3, "invalid": 5, "undecided": 4, "met": 0}
"""Exit codes by status; the first status that an objective has decides."""

FINAL = "objectives of "
SO_FAR = "objectives so far:"


def tables(log: str, heading: str = FINAL) -> list[dict[str, Row]]:
    """Return the tables under a heading, each by objective."""

    def number(text: str) -> int:
        return int(text.replace(",", ""))

    result = []
    for part in log.split(heading)[1:]:
        lines = part.splitlines()[1:]
        end = next((i for i, line in enumerate(lines) if line.startswith("[")), len(lines))
        rows = _ROW.finditer("\n".join(lines[:end]))
        result.append(
            {
                m["name"]: Row(
                    m["actual"], number(m["good"]) if m["good"] else None, number(m["total"]), m["spent"], m["status"]
                )
                for m in rows
            }
        )
    return result


def exit_code(log: str) -> int:
    """Return the exit code that follows from the one table of objectives in a log."""
    (table,) = tables(log)
    statuses = {row.status for row in table.values()}
    return next((code for status, code in CODES.items() if status in statuses), 4)


def unless_late(play: Callable[[], Outcome]) -> Outcome:
    """Play a scenario; repeat it when the machine was too busy for Locust, which makes the verdict invalid."""
    for _ in range(_ATTEMPTS):
        outcome = play()
        if not any(row.status == "invalid" for table in tables(outcome.log) for row in table.values()):
            break
    return outcome


def tracebacks_but_of_users(log: str) -> list[str]:
    """Return the tracebacks of a log, without those of user code.

    Python raises KeyboardInterrupt in the code that runs at that moment. When it is a simulated user, gevent prints it.
    """
    tracebacks = re.findall(r"^Traceback.*?^(?=\[|Type  |\Z)", log, re.MULTILINE | re.DOTALL)
    return [text for text in tracebacks if "in run_user" not in text or "KeyboardInterrupt" not in text]
