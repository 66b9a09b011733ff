"""The contract of an output: where the numbers of a run go."""

from __future__ import annotations

from typing import Any

from locust_otel.core.events import Event
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.run import Run
from locust_otel.exporter.settings import Settings


class Output:
    """One way out; what a kind of output does not need it leaves as it is here.

    Each method but `note` is called by one thread at a time. `finish` may take its time, since each output has a thread
    of its own for it; the others return soon.
    """

    tells = False
    """Whether its `finish` adds events, which other outputs are to deliver: it is called before theirs."""

    def start(self, settings: Settings) -> None:
        """Start, before any run.

        Raises:
            ConfigurationError: It cannot be had; the load test does not start then.
        """

    def begin(self, run: Run) -> None:
        """Begin with a new run."""

    def collect(self, snapshot: Snapshot) -> None:
        """Take what is known now; once a second while there is a run that is not final."""

    def note(self, event: Event) -> None:
        """Take an event; called from any thread."""

    def answer(self, question: str, argument: object) -> Any:  # noqa: ARG002
        """Return what Locust's process asks for; None where somebody else has the answer."""
        return None

    def finish(self, run: Run) -> None:
        """Deliver the final values of a run, to which nothing will be added.

        Returns when they have arrived, when that is given up, or soon after `Session.hurry` is set.
        """

    def stop(self, deadline_s: float) -> None:
        """End, at the latest at this time of the monotonic clock."""

    @property
    def account(self) -> str:
        """How many requests have arrived, for the line at the end of a run: `last scrape 12,345`; empty for nothing."""
        return ""
