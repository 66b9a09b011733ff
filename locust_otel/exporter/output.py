"""The contract of an output, which delivers the numbers of a run."""

from __future__ import annotations

from typing import Any

from locust_otel.core.events import Event
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.run import Run
from locust_otel.exporter.settings import Settings


class Output:
    """Base of all outputs; each overrides the methods that it needs.

    Each method but `note` is called by one thread at a time. `finish` runs in a thread of its own and may take long;
    the others return soon.
    """

    tells = False
    """Set if its `finish` adds events, which other outputs deliver: it is called before theirs."""

    def start(self, settings: Settings) -> None:
        """Start, before any run.

        Raises:
            ConfigurationError: It cannot start; the load test is refused.
        """

    def begin(self, run: Run) -> None:
        """Begin with a new run."""

    def collect(self, snapshot: Snapshot) -> None:
        """Take what is known now; once a second while there is a run that is not final."""

    def note(self, event: Event) -> None:
        """Take an event; called from any thread."""

    def answer(self, question: str, argument: object) -> Any:  # noqa: ARG002
        """Return the answer to a question of Locust's process; None if this output has none."""
        return None

    def finish(self, run: Run) -> None:
        """Deliver the final values of a run, to which nothing will be added.

        Return when they have arrived, after a time limit, or soon after `Session.hurry` is set.
        """

    def stop(self, deadline_s: float) -> None:
        """End, at the latest at this time of the monotonic clock."""

    @property
    def account(self) -> str:
        """Number of requests that arrived, for the line at the end of a run: `last scrape 12,345`; or empty."""
        return ""
