"""Finds a running load test on this machine, and marks its run over HTTP; loads neither Locust nor gevent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.core.marks import MARK_PATH, SERVICE, TOKEN_VARIABLE, Marked

PORTS = range(9646, 9656)
"""Ports of `/metrics`, unless --prometheus-port names another."""

FAULT_START, FAULT_END = "fault-start", "fault-end"
"""Kinds of the marks that a game day sets on its run; the text of the mark is the name of the fault."""

TIMEOUT_S = 10.0
"""Time for an answer of the servers that a game day asks."""

_MAX_ANSWER = 65_536


class NotMarkedError(LocustOtelError):
    """The run could not be marked, which may be otherwise in a moment."""


class MarkSender:
    """Sets marks on the run of a game day, at the URL where it serves /metrics; one that cannot be set is no error.

    Attributes:
        problem: Why marks cannot be set; empty if they can.

    Raises:
        ConfigurationError: The URL cannot be used.
    """

    def __init__(self, metrics_url: str) -> None:
        self.problem = "" if metrics_url else "Nobody knows where the run serves /metrics: no marks. Give --metrics."
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
            mark = {"mark": text, "kind": kind}
            reply = _send(self._base, mark, self._token, timeout_s=TIMEOUT_S, uses_proxy=True)
            if reply.is_success:
                web.decoded(reply.body.strip() or b"null")
            elif reply.status in {404, 405, 501}:
                self.problem = f"The run takes no marks: {self._base}{MARK_PATH} answers {reply.status}."
                self._base = ""
            else:
                hint = f" Set {TOKEN_VARIABLE}." if reply.status in {401, 403} else ""
                self.problem = f"No mark was set: {self._base}{MARK_PATH} answers {reply.status}.{hint}"
        except (web.UnreachableError, ValueError) as error:
            reason = type(error).__name__ if isinstance(error, ValueError) else error
            self.problem = f"No mark was set: {self._base}{MARK_PATH} gives no answer: {reason}."


def find(ports: Iterable[int] = PORTS) -> str:
    """Return the URL of the one load test on this machine.

    Raises:
        NotMarkedError: None answers.
        ConfigurationError: Several do.
    """
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with ThreadPoolExecutor(len(urls)) as pool:
        runs = {url: run_id for url, run_id in zip(urls, pool.map(_probe, urls), strict=True) if run_id is not None}
    if not runs:
        raise NotMarkedError(
            f"No load test answers on this machine at the ports {PORTS[0]} to {PORTS[-1]}. Is it started with "
            "locust-otel, and is its run still going on? If its metrics are elsewhere, give --url."
        )
    # With --export-from workers each process of a run answers, and takes its marks.
    if len(runs) > 1 and ("" in runs.values() or len(set(runs.values())) > 1):
        shown = ", ".join(f"{url} ({run_id or 'no run'})" for url, run_id in runs.items())
        found = f"several load tests answer: {shown}."
        raise ConfigurationError("mark", found, "Choose one with --url.", slug="mark-several")
    return next(iter(runs))


def base_of(url: str) -> str:
    """Return the URL of a load test without a path; that of its `/metrics` will do.

    Raises:
        ConfigurationError: It is none.
    """
    if not web.is_server(url):
        found = f"{url!r} is no URL of a load test."
        raise ConfigurationError("--url", found, "Write http://127.0.0.1:9646.", slug="mark-url")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        found = "a URL with a password would be seen in the list of processes."
        remedy = f"Set the environment variable {TOKEN_VARIABLE} here and for the load test."
        raise ConfigurationError("--url", found, remedy, slug="mark-url-password")
    return f"{parts.scheme}://{parts.netloc}"


def post(base: str, text: str, kind: str, *, token: str = "") -> Marked:
    """Mark the run of a load test, whose URL `find` and `base_of` return; an empty token is not sent.

    Raises:
        NotMarkedError: It cannot be reached, or has no run.
        ConfigurationError: It refuses.
    """
    url = base + MARK_PATH
    try:
        reply = _send(base, {"mark": text, "kind": kind}, token)
    except web.UnreachableError as error:
        reason = getattr(error.cause, "strerror", None) or str(error.cause) or str(error)
        raise NotMarkedError(f"{url} cannot be reached: {reason}.") from error
    sentence = " ".join(reply.body.decode(errors="replace").split())[:300]
    if reply.status == 200:
        try:
            values = web.decoded(reply.body)
            return Marked(str(values["run_id"]), float(values["time"]))
        except (ValueError, TypeError, KeyError):
            raise NotMarkedError(f"{url} answers with something else than a load test does.") from None
    if reply.status == 409:
        raise NotMarkedError(f"{url}: {sentence}")
    remedy = "Give the URL of the load test's metrics."
    if reply.status in {401, 403}:
        remedy = f"Set {TOKEN_VARIABLE} to the same token here and for the load test, and give --url."
    elif reply.status == 400:
        remedy = "Mark something else."
    problem = sentence if reply.status in {400, 403} and sentence else f"it answers with status {reply.status}."
    raise ConfigurationError(url, problem, remedy, slug="mark-refused")


def _probe(base: str) -> str | None:
    """Return the run of the load test at a URL, empty if it has none or does not tell; None for no load test."""
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
    base: str, mark: Mapping[str, str] | None = None, token: str = "", *, timeout_s: float = 5, uses_proxy: bool = False
) -> web.Reply:
    body = None if mark is None else json.dumps(mark).encode()
    # urllib writes headers as Latin-1; the load test expects the bytes of UTF-8.
    authorization = f"Bearer {token.encode().decode('latin-1')}" if token else ""
    return web.send(
        base + MARK_PATH, body, authorization=authorization, timeout_s=timeout_s, max_bytes=_MAX_ANSWER,
        uses_proxy=uses_proxy,
    )  # fmt: skip
