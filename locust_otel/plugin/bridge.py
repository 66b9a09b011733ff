"""What `attach` returns: the bridge between one Locust environment and the exporter beside it."""

from __future__ import annotations

from typing import Any

from locust_otel.core.marks import DEFAULT_KIND, cleaned
from locust_otel.core.snapshot import ObjectivePoint
from locust_otel.plugin.life import Life
from locust_otel.plugin.node import Node


class Bridge:
    """The bridge of one Locust environment.

    Args:
        node: The process.
        life: What happens to it.
    """

    def __init__(self, node: Node, life: Life) -> None:
        self._node = node
        self._life = life

    @property
    def url(self) -> str | None:
        """Where `/metrics` is; None where it is not served."""
        url: str | None = self._node.link.ready.get("url")
        return url

    @property
    def run_id(self) -> str | None:
        """Identity of the current or last run; None before the first."""
        return self._node.run.run_id if self._node.run is not None else None

    @property
    def is_running(self) -> bool:
        """Whether a run goes on."""
        return self._node.run is not None and not self._node.run.is_stopped

    def mark(self, text: str, kind: str = DEFAULT_KIND) -> bool:
        """Mark something in the run that goes on: a fault, a deployment; a worker has its master do so.

        Args:
            text: What happened, in a few words; one line, cut at 200 characters.
            kind: A word for what sort of thing it is: `fault`, `deployment`, `note`.

        Returns:
            Whether a run goes on; without one nothing is marked.

        Raises:
            MarkError: The text is empty, or the kind is no word of at most 30 small letters, digits, `_` and `-`.
        """
        mark, word = cleaned(text, kind)
        run = self._node.run
        return run is not None and not run.is_stopped and self._node.mark(run, mark, word)

    def standing(self) -> tuple[ObjectivePoint, ...] | None:
        """Return how each objective of the SLO file stands, also after `close`.

        Returns:
            The counts and the status by objective; None without an SLO file, and before the first run.

        Raises:
            TimeoutError: The exporter does not answer.
        """
        return self._life.standing()

    def ask(self, question: str, argument: object = None, timeout_s: float = 2.0) -> Any:
        """Return what the exporter answers, once it has taken in all that was said before.

        Args:
            question: `page`, `html` or `verdict`.
            argument: What belongs to it.
            timeout_s: Seconds to wait.

        Raises:
            TimeoutError: It does not answer in time, or there is none.
        """
        return self._life.ask(question, argument, timeout_s)

    def remember(self, question: str) -> None:
        """Keep the answer of the end, for `ask` after it."""
        self._life.remember(question)

    def close(self) -> None:
        """Give the final values to who scrapes, log the account, and stop; a second call waits for the first.

        For an embedded use, at its end; a Locust process does it by itself.
        """
        self._life.close()
