"""The bridge of one Locust environment: what happens at the start of the process, around each run, and at the exit."""

from __future__ import annotations

import errno
import logging
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from time import monotonic, time
from typing import TYPE_CHECKING

import gevent

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.events import RUN_START, RUN_STOP, SPAWNING_COMPLETE, Event
from locust_otel.core.marks import Marked
from locust_otel.core.options import DEFAULT_PORT, LAST_PORT
from locust_otel.core.settings import Settings
from locust_otel.core.snapshot import HealthSnapshot, Snapshot
from locust_otel.exporter.endpoint.marking import DEFAULT_KIND, TOKEN_VARIABLE, MarkEndpoint
from locust_otel.exporter.endpoint.scrapers import Scrapers
from locust_otel.exporter.endpoint.server import MetricsServer, Scrape
from locust_otel.exporter.exports import Ledger
from locust_otel.exporter.recording import Recording
from locust_otel.exporter.watch import Watch
from locust_otel.plugin.marker import Marker
from locust_otel.plugin.master import MasterNode
from locust_otel.plugin.nodes import LocalNode
from locust_otel.plugin.run import Run
from locust_otel.plugin.shutdown import Shutdown
from locust_otel.slo.progress import Standing

if TYPE_CHECKING:
    from locust_otel.exporter.otlp.pusher import Pusher

logger = logging.getLogger(__name__)

_PROMETHEUS = "prometheus"


class Bridge:
    """What `attach` returns: the bridge between one Locust environment and its exporters.

    Args:
        node: What this process knows of a run.
        settings: What the user asked for.
    """

    def __init__(self, node: LocalNode | MasterNode, settings: Settings) -> None:
        self._node = node
        self._settings = settings
        self._scrapers = Scrapers()
        self._start_time = time()
        self._ledger = Ledger()
        self._pusher: Pusher | None = None
        self._server: MetricsServer | None = None
        self._shutdown = Shutdown()
        self._marker = Marker(node)
        self._watch = Watch(node, settings) if settings.slo is not None else None
        has_record = settings.run_record is not None and not node.is_worker
        self._recording = Recording(node, settings, self.snapshot, self._ledger) if has_record else None
        self._versions = {"version": version("locust-otel"), "python_version": platform.python_version()}

    def start(self) -> None:
        """Serve `/metrics` and start to measure.

        Raises:
            ConfigurationError: The endpoint cannot be had.
        """
        if self._settings.port is not None and self._node.scopes:
            self._server = MetricsServer(
                self.snapshot, self._scraped, self._node.scopes, self._settings.web_config, self._came
            )
            self._server.marking = MarkEndpoint(
                self.marked, lambda: self.run_id if self.is_running else None, os.environ.get(TOKEN_VARIABLE, "")
            )
            _listen(self._server, self._settings, self._node.port_offset)
            logger.info("Metrics for Prometheus at %s", self._server.url)
            self._ledger.declare(_PROMETHEUS)
        if self._node.otlp is not None and self._node.scopes:
            from locust_otel.exporter.otlp.pusher import Pusher  # noqa: PLC0415  # 20 MiB where nothing is pushed

            self._pusher = Pusher(
                self._node.otlp,
                self.snapshot,
                self._node.scopes,
                events=self._node.events,
                ledger=self._ledger,
                version=self._versions["version"],
            )
            self._pusher.start()
        self._node.start()
        if self._watch is not None:
            self._watch.start()
        if self._recording is not None:
            self._recording.start()
        # Timers count from the loop's last turn, which was before all imports: --run-time would be shorter by those.
        gevent.get_hub().loop.update_now()

    @property
    def url(self) -> str | None:
        """Where `/metrics` is; None where it is not served."""
        return self._server.url if self._server is not None else None

    @property
    def run_id(self) -> str | None:
        """Identity of the current or last run; None before the first."""
        return self._node.run.run_id if self._node.run is not None else None

    @property
    def run(self) -> Run | None:
        """The current or last run; None before the first."""
        return self._node.run

    @property
    def is_running(self) -> bool:
        """Whether a run goes on."""
        return self._node.run is not None and not self._node.run.stopped

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
        return self.marked(text, kind) is not None

    def marked(self, text: object, kind: object) -> Marked | None:
        """Do as `mark` does, and return the run and the time; None where no run goes on."""
        return self._marker.mark(text, kind)

    def standing(self) -> Standing | None:
        """Return how the objectives stand; None without an SLO file, and before the first run."""
        return self._node.run.standing() if self._node.run is not None else None

    def snapshot(self) -> Snapshot:
        """Return everything this process knows now, in one piece."""
        node, run = self._node, self._node.run
        if run is not None:
            node.update_locust_total(run)
        return Snapshot(
            time=time(),
            process_start_time=self._start_time,
            run=run.snapshot(node.environment.runner) if run is not None else None,
            worker_states=node.worker_states(),
            workers_expected=node.workers_expected,
            workers=node.workers(),
            health=HealthSnapshot(
                exports=self._ledger.counts(),
                last_exports=self._ledger.last_success.copy(),
                rejected_points=self._ledger.rejected.copy(),
                folded_requests=run.aggregate.folded() if run is not None else 0,
                listener_errors=node.errors,
                unreconciled=run.unreconciled if run is not None else None,
                versions=self._versions,
            ),
            is_final=run is not None and run.is_final,
        )

    # What happens in the life of a run, in this order.

    def on_test_start(self, **_: object) -> None:
        """Begin a new run."""
        if self._node.run is not None:
            self._conclude(self._node.run)
        run = self._node.start_run()
        self._scrapers.forget_totals()
        if self._watch is not None:
            self._watch.begin(getattr(self._node.environment.parsed_options, "run_time", None))
        if self._recording is not None:
            self._recording.begin(run, self.url)
        target = getattr(self._node.environment.runner, "target_user_count", 1)
        self._tell(RUN_START, f"Run {run.run_id} starts", {**run.info, "users_target": target})

    def on_spawning_complete(self, user_count: int = 0, **_: object) -> None:
        """Note what `--reset-stats` has just thrown away."""
        self._tell(SPAWNING_COMPLETE, f"All {user_count} users are there", {"users": user_count})
        if getattr(self._node.environment, "reset_stats", False):
            self._node.on_reset()

    def on_reset_stats(self, **_: object) -> None:
        """Note what the Reset button of the web UI is about to throw away."""
        self._node.on_reset()

    def on_test_stop(self, **_: object) -> None:
        """Stop the clock of the run, and conclude it in its own time."""
        run = self._node.run
        if run is not None and not run.stopped:
            run.stop()
            if not getattr(self._node.environment.parsed_options, "headless", False):
                gevent.spawn(self._wind_up, run)

    def on_quitting(self, **_: object) -> None:
        """Note who ends the process: a signal comes in a greenlet of its own, and a second one ends the waiting."""
        self._shutdown.quitting()

    def on_verdict(self, **_: object) -> None:
        """Have the verdict decide the exit code, after all other listeners of `quitting`."""
        if self._watch is not None:
            self._decide(self._watch)

    def on_quit(self, **_: object) -> None:
        """Give the final values to who scrapes, log the account, and stop."""
        self.close()

    def close(self) -> None:
        """Give the final values to who scrapes, log the account, and stop; a second call waits for the first.

        For an embedded use, at its end; a Locust process does it by itself.
        """
        if not self._shutdown.begin():
            self._shutdown.wait_for_first()
            return
        run = self._node.run
        if run is not None:
            run.stop()
            run.is_final = True
            self._tell_stop(run)
            if self._recording is not None:  # not after the linger, which a SIGKILL may end
                self._recording.conclude(run)
        # The last push goes while scrapers are waited for.
        push = gevent.spawn(self._pusher.stop) if self._pusher is not None else None
        if run is not None:
            self._linger()
        if push is not None:
            self._shutdown.join(push)
        if run is not None:
            self._conclude(run)
        if self._server is not None:
            self._server.stop()
        if self._watch is not None:
            self._watch.stop()
        if self._recording is not None:
            self._recording.stop()
        self._node.stop()
        self._shutdown.end()

    def _decide(self, watch: Watch) -> None:
        """Have the verdict decide the exit code, which Locust asks for after `quitting`."""
        environment = self._node.environment
        # The last requests are counted once the runner is through; what sets the code in `quit` comes too late.
        if environment.runner is not None and not self._shutdown.drain(environment.runner.quit):
            environment.stop_timeout = 0  # Locust has the runner quit once more, and would wait for users again
        code = watch.decide(self._node.run)
        if code or not environment.process_exit_code:  # a code that the user's own listener has set outlives a pass
            environment.process_exit_code = int(code)

    def _tell(self, name: str, text: str, attributes: Mapping[str, str | int | float]) -> None:
        if self._node.run is not None and not self._node.is_worker:
            self._node.events.add(Event(name, text, attributes={"run_id": self._node.run.run_id, **attributes}))

    def _tell_stop(self, run: Run) -> None:
        """Tell that a run is over, with its totals; once."""
        if not run.told:
            run.told = True
            requests = run.aggregate.snapshot()
            failures = sum(series.total for series in requests.series if series.key.outcome == "failure")
            text = f"Run {run.run_id} is over: {requests.total} requests, {failures} failed"
            self._tell(RUN_STOP, text, {"requests": requests.total, "failures": failures})

    def _wind_up(self, run: Run) -> None:
        """Conclude a run that has stopped in a process that goes on, as in the web UI."""
        if self._shutdown.is_near:
            return
        self._node.wait_for_last_requests()
        run.is_final = True
        self._tell_stop(run)
        if self._pusher is not None:
            self._pusher.push_soon()
            gevent.sleep(1)
        until = monotonic() + max(self._scrapers.awaited().values(), default=0.0)
        while self._scrapers.awaited() and monotonic() < until:
            gevent.sleep(0.1)
        if self._node.run is run and not self._shutdown.is_near:
            self._conclude(run)

    def _conclude(self, run: Run) -> None:
        """Log the account of a run, once."""
        if run.concluded or self._node.is_worker:
            return
        run.concluded = True
        if self._recording is not None:
            self._recording.conclude(run)
        if self._watch is not None:
            self._watch.conclude(run)
        self._node.update_locust_total(run)
        recorded = run.aggregate.total()
        parts = [] if run.locust_total is None else [f"Locust {run.locust_total:,}"]
        if run.reset_away:
            parts[0] += f" ({run.reset_away:,} before a reset)"
        parts.append(f"recorded {recorded:,}")
        if self._server is not None and not self._settings.from_workers:
            last = self._scrapers.last_total
            parts.append("never scraped" if last is None else f"last scrape {last:,}")
        if self._pusher is not None and not self._settings.from_workers:
            pushed = self._pusher.last_total
            parts.append("OTLP never" if pushed is None else f"OTLP {pushed:,}")
        logger.info("requests: %s", " · ".join(parts))
        if self._node.unfinished:
            logger.warning(
                "%d workers left without their last report: Locust waits half a second for it, and what they did in up "
                "to three seconds before is missing, in Locust's table as well as here.",
                self._node.unfinished,
            )
        if run.unreconciled:
            logger.warning(
                "Run %s does not add up: Locust counted %+d requests against those recorded here; "
                "locust_otel_unreconciled_requests says so too.",
                run.run_id,
                run.unreconciled,
            )

    def _linger(self) -> None:
        """Keep the endpoint up until every recent scraper has the final values, or the time is up."""
        limit = self._settings.linger.limit_s
        awaited = self._scrapers.awaited()
        if self._server is None or not awaited:
            return
        patience = min(max(awaited.values()), self._shutdown.grace_s if limit is None else limit)
        if patience <= 0:
            return
        logger.info(
            "Waiting up to %.1f s for %s to scrape the final values; press Ctrl-C to end it now.",
            patience,
            " and ".join(sorted(awaited)),
        )
        until = monotonic() + patience
        while self._scrapers.awaited() and (left := until - monotonic()) > 0:
            if self._shutdown.interrupted(min(left, 0.05)):
                return

    def _came(self, client: tuple[str, str], timeout_s: float | None) -> None:
        self._scrapers.came(client, timeout_s=timeout_s)

    def _scraped(self, scrape: Scrape) -> None:
        self._ledger.note(_PROMETHEUS, ok=scrape.delivered, seconds=scrape.seconds)
        if not scrape.delivered:
            return
        of_run = scrape.snapshot.run
        if of_run is not None and of_run.run_id == self.run_id:
            total = of_run.requests.total
            self._scrapers.seen(
                scrape.client, timeout_s=scrape.timeout_s, is_final=scrape.snapshot.is_final, total=total
            )
        else:
            self._scrapers.seen(scrape.client, timeout_s=scrape.timeout_s, is_final=False, total=None)


def _listen(server: MetricsServer, settings: Settings, offset: int) -> None:
    first = (settings.port or 0) + (offset if settings.port else 0)
    last = first if settings.port_is_named else max(LAST_PORT, first + LAST_PORT - DEFAULT_PORT)
    for port in range(first, last + 1):
        try:
            server.start(settings.host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port < last:
                continue
            raise _cannot_listen(error, settings, port) from error
        if port != first:
            logger.warning("Port %d is taken; /metrics is on port %d. Prometheus must know.", first, port)
        return


def _cannot_listen(error: OSError, settings: Settings, port: int) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(
            "--prometheus-port",
            f"port {port} of {settings.host} is taken by another process.",
            "Give a free one, or leave the flag out to have one chosen.",
            slug="prometheus-port-taken",
        )
    if error.errno == errno.EACCES:
        return ConfigurationError(
            "--prometheus-port",
            f"port {port} is reserved for the system.",
            "Give one from 1024 up.",
            slug="prometheus-port-reserved",
        )
    return ConfigurationError(
        "--prometheus-host",
        f"{settings.host}:{port} cannot be listened on: {error.strerror or error}.",
        "Give an address of this machine: 127.0.0.1, 0.0.0.0.",
        slug="prometheus-host",
    )
