"""`locust-otel doctor`: what an SLO file means, or what is installed."""

from __future__ import annotations

import argparse
from decimal import Decimal, InvalidOperation
from typing import Any

from locust_otel.core.errors import ExitCode


def add_to(commands: Any) -> None:
    """Add the command."""
    doctor = commands.add_parser(
        "doctor",
        help="say in words what an SLO file means, or what is installed",
        description="Say in words what an SLO file means; without one, what is installed.",
    )
    doctor.add_argument("--slo", metavar="FILE", help="the SLO file")
    doctor.add_argument("--expect-rps", type=_rate, metavar="N", help="requests a second, for numbers in the words")
    doctor.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Say in words what an SLO file means, or what is installed."""
    from locust_otel.core.versions import installed  # noqa: PLC0415  # no other command needs it
    from locust_otel.slo.doctor import explained  # noqa: PLC0415  # likewise
    from locust_otel.slo.file import load  # noqa: PLC0415  # likewise

    lines = installed() if options.slo is None else explained(load(options.slo), options.expect_rps)
    print("\n".join(lines))  # noqa: T201
    return ExitCode.OK


def _rate(text: str) -> Decimal:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or not 0 < rate <= 1_000_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of requests a second")
    return rate
