"""`locust-otel run`: Locust with the bridge on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from locust_otel.core.errors import ExitCode


def add_to(commands: Any) -> None:
    """Add the command; what follows it is Locust's, `--help` too."""
    what = "run Locust with the bridge on; takes every argument of locust, and --open for the live page"
    commands.add_parser("run", help=what, add_help=False)


def run(arguments: Sequence[str]) -> int:
    """Run Locust, which ends the process with its own exit code.

    Args:
        arguments: Locust's, and `--open` to have the live page opened in a browser.
    """
    import locust.main  # noqa: PLC0415  # first: it patches sockets and locks

    from locust_otel.plugin import wiring  # noqa: PLC0415  # which imports Locust

    wiring.register()
    if "--open" in arguments:
        locust.events.init.add_listener(wiring.on_init_open)
    sys.argv[1:] = [argument for argument in arguments if argument != "--open"]
    locust.main.main()
    return ExitCode.OK
