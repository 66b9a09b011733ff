"""What the parts of the plugin rely on in a Locust process, be it local, a worker or a master."""

from __future__ import annotations

from typing import Any, Protocol

from locust_otel.plugin.link import Link, NoLink
from locust_otel.plugin.local import CurrentRun


class Node(Protocol):
    """A Locust process: local, worker or master."""

    run: CurrentRun | None
    link: Link | NoLink
    environment: Any

    @property
    def is_worker(self) -> bool:
        """Whether it generates load for a master."""
        ...

    @property
    def name(self) -> str:
        """Name among the generating processes."""
        ...

    def start(self) -> None:
        """Start to measure the process."""
        ...

    def stop(self) -> None:
        """Stop measuring."""
        ...

    def start_run(self) -> CurrentRun:
        """Begin a new run."""
        ...

    def info(self) -> dict[str, str]:
        """Return the labels of `locust_run_info` besides the run's id."""
        ...

    def tick(self) -> None:
        """Report what is new, in pieces."""
        ...

    def flush(self) -> None:
        """Report all that is known."""
        ...

    def status(self) -> dict[str, Any]:
        """Return what Locust's runner says now."""
        ...

    def on_reset(self) -> None:
        """Note that Locust's table forgets its requests."""
        ...

    def mark(self, run: CurrentRun, text: str, kind: str) -> bool:
        """Mark something in a run that goes on; return whether that could be said."""
        ...

    def wait_for_last_requests(self) -> None:
        """Return when no request of a run that has stopped is still to come."""
        ...
