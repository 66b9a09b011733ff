"""Flags of `locust-otel run` for Locust's parser, with their help texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9646
LAST_PORT = 9655  # last port to try if the default port is in use
DEFAULT_MAX_NAMES = 200
DEFAULT_SLOW_S = 5.0
DEFAULT_OTLP_INTERVAL_S = 5.0
DEFAULT_OTLP_PROTOCOL = "http/protobuf"


@dataclass(frozen=True, slots=True)
class Option:
    """One option; a switch has no value, and a list may be given several times."""

    flag: str
    metavar: str
    help: str
    is_list: bool = False
    is_switch: bool = False

    @property
    def dest(self) -> str:
        """Name of the attribute in Locust's namespace."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def env_var(self) -> str:
        """Name of the environment variable."""
        return f"LOCUST_OTEL_{self.dest.upper()}"


# A table: flag and value in the first line of each option, then its help.
# fmt: off
OPTIONS = (
    Option("--prometheus-port", "<port|off>",
        f"Port of /metrics, in every mode; off disables it. Defaults to {DEFAULT_PORT}, or if that is in use to the "
        f"next free port up to {LAST_PORT}."),
    Option("--prometheus-host", "<address>",
        f"Address of /metrics. Defaults to {DEFAULT_HOST}."),
    Option("--prometheus-web-config", "<file>",
        "File with TLS and basic auth for /metrics, in the format of Prometheus' exporter toolkit."),
    Option("--prometheus-linger", "<auto|time>",
        "Maximum time for which /metrics stays up at exit until every recent scraper has the final values. auto: 1.2 "
        "times the observed scrape interval, and at most 8 s after SIGTERM. 0 disables it. Defaults to auto."),
    Option("--otlp-endpoint", "<url>",
        "Push metrics and events over OTLP to this endpoint, for example http://localhost:4318. Without a flag the "
        "standard OTEL_* variables apply; without an endpoint nothing is pushed."),
    Option("--otlp-protocol", "<protocol>",
        "http/protobuf, or grpc after `pip install 'locust-otel[grpc]'`. Defaults to "
        f"{DEFAULT_OTLP_PROTOCOL}."),
    Option("--otlp-interval", "<time>",
        f"Time between two pushes. Defaults to {DEFAULT_OTLP_INTERVAL_S:g}s."),
    Option("--propagate-traces", "<ratio>",
        "Send a W3C traceparent header with each request of HttpUser and FastHttpUser, sampled at this ratio (0 to 1). "
        "It links a latency to the trace of the service."),
    Option("--run-id", "<id>",
        "Id of the run, the label run_id of all its series. Defaults to the start in UTC and four hex digits. Further "
        "runs of the same process get -2, -3 ..."),
    Option("--run-label", "<name=value>",
        "Label for locust_run_info, for example git_sha=3f9a2c1. May be given several times.", is_list=True),
    Option("--slo", "<file>",
        "SLO file. Its objectives are judged during the run and decide the exit code: 0 met, 3 missed, 4 undecided, 5 "
        "invalid."),
    Option("--slo-abort", "",
        "Stop the run when an objective burns its budget in both windows of a critical pair.", is_switch=True),
    Option("--slow-request", "<time>",
        f"Time above which a request is slow. Defaults to slow_request of the SLO file, or {DEFAULT_SLOW_S:g}s."),
    Option("--max-request-names", "<int>",
        "Maximum number of methods and names with their own series; further names are counted as _OTHER. Defaults to "
        f"{DEFAULT_MAX_NAMES}."),
    Option("--group-names", "",
        "Count requests whose names differ only in numbers, UUIDs or long hex numbers under one name: /items/393 as "
        "/items/[id]. Locust's own table keeps the original names.", is_switch=True),
    Option("--export-from", "<master|workers>",
        "In a distributed run, master serves the merged metrics on the master. workers serves the metrics of each "
        "worker on the worker (port + 1 + its index), and those of the whole run on the master. Defaults to master."),
    Option("--no-gc-freeze", "",
        "Include objects from before the first run in garbage collections. By default they are excluded, which "
        "shortens the pauses of simulated users.", is_switch=True),
    Option("--run-record", "<folder>",
        "Folder for a record of each run, RUN_ID.jsonl.gz: all measurements, second by second, for later verdicts, "
        "reports and back-fills."),
)
# fmt: on


def add_arguments(parser: Any) -> None:
    """Add the options to Locust's parser, in a group."""
    # Locust shows options of the parser in the form of its web UI, but not options of a group.
    group = parser.add_argument_group("locust-otel options", "Live telemetry of the run for Prometheus.")
    for option in OPTIONS:
        action = "store_true" if option.is_switch else "append" if option.is_list else "store"
        value = {} if option.is_switch else {"metavar": option.metavar}
        group.add_argument(option.flag, help=option.help, env_var=option.env_var, action=action, **value)


def number(text: str, most: int = 1_000_000_000) -> int:
    """Return the value of a flag that is a whole number of at least 1; a type for argparse."""
    value = int(text)
    if not 1 <= value <= most:
        from argparse import ArgumentTypeError  # noqa: PLC0415  # the exporter needs no argparse

        raise ArgumentTypeError(f"{text} is not a number from 1 to {most}")
    return value


def port(text: str) -> int:
    """Return the value of a flag that is a port; a type for argparse."""
    return number(text, 65_535)
