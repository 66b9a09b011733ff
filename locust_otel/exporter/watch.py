"""Judges the objectives of a run while it goes on, ends it where that was asked for, and decides the exit code."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import gevent

from locust_otel.core.errors import ExitCode
from locust_otel.core.events import SLO_ABORT, SLO_BURNING, SLO_VERDICT, Event
from locust_otel.core.marks import ABORT_KIND, ABORT_TEXT
from locust_otel.core.settings import Settings
from locust_otel.core.snapshot import invalid_reasons
from locust_otel.plugin.master import MasterNode
from locust_otel.plugin.nodes import LocalNode
from locust_otel.plugin.run import Run
from locust_otel.slo import text
from locust_otel.slo.burn import Burning
from locust_otel.slo.objectives import spoken
from locust_otel.slo.progress import Progress, Standing
from locust_otel.slo.verdict import Status, exit_code

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Seconds between two looks at the objectives."""

LINE_INTERVAL_S = 10.0
"""Seconds between two tables in the log of a headless run."""

_SEVERITY = {Status.MET: "INFO", Status.MISSED: "ERROR", Status.UNDECIDED: "WARN", Status.INVALID: "WARN"}


class Watch:
    """Judges the runs of a process that knows all of their requests.

    Args:
        node: What the process knows of a run.
        settings: What the user asked for; it has an SLO file.
    """

    def __init__(self, node: LocalNode | MasterNode, settings: Settings) -> None:
        self._node = node
        self._settings = settings
        self._greenlet: gevent.Greenlet | None = None
        self._burning: set[tuple[str, object]] = set()
        self._told_s = 0.0
        self._has_failed = False

    def start(self) -> None:
        """Start to watch."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Stop watching."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def begin(self, run_time_s: float | None) -> None:
        """Begin with a new run, which is to last so long."""
        self._burning.clear()
        self._told_s = 0.0
        slo = self._settings.slo
        if slo is not None and run_time_s and not 0.5 <= run_time_s / float(slo.period_s) <= 2:
            logger.info(
                "The run time of %g s is far from the period of %s in %s: the budget spent is a share of the period's.",
                run_time_s,
                spoken(slo.period_s),
                slo.source,
            )

    def decide(self, run: Run | None) -> ExitCode:
        """Return the exit code that the verdict of the last run asks for; no run is never a pass."""
        standing = run.standing() if run is not None else None
        if standing is None:
            return ExitCode.UNDECIDED
        return exit_code(standing.results(), is_aborted=standing.aborted is not None)

    def conclude(self, run: Run) -> None:
        """Log and tell the verdict of a run that is over."""
        standing = run.standing()
        if standing is None:
            return
        slo, results = standing.slo, tuple(standing.results())
        logger.info("objectives of %s:\n%s", slo.service, text.written(text.table(results, has_worst=True)))
        if standing.is_warming_up:
            logger.warning("The run was over before its warm-up of %s: nothing was judged.", spoken(slo.warmup_s))
        for result in results:
            if not result.counts.total and result.objective.match:
                logger.warning(
                    "objectives.%s.match: %s; is it written as in Locust's table?", result.objective.name, result.note
                )
            self._tell(
                SLO_VERDICT,
                f"{result.objective.name} is {result.status}: {text.actual(result)}",
                _SEVERITY[result.status],
                {
                    "slo": result.objective.name,
                    "status": result.status.value,
                    "good": result.counts.good,
                    "bad": result.counts.bad,
                    **({"budget_spent": result.budget_spent} if result.budget_spent is not None else {}),
                },
            )

    def _run(self) -> None:
        while True:
            gevent.sleep(INTERVAL_S)
            run = self._node.run
            if run is None or run.slo is None or run.stopped:
                continue
            try:
                self._look(run, run.slo)
            except Exception:  # a fault of ours must not leave a run unjudged from here on
                if not self._has_failed:
                    logger.exception("The objectives could not be looked at")
                self._has_failed = True

    def _look(self, run: Run, progress: Progress) -> None:
        invalid = invalid_reasons(self._node.workers(), self._node.worker_states())
        pairs = progress.observe(
            run.aggregate.snapshot(), run.elapsed_s, invalid=invalid, pause=lambda: gevent.sleep(1e-6)
        )
        if run.stopped:  # while others had their turn
            return
        self._tell_burning(pairs)
        critical = next((pair for pair in pairs if pair.window.severity == "critical"), None)
        if critical is not None and self._settings.slo_abort and progress.aborted is None:
            self._abort(run, progress, critical)
        elif run.elapsed_s - self._told_s >= LINE_INTERVAL_S and self._is_headless:
            self._told_s = run.elapsed_s
            self._log(run.standing())

    @property
    def _is_headless(self) -> bool:
        options = self._node.environment.parsed_options
        return bool(getattr(options, "headless", False)) and not getattr(options, "only_summary", False)

    def _log(self, standing: Standing | None) -> None:
        if standing is not None and not standing.is_warming_up:
            logger.info("objectives so far:\n%s", text.written(text.table(standing.results())))

    def _tell_burning(self, pairs: Iterable[Burning]) -> None:
        """Log the pairs that have begun to burn."""
        now = {(pair.objective.name, pair.window): pair for pair in pairs}
        for key, pair in now.items():
            if key not in self._burning:
                logger.warning("%s", text.burning(pair))
                self._tell(SLO_BURNING, text.burning(pair), "WARN", _attributes(pair))
        self._burning = set(now)

    def _abort(self, run: Run, progress: Progress, pair: Burning) -> None:
        progress.aborted = pair
        run.mark(ABORT_TEXT + pair.objective.name, ABORT_KIND)
        logger.error("Stopping the run, as --slo-abort asks for: %s", text.burning(pair))
        self._tell(SLO_ABORT, f"The run is stopped: {text.burning(pair)}", "ERROR", _attributes(pair))
        environment = self._node.environment
        if environment.runner is not None:
            # A process with a web UI goes on, for another run. In a greenlet of its own, which nothing of the run ends.
            gevent.spawn(environment.runner.quit if environment.web_ui is None else environment.runner.stop)

    def _tell(self, name: str, body: str, severity: str, attributes: dict[str, Any]) -> None:
        run_id = self._node.run.run_id if self._node.run is not None else ""
        self._node.events.add(Event(name, body, severity, {"run_id": run_id, **attributes}))


def _attributes(pair: Burning) -> dict[str, str | int | float]:
    return {
        "slo": pair.objective.name,
        "severity": pair.window.severity,
        "long_window_s": float(pair.window.long_s),
        "short_window_s": float(pair.window.short_s),
        "long_burn_rate": pair.long_rate,
        "short_burn_rate": pair.short_rate,
        "factor": pair.factor,
    }
