"""Finds a running load test on this machine, and marks its run over HTTP; loads neither Locust nor gevent."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError, LocustOtelError
from locust_otel.core.marks import MARK_PATH, SERVICE, TOKEN_VARIABLE, Marked

PORTS = range(9646, 9656)
"""Where `/metrics` is unless it is told otherwise."""

TIMEOUT_S = 5.0

_MAX_ANSWER = 65_536


class NotMarkedError(LocustOtelError):
    """The run could not be marked, which may be otherwise in a moment."""


class Found(NamedTuple):
    """A load test that answers.

    Attributes:
        url: Without a path.
        run_id: The run that goes on; None where none does, or it is not told.
    """

    url: str
    run_id: str | None


def find(ports: Iterable[int] = PORTS) -> str:
    """Return the URL of the one load test on this machine.

    Raises:
        NotMarkedError: None answers.
        ConfigurationError: Several do.
    """
    asked = [f"http://127.0.0.1:{port}" for port in ports]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = [each for each in pool.map(_probe, asked) if each is not None]
    if not found:
        raise NotMarkedError(
            f"No load test answers on this machine at the ports {PORTS[0]} to {PORTS[-1]}. Is it started with "
            "locust-otel, and is its run still going on? If its metrics are elsewhere, give --url."
        )
    # With --export-from workers each process of a run answers, and takes its marks.
    if len(found) > 1 and (len({each.run_id for each in found}) > 1 or found[0].run_id is None):
        told = ", ".join(f"{each.url} ({each.run_id or 'no run'})" for each in found)
        raise ConfigurationError(
            "mark", f"several load tests answer: {told}.", "Choose one with --url.", slug="mark-several"
        )
    return found[0].url


def base_of(url: str) -> str:
    """Return the URL of a load test without a path; that of its `/metrics` will do.

    Raises:
        ConfigurationError: It is none.
    """
    if not web.is_server(url):
        raise ConfigurationError(
            "--url", f"{url!r} is no URL of a load test.", "Write http://127.0.0.1:9646.", slug="mark-url"
        )
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigurationError(
            "--url",
            "a URL with a password would be seen in the list of processes.",
            f"Set the environment variable {TOKEN_VARIABLE} here and for the load test.",
            slug="mark-url-password",
        )
    return f"{parts.scheme}://{parts.netloc}"


def post(base: str, text: str, kind: str, *, token: str = "", timeout_s: float = TIMEOUT_S) -> Marked:
    """Mark the run of a load test.

    Args:
        base: As `find` and `base_of` return it.
        text: What happened.
        kind: A word for what sort of thing it is.
        token: Shown to it; empty for none.
        timeout_s: Seconds to wait for its answer.

    Raises:
        NotMarkedError: It cannot be reached, or no run goes on.
        ConfigurationError: It refuses.
    """
    body = json.dumps({"mark": text, "kind": kind}).encode()
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token.encode().decode('latin-1')}"
    request = urllib.request.Request(base + MARK_PATH, body, headers)  # noqa: S310  # base_of has looked at the scheme
    status, answer = _asked(request, timeout_s)
    sentence = " ".join(answer.split())[:300]
    if status == 200:
        try:
            told = json.loads(answer)
            return Marked(str(told["run_id"]), float(told["time"]))
        except (ValueError, TypeError, KeyError):
            raise NotMarkedError(f"{base} answers with something else than a load test does.") from None
    if status == 409:
        raise NotMarkedError(f"{base}: {sentence}")
    remedy = "Give the URL of the load test's metrics."
    if status in {401, 403}:
        remedy = f"Set {TOKEN_VARIABLE} to the same token here and for the load test, and give --url."
    elif status == 400:
        remedy = "Mark something else."
    found = sentence if status in {400, 403} and sentence else f"it answers with status {status}."
    raise ConfigurationError(f"{base}{MARK_PATH}", found, remedy, slug="mark-refused")


def _probe(base: str) -> Found | None:
    """Return what is there; None where it is nothing of ours."""
    try:
        status, answer = _asked(urllib.request.Request(base + MARK_PATH), 2.0)  # noqa: S310  # our own address
        if status == 401 and answer.startswith("Unauthorized"):
            return Found(base, None)
        told = json.loads(answer)
        if status == 200 and isinstance(told, dict) and told.get("service") == SERVICE:
            run_id = told.get("run_id")
            return Found(base, run_id if isinstance(run_id, str) else None)
    except (NotMarkedError, ValueError, RecursionError):
        return None
    return None


def _asked(request: urllib.request.Request, timeout_s: float) -> tuple[int, str]:
    """Return status and body of an answer; a redirect is not followed, nor a proxy asked."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if request.type == "https":
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    opener = web.opener(*handlers)
    try:
        try:
            with opener.open(request, timeout=timeout_s) as response:
                return response.status, response.read(_MAX_ANSWER).decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(_MAX_ANSWER).decode(errors="replace")
    except Exception as error:  # http.client and ssl have many
        reason = getattr(error, "reason", None) or error
        told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        host = urlsplit(request.full_url).netloc
        raise NotMarkedError(f"{host} cannot be reached: {told}.") from error
