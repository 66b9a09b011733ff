"""The contract of an output, which delivers the numbers of a run."""

from __future__ import annotations

from typing import Any

from locust_otel.core.events import Event
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.run import Run
from locust_otel.exporter.settings import Settings


class Output:
    """Base of all outputs; each overrides the methods that it needs.

    One thread at a time calls each method, but for `note`. `finish` has a thread of its own and may take long; the
    others return soon.
    """

    adds_events = False
    """Set if `finish` adds events; it then runs before that of the outputs that deliver them."""

    def start(self, settings: Settings) -> None:
        """Start, before any run.

        Raises:
            ConfigurationError: It cannot start; the load test is refused.
        """

    def begin(self, run: Run) -> None:
        """Begin with a new run."""

    def collect(self, snapshot: Snapshot) -> None:
        """Take the current numbers; called once a second until the run is final."""

    def note(self, event: Event) -> None:
        """Take an event; called from any thread."""

    def answer(self, question: str, argument: object) -> Any:  # noqa: ARG002
        """Return the answer to a question of Locust's process; None if this output has none."""
        return None

    def finish(self, run: Run) -> None:
        """Deliver the final values of a run.

        Return when they have arrived, after a time limit, or soon after `Session.hurry` is set.
        """

    def stop(self, deadline_s: float) -> None:
        """End, at the latest at this time of the monotonic clock."""

    @property
    def account(self) -> str:
        """Number of requests that arrived, for the line at the end of a run: `last scrape 12,345`; or empty."""
        return ""
