"""The flags, as Locust's own parser gets them, with their help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DEFAULT_PORT = 9646
LAST_PORT = 9655
"""Last port that is tried if the default one is taken."""
DEFAULT_MAX_NAMES = 200
DEFAULT_SLOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Option:
    """One of our options, as Locust's parser gets it: a switch has no value, a list may be given several times.

    Without a default the code decides what is used if nothing is given.
    """

    flag: str
    metavar: str
    help: str
    default: str | None = None
    is_list: bool = False
    is_switch: bool = False

    @property
    def dest(self) -> str:
        """Attribute of Locust's namespace."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def env_var(self) -> str:
        """Environment variable."""
        return f"LOCUST_OTEL_{self.dest.upper()}"


# A table: flag and value in the first line of each option, then its help and default.
# fmt: off
OPTIONS = (
    Option("--prometheus-port", "<port|off>",
        f"Serve /metrics on this port, in every mode; off disables. Defaults to {DEFAULT_PORT}, or where that is taken "
        f"the next free port up to {LAST_PORT}."),
    Option("--prometheus-host", "<address>",
        "Address to serve /metrics on. Defaults to 127.0.0.1.", "127.0.0.1"),
    Option("--prometheus-web-config", "<file>",
        "TLS and basic auth for /metrics: a file in the format of Prometheus' exporter toolkit."),
    Option("--prometheus-linger", "<auto|time>",
        "At exit keep /metrics up until every recent scraper has the final values: at most this long. auto: 1.2 times "
        "the interval they were seen to scrape at, and no more than 8 s after SIGTERM. 0 disables. Defaults to auto.",
        "auto"),
    Option("--otlp-endpoint", "<url>",
        "Push metrics and events over OTLP to this endpoint, http://localhost:4318. What our flags leave open the "
        "standard OTEL_* variables decide; where neither names an endpoint nothing is pushed."),
    Option("--otlp-protocol", "<protocol>",
        "http/protobuf, or grpc after `pip install 'locust-otel[grpc]'`. Defaults to http/protobuf."),
    Option("--otlp-interval", "<time>",
        "Time between two pushes. Defaults to 5s."),
    Option("--propagate-traces", "<ratio>",
        "Send a W3C traceparent header with each request of HttpUser and FastHttpUser, sampled at this ratio (0 to 1), "
        "so that a latency leads to the service's own trace."),
    Option("--run-id", "<id>",
        "Identity of the run, the label run_id of all its series. Defaults to the start in UTC and four hex digits. "
        "Further runs of the same process get -2, -3 ..."),
    Option("--run-label", "<name=value>",
        "A label for locust_run_info, for instance git_sha=3f9a2c1. May be given several times.", is_list=True),
    Option("--slo", "<file>",
        "The SLO file: its objectives are judged while the run goes on, and decide the exit code: 0 met, 3 missed, 4 "
        "not decidable, 5 not valid."),
    Option("--slo-abort", "",
        "Stop the run when a critical pair of windows of an objective burns.", is_switch=True),
    Option("--slow-request", "<time>",
        f"A request that takes longer is slow. Defaults to the SLO file's, or {DEFAULT_SLOW_S:g}s."),
    Option("--max-request-names", "<int>",
        "Methods and names that get series of their own; further names are counted as _OTHER. Defaults to "
        f"{DEFAULT_MAX_NAMES}.", str(DEFAULT_MAX_NAMES)),
    Option("--group-names", "",
        "Count requests whose names differ in numbers, UUIDs or long hex numbers alone under one name: /items/393 as "
        "/items/[id]. Locust's own table keeps its names.", is_switch=True),
    Option("--export-from", "<master|workers>",
        "In a distributed run, serve the merged numbers on the master, or those of each worker on the worker (port + 1 "
        "+ its index), and only what concerns the whole run on the master. Defaults to master.", "master"),
    Option("--no-gc-freeze", "",
        "Do not exclude what was loaded before the first run from garbage collections. Excluding it shortens the "
        "pauses of simulated users.", is_switch=True),
    Option("--run-record", "<folder>",
        "Write a record of each run into this folder while it goes on, RUN_ID.jsonl.gz: everything that was measured, "
        "second by second, to be judged, reported and back-filled later."),
)
# fmt: on


def add_arguments(parser: Any) -> None:
    """Add our options to Locust's parser, as a group of their own."""
    # Locust shows an option in the form of its web UI where the parser, not a group, was asked to add it.
    group = parser.add_argument_group("locust-otel options", "Live telemetry of the run for Prometheus.")
    for option in OPTIONS:
        more: dict[str, Any] = {"metavar": option.metavar, "default": option.default}
        if option.is_switch:
            more = {"action": "store_true"}
        elif option.is_list:
            more["action"] = "append"
        group.add_argument(option.flag, help=option.help.replace("%", "%%"), env_var=option.env_var, **more)


def number(text: str, most: int = 1_000_000_000) -> int:
    """Return the value of a flag of our own commands that is a whole number from 1 up; a type for argparse."""
    value = int(text)
    if not 1 <= value <= most:
        from argparse import ArgumentTypeError  # noqa: PLC0415  # the exporter, which reads options too, parses none

        raise ArgumentTypeError(f"{text} is not a number from 1 to {most}")
    return value


def port(text: str) -> int:
    """Return the value of a flag that is a port, likewise."""
    return number(text, 65_535)
