"""Public interface of the bridge between one Locust environment and its exporter."""

from __future__ import annotations

import contextlib
from typing import Any

from locust_otel.core.errors import ExitCode
from locust_otel.core.marks import DEFAULT_KIND, cleaned
from locust_otel.core.snapshot import ObjectivePoint
from locust_otel.plugin.life import VERDICT_S, Life
from locust_otel.plugin.node import Node

_VERDICTS = {
    ExitCode.OK: "met",
    ExitCode.MISSED: "missed",
    ExitCode.UNDECIDED: "undecided",
    ExitCode.NOT_VALID: "invalid",
}


class Bridge:
    """Bridge of one Locust environment; `attach` returns it."""

    def __init__(self, node: Node, life: Life) -> None:
        self._node = node
        self._life = life
        self._last: dict[str, Any] = {}  # final answers of the exporter, by question
        self._is_closed = False

    @property
    def url(self) -> str | None:
        """URL of `/metrics`; None if it is not served."""
        url: str | None = self._node.link.ready.get("url")
        return url

    @property
    def run_id(self) -> str | None:
        """Identity of the current or last run; None before the first."""
        return self._node.run.run_id if self._node.run is not None else None

    @property
    def is_running(self) -> bool:
        """True while a run is active."""
        return self._life.running is not None

    def mark(self, text: str, kind: str = DEFAULT_KIND) -> bool:
        """Mark an event in the active run: a fault, a deployment. A worker sends the mark to its master.

        Args:
            text: Description in a few words; one line, cut at 200 characters.
            kind: One word for the kind of event: `fault`, `deployment`, `note`.

        Returns:
            Whether a run is active; without one nothing is marked.

        Raises:
            MarkError: The text is empty, or the kind is not a word of 1 to 30 small letters, digits, `_` and `-`.
        """
        mark, word = cleaned(text, kind)
        run = self._life.running
        return run is not None and self._node.mark(run, mark, word)

    def standing(self) -> tuple[ObjectivePoint, ...] | None:
        """Return counts and status of each objective of the SLO file, also after `close`.

        Returns:
            One point for each objective; None without an SLO file, and before the first run.

        Raises:
            TimeoutError: The exporter does not answer.
        """
        points = self._ask_judge("objectives")
        return None if points is None else tuple(ObjectivePoint(*fields) for fields in points)

    def verdict(self) -> str | None:
        """Return the verdict on the run so far; after `close` the final one.

        Returns:
            `met`, `missed`, `undecided` (also before the first run) or `invalid`; None without an SLO file.

        Raises:
            TimeoutError: The exporter does not answer.
        """
        code = self._ask_judge("verdict")
        return None if code is None else _VERDICTS[ExitCode(code)]

    def _ask_judge(self, question: str) -> Any:
        """Return the answer to a question about the objectives, for all requests so far; None without an SLO file."""
        if not self._node.link.ready.get("has_slo"):
            return None
        if not self._is_closed:
            self._node.flush()
        return self.ask(question, timeout_s=VERDICT_S)

    def ask(self, question: str, argument: object = None, timeout_s: float = 2.0) -> Any:
        """Return the exporter's answer, after it has processed all earlier messages; after `close` its final answer.

        Args:
            question: `page`, `html`, `json`, `objectives` or `verdict`; after `close` only those of `remember`.
            argument: Argument of the question.
            timeout_s: Seconds to wait.

        Raises:
            TimeoutError: The exporter does not answer in time, or there is no exporter.
        """
        if not self._is_closed:
            return self._node.link.ask(question, argument, timeout_s)
        if question not in self._last:
            raise TimeoutError("the exporter has ended")
        return self._last[question]

    def remember(self, question: str) -> None:
        """Keep the final answer to a question, for `ask` after `close`."""
        self._last[question] = None

    def close(self, **_: object) -> None:
        """Deliver the final values, log the account of the run, and stop; a second call waits for the first.

        Call it at the end of an embedded use. A Locust process calls it as a listener of `quit`.
        """
        self._life.close(self._ask_last)

    def _ask_last(self) -> None:
        if self._node.link.ready.get("has_slo"):
            self.remember("objectives")
            self.remember("verdict")
        with contextlib.suppress(TimeoutError):
            for question in self._last:
                self._last[question] = self.ask(question)
        self._is_closed = True
