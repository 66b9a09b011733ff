"""`/metrics` as an output. Prometheus scrapes it; at the end of a run it stays up until the last scrape."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
from contextlib import suppress
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.marks import TOKEN_VARIABLE
from locust_otel.core.options import DEFAULT_PORT, LAST_PORT
from locust_otel.exporter.endpoint.marking import Marking
from locust_otel.exporter.endpoint.scrapers import PROMETHEUS, Scrapers
from locust_otel.exporter.output import Output
from locust_otel.exporter.page.page import Page
from locust_otel.exporter.run import Run
from locust_otel.exporter.session import Session
from locust_otel.exporter.settings import Settings

if TYPE_CHECKING:
    from locust_otel.exporter.endpoint.server import Server

logger = logging.getLogger(__name__)

_BACKLOG = 512
_BUSY_S = 2.0  # after which the port of an exporter that has died must be free again


class Endpoint(Output):
    """Serves `/metrics`, the live page and marks."""

    def __init__(self, session: Session, page: Page) -> None:
        self._session = session
        self._page = page
        self._scrapers = Scrapers()
        self._server: Server | None = None
        self._thread: Thread | None = None
        self._is_loaded = Event()
        self._last_run_id = ""

    def start(self, settings: Settings) -> None:
        """Listen, and serve.

        Raises:
            ConfigurationError: It cannot listen at this address.
        """
        session = self._session
        if settings.port is None or not session.scopes:
            return
        kept: dict[str, int] = session.keep("endpoint", {})
        self._scrapers = session.keep("scrapers", self._scrapers)
        is_first = not kept
        if is_first:
            first = settings.port + (session.origin.port_offset if settings.port else 0)
            last = first if settings.port_is_named else max(LAST_PORT, first + LAST_PORT - DEFAULT_PORT)
            listener = _listen(settings, first, last)
        else:  # Prometheus knows this port
            listener = _listen(settings, kept["port"], kept["port"], _BUSY_S)
        port = listener.getsockname()[1]
        with session.lock:
            kept["port"] = port
        _allow_many_files()
        session.url = _url(settings, port)
        # A client that comes before the server is loaded waits in the queue of the socket; the load test does not wait.
        self._thread = Thread(target=self._serve, args=(settings, listener), daemon=True, name="endpoint")
        self._thread.start()
        session.exports.declare(PROMETHEUS)
        if is_first:
            logger.info("Metrics for Prometheus at %s", session.url)
            logger.info("Live page at %s", session.url.removesuffix("metrics"))

    def _serve(self, settings: Settings, listener: socket.socket) -> None:
        try:
            from locust_otel.exporter.endpoint.access import WebConfig  # noqa: PLC0415  # 0.1 s with uvicorn
            from locust_otel.exporter.endpoint.app import Application  # noqa: PLC0415  # likewise
            from locust_otel.exporter.endpoint.server import Server  # noqa: PLC0415  # likewise

            web_config = settings.web_config or WebConfig()
            marking = Marking(self._session.mark, self._active_run_id, os.environ.get(TOKEN_VARIABLE, ""))
            application = Application(self._session, self._page, self._scrapers, marking, web_config)
            self._server = Server(application, web_config.ssl_context)
            self._is_loaded.set()
            self._server.run(listener)
        except Exception:  # a thread would lose it
            logger.exception("/metrics is not served%s", " any more" if self._server is not None else "")
            listener.close()
            self._is_loaded.set()

    def finish(self, run: Run) -> None:
        """Wait until every recent scraper has the final values, or has timed out."""
        session, run_id = self._session, run.run_id
        self._last_run_id = run_id
        awaited = self._scrapers.awaited(run_id)
        if self._thread is None or not awaited or session.hurry.is_set():
            return
        patience_s = session.patience_s(max(awaited.values()))
        if patience_s <= 0:
            return
        logger.info(
            "Waiting up to %.1f s for %s to scrape the final values; press Ctrl-C to end it now.",
            patience_s,
            " and ".join(sorted(awaited)),
        )
        until = monotonic() + patience_s
        while self._scrapers.awaited(run_id) and (left_s := until - monotonic()) > 0:
            if session.hurry.wait(min(left_s, 0.05)):
                return

    def stop(self, deadline_s: float) -> None:
        """Stop listening, and give answers under way up to half a second to finish."""
        if self._thread is None:
            return
        self._is_loaded.wait(max(deadline_s - monotonic(), 0.0))
        if self._server is not None:
            self._server.stop()
            self._thread.join(max(deadline_s - monotonic(), 0.0))

    @property
    def account(self) -> str:
        """Requests in the last scrape."""
        if self._thread is None or self._session.settings.from_workers:
            return ""
        total = self._scrapers.last_total(self._last_run_id)
        return "never scraped" if total is None else f"last scrape {total:,}"

    def _active_run_id(self) -> str | None:
        run = self._session.run
        return run.run_id if run is not None and run.is_active else None


def _listen(settings: Settings, first: int, last: int, patience_s: float = 0.0) -> socket.socket:
    """Return a socket that listens on the first free port; retry the last port until `patience_s` is over.

    Raises:
        ConfigurationError: No port is free, or the address cannot be used.
    """
    until = monotonic() + patience_s
    port = first
    while True:
        try:
            listener = _bound(settings.host, port)
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or (port >= last and monotonic() >= until):
                raise _refusal(error, settings.host, port) from error
        if port < last:
            port += 1
        else:
            sleep(0.02)
    if port != first:
        logger.warning(
            "Port %d is taken; /metrics is on port %d. Let Prometheus scrape that port, or name a free one.",
            first,
            port,
        )
    return listener


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _refusal(error: OSError, host: str, port: int) -> ConfigurationError:
    flag = "--prometheus-port"
    match error.errno:
        case errno.EADDRINUSE:
            found = f"port {port} of {host} is taken by another process."
            remedy, slug = "Give a free port, or leave out the flag.", "prometheus-port-taken"
        case errno.EACCES:
            found = f"port {port} is reserved for the system."
            remedy, slug = "Give a port from 1024 up.", "prometheus-port-reserved"
        case _:
            flag, slug = "--prometheus-host", "prometheus-host"
            found = f"cannot listen on {host}:{port}: {error.strerror or error}."
            remedy = "Give an address of this machine: 127.0.0.1, 0.0.0.0."
    return ConfigurationError(flag, found, remedy, slug=slug)


def _url(settings: Settings, port: int) -> str:
    """Return a URL that works on this machine."""
    host, web_config = settings.host, settings.web_config
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    is_tls = web_config is not None and web_config.ssl_context is not None
    return f"{'https' if is_tls else 'http'}://{shown}:{port}/metrics"


def _allow_many_files() -> None:
    """Raise the limit of open files; each connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
