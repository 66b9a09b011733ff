"""`locust-otel gameday`: faults on a time line under load, and whether the alerts kept what was promised of them."""

from __future__ import annotations

import argparse
from typing import Any

GAMEDAY_FORMATS = ("text", "json", "markdown")
"""Those of `gameday.scoreboard`, which this module does not load before one is asked for."""


def add_to(commands: Any) -> None:
    """Add the command."""
    gameday = commands.add_parser(
        "gameday",
        help="break things on a time line under load, and judge whether the alerts came and went in time",
        description="Play a game-day file: start its load, make and undo its faults, and judge the alerts. Ends with 0 "
        "all expectations kept, 3 some broken, 4 not decidable, 78 bad configuration, and 1 where something stays "
        "broken.",
    )
    add = gameday.add_argument
    add("file", metavar="FILE", help="the game-day file, see docs/game-days.md")
    add(
        "--prometheus", metavar="URL",
        help="the Prometheus that scrapes the run; LOCUST_OTEL_PROMETHEUS_AUTHORIZATION holds the value of a header",
    )  # fmt: skip
    add("--alertmanager", metavar="URL", help="the Alertmanager: when was whom told (LOCUST_OTEL_ALERTMANAGER_…)")
    add("--webhook-port", metavar="[HOST:]PORT", help="take Alertmanager's notifications here, and note the time")
    add("--run-id", metavar="ID", help="attach to this run, which goes on already, and start no load")
    add(
        "--record",
        metavar="RECORD",
        help="with --score-only: the run's record; alerts from --prometheus, if it is named",
    )
    add("--metrics", metavar="URL", help="where the run serves /metrics, for marks (default: as it says itself)")
    add("-o", "--output", metavar="DIR", help="write scorecard, logs and run record into this folder")
    add("--stop-after", metavar="TIME", help="end the game day after so long, whatever is planned or hangs: 5m")
    what = gameday.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="print the plan with clock times, and do nothing")
    what.add_argument("--score-only", action="store_true", help="judge a game day that is over, with --run-id")
    what.add_argument("--undo", action="store_true", help="mend what a game day has left broken that was killed")
    add("--format", choices=GAMEDAY_FORMATS, default="text", help="of the scorecard (default %(default)s)")
    gameday.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Play or judge a game day."""
    from locust_otel.gameday import playing  # noqa: PLC0415  # it loads pydantic, YAML, psutil and rich

    return playing.run(options)
