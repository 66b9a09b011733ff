"""The commands of `locust-otel`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from importlib.metadata import version
from pathlib import Path
from typing import Any

from locust_otel.errors import ConfigurationError, ExitCode, LocustOtelError
from locust_otel.mixin.names import DASHBOARDS, RUNBOOKS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:  # everything after it is Locust's, --help too
        return _run(given[1:])
    options = _parser().parse_args(given or ["--help"])
    try:
        code: int = options.command(options)
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"locust-otel: {problem}", file=sys.stderr)  # noqa: T201
        return ExitCode.BAD_CONFIGURATION
    except LocustOtelError as error:
        print(f"locust-otel: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return code


def _run(arguments: list[str]) -> int:
    """Run Locust with the bridge on; Locust ends the process with its own exit code."""
    import locust.main  # noqa: PLC0415  # no other command may load it: it patches sockets and locks

    import locust_otel  # noqa: PLC0415

    locust_otel.register()
    sys.argv[1:] = arguments
    locust.main.main()
    return ExitCode.OK


def _demo(options: argparse.Namespace) -> int:
    from locust_otel.demo import session  # noqa: PLC0415  # as above

    return session.run(options)


def _rules(options: argparse.Namespace) -> int:
    """Write rule files, or an SLO file in the format of others."""
    from locust_otel.mixin import exchange  # noqa: PLC0415  # no other command needs it
    from locust_otel.mixin.alerts import Links  # noqa: PLC0415  # likewise
    from locust_otel.mixin.rules import prometheus_rule, rule_files, rule_text  # noqa: PLC0415  # likewise
    from locust_otel.slo.file import load  # noqa: PLC0415  # likewise

    slo = load(options.slo)
    links = Links(options.runbook_url, options.dashboard_url)
    if options.format == "prometheusrule":
        files = {"prometheusrule.yaml": prometheus_rule(slo, links)}
    elif options.format != "prometheus":
        text, lost = exchange.FORMATS[options.format](slo)
        files = {f"{options.format}.yaml": text}
        for line in lost:
            print(f"lost: {line}", file=sys.stderr)  # noqa: T201
    elif options.output is None:
        files = {"": rule_text(slo, links)}
    else:
        files = rule_files(slo, links)
    for name, text in files.items():
        print(text if options.output is None else _written(Path(options.output), name, text))  # noqa: T201
    return ExitCode.OK


def _written(folder: Path, name: str, text: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            "--output", f"{str(folder)!r} cannot be written to: {error.strerror}.", "Name a folder.", slug="output"
        ) from None
    return path


def _doctor(options: argparse.Namespace) -> int:
    """Say in words what an SLO file means, or what is installed."""
    from locust_otel import doctor  # noqa: PLC0415  # no other command needs it
    from locust_otel.slo.file import load  # noqa: PLC0415  # likewise

    lines = doctor.machine() if options.slo is None else doctor.explained(load(options.slo), options.expect_rps)
    print("\n".join(lines))  # noqa: T201
    return ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="locust-otel", description="Live, exact SLO telemetry from Locust load tests."
    )
    parser.add_argument("--version", action="version", version=f"locust-otel {version('locust-otel')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="run Locust with the bridge on; takes every argument of locust", add_help=False)
    demo = commands.add_parser(
        "demo",
        help="run a load test against a demo shop and watch it",
        description="Start a demo shop on 127.0.0.1 and run a load test against it, with the bridge on.",
    )
    add = demo.add_argument
    add("--users", type=_count, default=20, metavar="N", help="simulated shoppers (default %(default)s)")
    add("--spawn-rate", type=_count, default=10, metavar="N", help="shoppers started a second (default %(default)s)")
    add("--run-time", default="60s", metavar="TIME", help="30s, 2m (default %(default)s)")
    add("--processes", type=_count, metavar="N", help="generate the load from N worker processes")
    add("--web-ui", action="store_true", help="with Locust's web UI on port 8089; goes on until Ctrl-C")
    add(
        "--fault", action="append", default=[], metavar="NAME[:k=v,...]",
        help="break the shop, repeatable: latency, errors, pool-cliff, stall, slow-endpoint, saturation, leak, refuse",
    )  # fmt: skip
    add("--seed", type=int, default=1, help="service times and faults of the shop follow from it (default %(default)s)")
    add("--shop-port", type=int, default=0, metavar="PORT", help="0 takes a free one (default %(default)s)")
    add(
        "--slo",
        metavar="FILE",
        help="objectives that decide the exit code (default: those of the demo shop, which do not)",
    )
    add("--prometheus-port", metavar="PORT", help="port of /metrics, or off (default 9646 or the next free one)")
    add(
        "--stack", action="store_true", help="with a real Prometheus and Alertmanager beside it, and their alerts shown"
    )
    demo.set_defaults(command=_demo)
    _add_rules(commands)
    _add_doctor(commands)
    return parser


def _add_rules(commands: Any) -> None:
    rules = commands.add_parser(
        "rules",
        help="make Prometheus' recording and alerting rules from an SLO file",
        description="Make recording and alerting rules from an SLO file, the same text each time.",
    )
    add = rules.add_argument
    add("slo", metavar="SLO", help="the SLO file")
    add("-o", "--output", metavar="DIR", help="write the files into this folder; else they are printed")
    add(
        "--format", choices=("prometheus", "prometheusrule", "openslo", "sloth"), default="prometheus",
        help="rules for Prometheus or its Operator, or the objectives as OpenSLO v1 or for Sloth; the rest is told",
    )  # fmt: skip
    add("--runbook-url", default=RUNBOOKS, metavar="URL", help="page with a heading for each alert (%(default)s)")
    add("--dashboard-url", default=DASHBOARDS, metavar="URL", help="Grafana's address of dashboards (%(default)s)")
    rules.set_defaults(command=_rules)


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="say in words what an SLO file means, or what is installed",
        description="Say in words what an SLO file means; without one, what is installed.",
    )
    doctor.add_argument("--slo", metavar="FILE", help="the SLO file")
    doctor.add_argument("--expect-rps", type=_rate, metavar="N", help="requests a second, for numbers in the words")
    doctor.set_defaults(command=_doctor)


def _rate(text: str) -> Decimal:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or not 0 < rate <= 1_000_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of requests a second")
    return rate


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 up")
    return number


if __name__ == "__main__":
    sys.exit(main())
