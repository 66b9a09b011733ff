"""The client of marks: finds a running load test on this machine, and marks its run over HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.core.marks import END, MARK_PATH, SERVICE, START, TOKEN_VARIABLE, Marked
from locust_otel.core.options import DEFAULT_PORT, LAST_PORT

PORTS = range(DEFAULT_PORT, LAST_PORT + 1)
"""Ports of `/metrics`, unless --prometheus-port names another."""

FAULT_START, FAULT_END = f"fault{START}", f"fault{END}"
"""Kinds of the marks that a game day sets on its run; the text of the mark is the name of the fault."""

TIMEOUT_S = 10.0
"""Seconds within which the servers of a game day must answer."""

_MAX_ANSWER = 65_536


class NotMarkedError(LocustOtelError):
    """The run could not be marked; a later try may succeed."""


class MarkSender:
    """Sets marks on the run of a game day, at the URL of its /metrics; a mark that cannot be set is not an error.

    Attributes:
        problem: Why the last mark was not set; empty if it was.

    Raises:
        ConfigurationError: The URL cannot be used.
    """

    def __init__(self, metrics_url: str) -> None:
        self.problem = "" if metrics_url else "The run's /metrics were not found: no marks are set. Give --metrics."
        self._token = os.environ.get(TOKEN_VARIABLE, "").strip()
        self._base = ""
        if metrics_url:
            base = metrics_url.removesuffix("/metrics")
            self._base = web.base_of(base, "--metrics", TOKEN_VARIABLE, "http://HOST:PORT", slug="gameday-url")

    def mark(self, text: str, kind: str) -> None:
        """Set a mark."""
        if not self._base:
            return
        try:
            post(self._base, text, kind, token=self._token, timeout_s=TIMEOUT_S, uses_proxy=True)
        except LocustOtelError as error:
            self.problem = f"No mark was set: {error}"


def find(ports: Iterable[int] = PORTS) -> str:
    """Return the URL of the one load test on this machine.

    Raises:
        NotMarkedError: No load test answers.
        ConfigurationError: Several answer.
    """
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with ThreadPoolExecutor(len(urls)) as pool:
        runs = {url: run_id for url, run_id in zip(urls, pool.map(_probe, urls), strict=True) if run_id is not None}
    if not runs:
        raise NotMarkedError(
            f"No load test answers on ports {PORTS[0]} to {PORTS[-1]} of this machine. Is it started with "
            "locust-otel, and is its run in progress? If its metrics are on another port, give --url."
        )
    # With --export-from workers each process of a run answers, and takes its marks.
    if len(runs) > 1 and ("" in runs.values() or len(set(runs.values())) > 1):
        shown = ", ".join(f"{url} ({run_id or 'no run'})" for url, run_id in runs.items())
        found = f"Several load tests answer: {shown}."
        raise ConfigurationError("mark", found, "Choose one with --url.", slug="mark-several")
    return next(iter(runs))


def base_of(url: str) -> str:
    """Return the URL of a load test without its path, which may be `/metrics`.

    Raises:
        ConfigurationError: It is not a URL of a server, or has a password.
    """
    if not web.is_server(url):
        found = f"{url!r} is not the URL of a load test."
        raise ConfigurationError("--url", found, "Write http://127.0.0.1:9646.", slug="mark-url")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        found = "A URL with a password would show in the list of processes."
        remedy = f"Set the environment variable {TOKEN_VARIABLE} here and for the load test."
        raise ConfigurationError("--url", found, remedy, slug="mark-url-password")
    return f"{parts.scheme}://{parts.netloc}"


def post(  # noqa: PLR0913  # a game day and the command differ in the last ones
    base: str, text: str, kind: str, *, token: str = "", timeout_s: float = 5.0, uses_proxy: bool = False
) -> Marked:
    """Mark the run of a load test, at a URL of `find` or `base_of`; an empty token is not sent.

    Raises:
        NotMarkedError: It cannot be reached, or no run is in progress.
        ConfigurationError: It refuses the mark.
    """
    url = base + MARK_PATH
    try:
        reply = _send(base, {"mark": text, "kind": kind}, token, timeout_s=timeout_s, uses_proxy=uses_proxy)
    except web.UnreachableError as error:
        reason = getattr(error.cause, "strerror", None) or str(error.cause) or str(error)
        raise NotMarkedError(f"{url} cannot be reached: {reason}.") from error
    sentence = " ".join(reply.body.decode(errors="replace").split())[:300]
    if reply.status == 200:
        try:
            values = web.decoded(reply.body)
            return Marked(str(values["run_id"]), float(values["time"]))
        except (ValueError, TypeError, KeyError):
            raise NotMarkedError(f"{url} does not answer as a load test does.") from None
    if reply.status == 409:
        raise NotMarkedError(f"{url}: {sentence}")
    remedy = "Give the URL of the load test's metrics."
    if reply.status in {401, 403}:
        remedy = f"Set {TOKEN_VARIABLE} to the same token here and for the load test, and name its URL."
    elif reply.status == 400:
        remedy = "Change the text or the kind of the mark."
    problem = sentence if reply.status in {400, 403} and sentence else f"It answers with status {reply.status}."
    raise ConfigurationError(url, problem, remedy, slug="mark-refused")


def _probe(base: str) -> str | None:
    """Return the run of the load test at a URL; empty if there is none or it is secret, None without a load test."""
    try:
        reply = _send(base, timeout_s=2.0)
        if reply.status == 401 and reply.body.startswith(b"Unauthorized"):
            return ""
        values = web.decoded(reply.body)
    except (web.UnreachableError, ValueError):
        return None
    if reply.status != 200 or not isinstance(values, dict) or values.get("service") != SERVICE:
        return None
    run_id = values.get("run_id")
    return run_id if isinstance(run_id, str) else ""


def _send(
    base: str, mark: Mapping[str, str] | None = None, token: str = "", *, timeout_s: float, uses_proxy: bool = False
) -> web.Reply:
    body = None if mark is None else json.dumps(mark).encode()
    # urllib encodes headers as Latin-1; the load test expects UTF-8.
    authorization = f"Bearer {token.encode().decode('latin-1')}" if token else ""
    return web.send(
        base + MARK_PATH, body, authorization=authorization, timeout_s=timeout_s, max_bytes=_MAX_ANSWER,
        uses_proxy=uses_proxy,
    )  # fmt: skip
