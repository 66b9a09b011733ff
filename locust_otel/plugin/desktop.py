"""Opens the live page in a browser, where there is a desktop to open it on."""

from __future__ import annotations

import os
import subprocess
import sys


def open_page(metrics_url: str) -> None:
    """Open the live page in a browser; where there is no desktop, print where it is.

    Args:
        metrics_url: Where `/metrics` is; the page is beside it.
    """
    url = metrics_url.removesuffix("metrics")
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        # In a process of its own: a browser that does not return would hold the simulated users up.
        subprocess.Popen(  # noqa: S603  # our own arguments
            [sys.executable, "-m", "webbrowser", url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return
    sys.stderr.write(f"locust-otel: no desktop to open a browser on; the live page is at {url}\n")
