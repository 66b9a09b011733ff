"""The commands of `locust-otel`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command, *rest = arguments or ["--help"]
    if command == "run":
        _run(rest)
    return 0


def _run(arguments: list[str]) -> None:
    """Run Locust with the bridge on; it ends the process with Locust's exit code."""
    import locust.main  # noqa: PLC0415

    import locust_otel  # noqa: PLC0415

    locust_otel.register()
    sys.argv[1:] = arguments
    locust.main.main()
