"""The watch over objectives: burn rates and tables during a run, --slo-abort, verdict and exit code."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import astuple
from typing import Any

from locust_otel.core.errors import ExitCode
from locust_otel.core.events import SLO_ABORT, SLO_BURNING, SLO_VERDICT, Event
from locust_otel.core.marks import ABORT_KIND, ABORT_TEXT
from locust_otel.core.snapshot import Snapshot
from locust_otel.exporter.output import Output
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Session
from locust_otel.slo import text
from locust_otel.slo.burn import Burning
from locust_otel.slo.objectives import spoken
from locust_otel.slo.progress import Progress, Standing
from locust_otel.slo.validity import Load
from locust_otel.slo.verdict import EXIT_CODES, Status
from locust_otel.wire import frames

logger = logging.getLogger(__name__)

LINE_INTERVAL_S = 10.0
"""Seconds between two tables in the log of a headless run."""

_SEVERITY = {Status.MET: "INFO", Status.MISSED: "ERROR", Status.UNDECIDED: "WARN", Status.INVALID: "WARN"}


class Watch(Output):
    """Judges the runs of a process that has an SLO file and is not a worker."""

    adds_events = True

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stopping = ""  # the run that it has asked Locust to stop

    def begin(self, run: Run) -> None:
        """Log a run time that differs much from the period."""
        run_time_s = run.settings.get("run_time_s")
        slo = run.progress.slo if run.progress is not None else None
        if slo is not None and run_time_s and not 0.5 <= run_time_s / float(slo.period_s) <= 2:
            logger.info(
                "Budgets are those of the period of %s in %s; this run lasts %g s, and spends a share of them.",
                spoken(slo.period_s),
                slo.source,
                run_time_s,
            )

    def collect(self, snapshot: Snapshot) -> None:
        """Compute the burn rates; log and report high ones, and stop the run where --slo-abort is set."""
        view = snapshot.run
        with self._session.lock:  # held to the end: a successor must not repeat or skip any step
            run = self._session.run
            if run is None or view is None or run.run_id != view.run_id or run.progress is None or not run.is_active:
                return
            progress, elapsed_s = run.progress, view.elapsed_s
            pairs = progress.observe(view.requests, elapsed_s, invalid=snapshot.invalid_reasons, load=Load.of(snapshot))
            self._note_burning(run, pairs)
            critical = progress.critical()
            if critical is not None and self._session.settings.slo_abort and progress.aborted is None:
                self._abort(run, progress, critical)
            elif elapsed_s - run.table_s >= LINE_INTERVAL_S and run.is_headless and not run.only_summary:
                run.table_s = elapsed_s
                standing = progress.judge(view.requests, elapsed_s)
                if not standing.is_warming_up:
                    logger.info("objectives so far:\n%s", text.written(text.table(standing.results)))
            if progress.aborted is not None and self._stopping != run.run_id:
                self._stopping = run.run_id
                self._session.tell(frames.ABORT, run.run_id)

    def answer(self, question: str, argument: object) -> Any:  # noqa: ARG002
        """Return the exit code for `verdict`, and the fields of each `ObjectivePoint` for `objectives`."""
        if question not in {"verdict", "objectives"}:
            return None
        run = self._session.run
        standing = run.progress.judge(run.merged.snapshot(), run.elapsed_s) if run and run.progress else None
        if question == "verdict":  # without a run nothing passes
            return int(ExitCode.UNDECIDED if standing is None else EXIT_CODES[standing.verdict])
        return None if standing is None else [astuple(point) for point in standing.points()]

    def finish(self, run: Run) -> None:
        """Log and report the verdict, once."""
        with self._session.lock:
            if run.progress is None or run.has_verdict:
                return
            run.has_verdict = True
            self._conclude(run, run.progress.judge(run.merged.snapshot(), run.elapsed_s))

    def _conclude(self, run: Run, standing: Standing) -> None:
        slo, results = standing.slo, standing.results
        table, doubt = text.written(text.table(results, has_worst=True)), standing.doubt
        parts = [f"objectives of {slo.service}: {standing.verdict}", table, doubt.late, doubt.missing]
        self._session.say(run, "\n".join(filter(None, parts)))
        if standing.is_warming_up:
            logger.warning("The run was over before its warm-up of %s: nothing was judged.", spoken(slo.warmup_s))
        for result in results:
            if not result.counts.total and result.objective.match:
                groups = run.settings.get("group_names")
                logger.warning(
                    "objectives.%s.match: %s; is it written as %s?",
                    result.objective.name,
                    result.note,
                    "the name of its group, /items/[id]" if groups else "in Locust's table",
                )
            self._report(
                run,
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

    def _note_burning(self, run: Run, pairs: Iterable[Burning]) -> None:
        """Log and report the pairs of objective and window that have begun to burn."""
        now = {(pair.objective.name, pair.window): pair for pair in pairs}
        for key, pair in now.items():
            if key not in run.burning:
                logger.warning("%s", text.burning(pair))
                self._report(run, SLO_BURNING, text.burning(pair), "WARN", _attributes(pair))
        run.burning = set(now)

    def _abort(self, run: Run, progress: Progress, pair: Burning) -> None:
        progress.aborted = pair
        self._session.note_mark(run, ABORT_TEXT + pair.objective.name, ABORT_KIND)
        logger.error("Stopping the run, as --slo-abort asks for: %s", text.burning(pair))
        self._report(run, SLO_ABORT, f"The run is stopped: {text.burning(pair)}", "ERROR", _attributes(pair))

    def _report(self, run: Run, name: str, body: str, severity: str, attributes: dict[str, Any]) -> None:
        self._session.add_event(Event(name, body, severity, {"run_id": run.run_id, **attributes}))


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
