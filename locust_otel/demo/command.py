"""`locust-otel demo`: a load test against a demo shop, shown while it runs."""

from __future__ import annotations

import argparse
from typing import Any

from locust_otel.core.options import number


def add_to(commands: Any) -> None:
    """Add the command."""
    demo = commands.add_parser(
        "demo",
        help="run a load test against a demo shop and watch it",
        description="Start a demo shop on 127.0.0.1, and run a load test with locust-otel against it.",
    )
    add = demo.add_argument
    add("-u", "--users", type=number, default=20, metavar="N", help="simulated shoppers (default %(default)s)")
    add(
        "-r", "--spawn-rate", type=number, default=10, metavar="N",
        help="shoppers started a second (default %(default)s)",
    )  # fmt: skip
    add("-t", "--run-time", default="60s", metavar="TIME", help="30s, 2m (default %(default)s)")
    add("--processes", type=number, metavar="N", help="generate the load from N worker processes")
    add("--web-ui", action="store_true", help="with Locust's web UI on port 8089; runs until Ctrl-C")
    add(
        "--fault", action="append", default=[], metavar="NAME[:k=v,...]",
        help="fault, repeatable: latency, errors, pool-cliff, stall, slow-endpoint, saturation, leak, refuse",
    )  # fmt: skip
    add("--seed", type=int, default=1, help="seed of the shop's service times and faults (default %(default)s)")
    add(
        "--shop-port",
        type=int,
        default=0,
        metavar="PORT",
        help="0 takes a free one (default %(default)s)",
    )
    add("--slo", metavar="FILE", help="objectives that decide the exit code (default: the demo's, which do not)")
    add("--prometheus-port", metavar="PORT", help="port of /metrics, or off (default 9646 or the next free one)")
    add("--run-record", metavar="DIR", help="write a record of the run into this folder")
    add("--stack", action="store_true", help="run a real Prometheus and Alertmanager too, and show their alerts")
    add("--open", action="store_true", help="open the live page in a browser, if there is a desktop")
    demo.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    from locust_otel.demo import play  # noqa: PLC0415  # no other command may load Locust: it patches sockets

    return play.run(options)
