"""Marks what happens in a run, in whichever of its processes that is said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import time
from typing import Any

from locust_otel.core.events import MARK, Event, RateLimit
from locust_otel.core.marks import Marked, cleaned, folded
from locust_otel.plugin.master import MasterNode
from locust_otel.plugin.nodes import LocalNode

logger = logging.getLogger(__name__)

MARK_MESSAGE = "locust_otel.mark"
"""Message of a worker: run, mark and kind. Not a part of its reports, which come only every three seconds."""


class Marker:
    """Marks what happens in the runs of one process; a worker has its master do so.

    Args:
        node: What the process knows of a run.
    """

    def __init__(self, node: LocalNode | MasterNode) -> None:
        self._node = node
        # Marks are counted and recorded one and all; only so many of them are worth a line.
        self._rate = RateLimit(burst=50, per_second=1.0)
        if isinstance(node, MasterNode):
            register: Callable[..., None] = node.environment.runner.register_message
            register(MARK_MESSAGE, self._on_message)

    def mark(self, text: object, kind: object) -> Marked | None:
        """Mark something in the run that goes on, and return when; None where none does.

        Raises:
            MarkError: The text or the kind is none.
        """
        mark, word = cleaned(text, kind)
        run = self._node.run
        if run is None or run.stopped:
            return None
        if not self._node.is_worker:
            return self._note(mark, word)
        try:
            self._node.environment.runner.send_message(MARK_MESSAGE, [run.run_id, mark, word])
        except Exception as error:  # the load goes on without the mark
            logger.warning("Not marked, since the master cannot be told: %r", error)
            return None
        return Marked(run.run_id, time())

    def _note(self, mark: str, kind: str) -> Marked:
        run = self._node.run
        assert run is not None  # noqa: S101  # for the type checker
        run.mark(*folded(run.marks, mark, kind))
        marked = Marked(run.run_id, time())
        if self._rate.allows():
            logger.info("Marked (%s): %s", kind, mark)
            attributes = {"run_id": run.run_id, "mark": mark, "kind": kind}
            self._node.events.add(Event(MARK, f"Marked ({kind}): {mark}", attributes=attributes, timestamp=marked.time))
        return marked

    def _on_message(self, msg: Any, **_: object) -> None:
        """Mark what a worker says; what makes no sense is left out, and said."""
        try:
            run_id, text, kind = msg.data
            mark, word = cleaned(text, kind)
            run = self._node.run
            # A run that has just stopped takes the marks that were on their way.
            if run is not None and run.run_id == run_id and not run.is_final:
                self._note(mark, word)
        except (ValueError, TypeError) as error:  # an exception out of here would end Locust's listening to its workers
            logger.warning("A worker's mark was refused: %s", error)
