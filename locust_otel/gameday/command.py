"""`locust-otel gameday`: inject faults on a time line under load, and judge the alerts."""

from __future__ import annotations

import argparse
from typing import Any

GAMEDAY_FORMATS = ("text", "json", "markdown")
"""Those of `gameday.scoreboard`, which this module does not load: it would slow down every other command."""


def add_to(commands: Any) -> None:
    """Add the command."""
    gameday = commands.add_parser(
        "gameday",
        help="inject faults on a time line under load, and judge whether the alerts fired and cleared in time",
        description="Play a game-day file: start its load, inject and undo its faults, and judge the alerts. Exit "
        "codes: 0 all expectations kept, 3 some broken, 4 undecided, 78 bad configuration, 1 a fault could not be "
        "undone.",
    )
    add = gameday.add_argument
    add("file", metavar="FILE", help="the game-day file, see docs/game-days.md")
    add(
        "--prometheus", metavar="URL",
        help="the Prometheus that scrapes the run; LOCUST_OTEL_PROMETHEUS_AUTHORIZATION holds the value of a header",
    )  # fmt: skip
    add("--alertmanager", metavar="URL", help="the Alertmanager, for arrival times (LOCUST_OTEL_ALERTMANAGER_…)")
    add("--webhook-port", metavar="[HOST:]PORT", help="receive Alertmanager's notifications here, and note the times")
    add("--run-id", metavar="ID", help="attach to this run, which is in progress, and start no load")
    add(
        "--record",
        metavar="RECORD",
        help="with --score-only: the run's record; add --prometheus to judge alerts",
    )
    add("--metrics", metavar="URL", help="where the run serves /metrics, for marks (default: taken from the run)")
    add("-o", "--output", metavar="DIR", help="write scorecard, logs and run record into this folder")
    add("--stop-after", metavar="TIME", help="end the game day after this time, even if a server hangs: 5m")
    mode = gameday.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="print the plan with clock times, and do nothing")
    mode.add_argument("--score-only", action="store_true", help="judge a finished game day, with --run-id")
    mode.add_argument("--undo", action="store_true", help="undo the faults that a killed game day has left")
    add("--format", choices=GAMEDAY_FORMATS, default="text", help="of the scorecard (default %(default)s)")
    gameday.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Play or judge a game day."""
    from locust_otel.gameday import playing  # noqa: PLC0415  # it loads pydantic, YAML, psutil and rich

    return playing.run(options)
