"""The bridge of one Locust environment: what happens at the start of the process, around each run, and at the exit."""

from __future__ import annotations

import errno
import logging
import platform
from importlib.metadata import version
from time import monotonic, time

import gevent
from gevent.event import Event
from greenlet import getcurrent, greenlet

from locust_otel.config import DEFAULT_PORT, LAST_PORT, Settings
from locust_otel.errors import ConfigurationError
from locust_otel.exporters.scrapers import Scrapers
from locust_otel.exporters.server import MetricsServer, Scrape
from locust_otel.nodes import LocalNode, MasterNode
from locust_otel.run import Run
from locust_otel.snapshot import ExportCount, HealthSnapshot, Snapshot

logger = logging.getLogger(__name__)

TERMINATION_GRACE_S = 8.0
"""Longest linger after SIGTERM: containers are killed ten seconds after it."""

_PROMETHEUS = "prometheus"
_LAST_MOMENT_S = 5.0  # more than it takes whoever ends the process to end it, once that is all that is left to do


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
        self._exports: dict[str, tuple[int, float]] = {}
        self._last_export: float | None = None
        self._server: MetricsServer | None = None
        self._exit = _Exit()
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
            _listen(self._server, self._settings, self._node.port_offset)
            logger.info("Metrics for Prometheus at %s", self._server.url)
        self._node.start()

    @property
    def url(self) -> str | None:
        """Where `/metrics` is; None where it is not served."""
        return self._server.url if self._server is not None else None

    @property
    def run_id(self) -> str | None:
        """Identity of the current or last run; None before the first."""
        return self._node.run.run_id if self._node.run is not None else None

    def snapshot(self) -> Snapshot:
        """Return everything this process knows now, in one piece."""
        node, run = self._node, self._node.run
        if run is not None:
            node.update_locust_total(run)
        return Snapshot(
            time=time(),
            run=run.snapshot(node.environment.runner) if run is not None else None,
            worker_states=node.worker_states(),
            workers_expected=node.workers_expected,
            workers=node.workers(),
            health=HealthSnapshot(
                exports=tuple(
                    ExportCount(_PROMETHEUS, outcome, count, seconds)
                    for outcome, (count, seconds) in self._exports.items()
                ),
                last_exports={_PROMETHEUS: self._last_export} if self._last_export is not None else {},
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
        self._node.start_run()
        self._scrapers.forget_totals()

    def on_spawning_complete(self, **_: object) -> None:
        """Note what `--reset-stats` has just thrown away."""
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
        self._exit.quitting()

    def on_quit(self, **_: object) -> None:
        """Give the final values to who scrapes, log the account, and stop."""
        self.close()

    def close(self) -> None:
        """Give the final values to who scrapes, log the account, and stop; a second call waits for the first.

        For an embedded use, at its end; a Locust process does it by itself.
        """
        if not self._exit.begin():
            self._exit.wait_for_first()
            return
        run = self._node.run
        if run is not None:
            run.stop()
            run.is_final = True
            self._linger()
            self._conclude(run)
        if self._server is not None:
            self._server.stop()
        self._node.stop()
        self._exit.end()

    def _wind_up(self, run: Run) -> None:
        """Conclude a run that has stopped in a process that goes on, as in the web UI."""
        if self._exit.is_near:
            return
        self._node.wait_for_last_requests()
        run.is_final = True
        until = monotonic() + max(self._scrapers.awaited().values(), default=0.0)
        while self._scrapers.awaited() and monotonic() < until:
            gevent.sleep(0.1)
        if self._node.run is run and not self._exit.is_near:
            self._conclude(run)

    def _conclude(self, run: Run) -> None:
        """Log the account of a run, once."""
        if run.concluded or self._node.is_worker:
            return
        run.concluded = True
        self._node.update_locust_total(run)
        recorded = run.aggregate.total()
        parts = [] if run.locust_total is None else [f"Locust {run.locust_total:,}"]
        if run.reset_away:
            parts[0] += f" ({run.reset_away:,} before a reset)"
        parts.append(f"recorded {recorded:,}")
        if self._server is not None and not self._settings.from_workers:
            last = self._scrapers.last_total
            parts.append("never scraped" if last is None else f"last scrape {last:,}")
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
        patience = min(max(awaited.values()), self._exit.grace_s if limit is None else limit)
        if patience <= 0:
            return
        logger.info(
            "Waiting up to %.1f s for %s to scrape the final values; press Ctrl-C to end it now.",
            patience,
            " and ".join(sorted(awaited)),
        )
        until = monotonic() + patience
        while self._scrapers.awaited() and (left := until - monotonic()) > 0:
            if self._exit.interrupted(min(left, 0.05)):
                return

    def _came(self, client: tuple[str, str], timeout_s: float | None) -> None:
        self._scrapers.came(client, timeout_s=timeout_s)

    def _scraped(self, scrape: Scrape) -> None:
        outcome = "success" if scrape.delivered else "failure"
        count, seconds = self._exports.get(outcome, (0, 0.0))
        self._exports[outcome] = (count + 1, seconds + scrape.seconds)
        if not scrape.delivered:
            return
        self._last_export = time()
        of_run = scrape.snapshot.run
        if of_run is not None and of_run.run_id == self.run_id:
            total = of_run.requests.total
            self._scrapers.seen(
                scrape.client, timeout_s=scrape.timeout_s, is_final=scrape.snapshot.is_final, total=total
            )
        else:
            self._scrapers.seen(scrape.client, timeout_s=scrape.timeout_s, is_final=False, total=None)


class _Exit:
    """How a Locust process ends, as far as one can tell from its events.

    SIGTERM runs Locust's shutdown in a greenlet of its own, and as that ends the runner, in the main greenlet too: each
    fires `quitting` and then `quit`. The first `quit` waits for scrapers, the other waits for it. A further signal
    fires `quitting` from yet another greenlet, or raises KeyboardInterrupt in the main one: it ends the waiting.
    """

    def __init__(self) -> None:
        self.is_near = False
        self._begun = False
        self._signalled: float | None = None
        self._first: greenlet | None = None
        self._interrupt = Event()
        self._ended = Event()

    def quitting(self) -> None:
        """Note that somebody ends the process, and whether that is a signal, or a further one."""
        self.is_near = True
        current = getcurrent()
        is_signal = current is not gevent.get_hub().parent
        if is_signal and self._begun:
            self._interrupt.set()
        elif is_signal and self._first is None:
            self._signalled, self._first = monotonic(), current
        # Stopped here: Locust empties its table as it writes --json-file, and would write it a second time, empty.
        if self._first not in (None, current) and (self._begun or not is_signal):
            self.wait_for_first()
            gevent.sleep(_LAST_MOMENT_S)

    def begin(self) -> bool:
        """Return whether this is the first to end it."""
        first = not self._begun
        self._begun = self.is_near = True
        self._first = self._first or getcurrent()
        return first

    @property
    def grace_s(self) -> float:
        """Seconds left before somebody may kill us."""
        return float("inf") if self._signalled is None else self._signalled + TERMINATION_GRACE_S - monotonic()

    def interrupted(self, timeout_s: float) -> bool:
        """Wait, and return whether a further signal came."""
        try:
            return bool(self._interrupt.wait(timeout_s))
        except KeyboardInterrupt:
            self._interrupt.set()
            return True

    def wait_for_first(self) -> None:
        """Wait until who was first has ended it."""
        while not self._ended.is_set() and not (self._first is not None and self._first.dead):
            try:
                self._ended.wait(0.2)
            except KeyboardInterrupt:
                self._interrupt.set()

    def end(self) -> None:
        """Let those go on that wait for the first."""
        self._ended.set()


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
