"""The commands of `locust-otel`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from locust_otel.check import flags
from locust_otel.errors import ConfigurationError, ExitCode, LocustOtelError


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


def _check(options: argparse.Namespace) -> int:
    from locust_otel.check import command  # noqa: PLC0415  # it loads pydantic, YAML and rich

    return command.run(options)


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
    add("--prometheus-port", metavar="PORT", help="port of /metrics, or off (default 9646 or the next free one)")
    demo.set_defaults(command=_demo)
    check = commands.add_parser(
        "check",
        help="judge a run that is over by an SLO file, for CI",
        description="Judge the files Locust has written, or a run in Prometheus, by an SLO file. "
        "Ends with 0 met, 3 missed, 4 no data or not decidable, 5 not valid, 78 bad configuration.",
    )
    flags.add_arguments(check)
    check.set_defaults(command=_check)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 up")
    return number


if __name__ == "__main__":
    sys.exit(main())
