"""`locust-otel run`: Locust with the bridge."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from locust_otel.core.errors import ExitCode


def add_to(commands: Any) -> None:
    """Add the command; Locust parses the arguments after it, `--help` too."""
    text = "run Locust with the bridge; takes every argument of locust, and --open to open the live page"
    commands.add_parser("run", help=text, add_help=False)


def run(arguments: Sequence[str]) -> int:
    """Run Locust, which ends the process with its own exit code; `--open` opens the live page in a browser."""
    import locust.main  # noqa: PLC0415  # first: it patches sockets and locks

    from locust_otel.plugin import wiring  # noqa: PLC0415  # which imports Locust

    def on_init(environment: Any, **_: object) -> None:
        bridge = wiring.attach(environment)
        if bridge.url is not None and not isinstance(environment.runner, locust.runners.WorkerRunner):
            open_page(bridge.url)

    wiring.register()
    if "--open" in arguments:
        locust.events.init.add_listener(on_init)
    sys.argv[1:] = [argument for argument in arguments if argument != "--open"]
    locust.main.main()
    return ExitCode.OK


def open_page(metrics_url: str) -> None:
    """Open the live page, which is beside `/metrics`, in a browser; without a desktop, print its URL."""
    url = metrics_url.removesuffix("metrics")
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        # In its own process: a browser that does not return would block the simulated users.
        subprocess.Popen(  # noqa: S603  # our own arguments
            [sys.executable, "-m", "webbrowser", url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return
    sys.stderr.write(f"locust-otel: no desktop to open a browser on; the live page is at {url}\n")
