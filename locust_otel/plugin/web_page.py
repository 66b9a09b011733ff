"""Live page in Locust's web UI: the exporter creates the page and its values, and Locust's process serves them.

The page belongs to Locust's own web application, behind its login. Flask is not imported: the routes are added to that
application, and the request is the one that its templates use.

Locust lets pages of every origin read its responses and send it JSON. So a mark is accepted from our own origin only,
which the browser sends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import time
from typing import Any
from urllib.parse import urlsplit

from locust_otel.core.marks import MAX_BODY_BYTES, Marked, answered
from locust_otel.plugin.bridge import Bridge

logger = logging.getLogger(__name__)

_INDEX = "locust.index"
_LINK = (
    '<a href="./slo" style="position:fixed;left:16px;bottom:16px;z-index:1200;padding:6px 14px;border-radius:16px;'
    "background:#166534;color:#fff;font:500 14px/1.4 Roboto,Helvetica,Arial,sans-serif;text-decoration:none;"
    'box-shadow:0 1px 4px rgba(0,0,0,.4)">SLO and marks</a>'
)

Answer = tuple[Any, int, dict[str, str]]


class LivePage:
    """Responses for the page, its values and its marks; `request` is Flask's."""

    def __init__(self, bridge: Bridge, request: Any) -> None:
        self._bridge = bridge
        self._request = request
        self._page: dict[str, str] = {}

    def page(self) -> Answer:
        """Return the page."""
        try:
            self._page = self._page or self._bridge.ask("html")
        except TimeoutError as error:
            return _unanswered(error)
        text, status, headers = _answer(self._page["html"], kind="text/html; charset=utf-8")
        return text, status, headers | {"Content-Security-Policy": self._page["policy"]}

    def data(self) -> Answer:
        """Return the values for the page, as JSON."""
        try:
            return _answer(self._bridge.ask("json"), kind="application/json")
        except TimeoutError as error:
            return _unanswered(error)

    def mark(self) -> Answer:
        """Mark the run with the text of the request."""
        request = self._request
        if not is_same_origin(request.headers, request.host):
            return _answer("A page of another site may not mark.\n", 403)
        length = request.content_length
        body = request.get_data() if length is not None and length <= MAX_BODY_BYTES else None
        status, text, kind = answered(body, request.content_type or "", self._marked)
        return _answer(text, status, f"{kind}; charset=utf-8")

    def _marked(self, text: Any, kind: Any) -> Marked | None:
        run_id = self._bridge.run_id
        return Marked(run_id, time()) if self._bridge.mark(text, kind) and run_id is not None else None


def _answer(text: str, status: int = 200, kind: str = "text/plain") -> Answer:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": kind}
    return text, status, headers


def _unanswered(error: TimeoutError) -> Answer:
    return _answer(f"The page cannot be shown now: {error}.\n", 503)


def install(web_ui: Any, bridge: Bridge) -> bool:
    """Add the page to Locust's web UI, behind its login, and a link to it; return whether that succeeded."""
    try:
        app = web_ui.app
        index = next((rule.rule for rule in app.url_map.iter_rules() if rule.endpoint == _INDEX), "/")
        page = LivePage(bridge, app.jinja_env.globals["request"])
        for path, view, method in (
            ("slo", page.page, "GET"), ("slo/data", page.data, "GET"), ("slo/mark", page.mark, "POST"),
        ):  # fmt: skip
            endpoint = f"locust_otel_{path.replace('/', '_')}"
            app.add_url_rule(index + path, endpoint, web_ui.auth_required_if_enabled(view), methods=[method])
        if _INDEX in app.view_functions:
            app.view_functions[_INDEX] = linked(app.view_functions[_INDEX])
    except Exception as error:  # the load test works without this page
        # Flask refuses new routes after its first request, and a route name that the locustfile has used already.
        logger.warning("The web UI has no page /slo: %s", str(error).partition("\n")[0] or repr(error))
        return False
    return True


def linked(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view that adds a link to our page, if its response is text."""

    def with_link(*args: Any, **kwargs: Any) -> Any:
        answer = view(*args, **kwargs)
        return answer.replace("</body>", f"{_LINK}</body>", 1) if isinstance(answer, str) else answer

    return with_link


def is_same_origin(headers: Any, host: str) -> bool:
    """Return whether a request to this host comes from our own page, or not from a browser."""
    site = headers.get("Sec-Fetch-Site")  # if a browser sends it, it is correct behind every proxy
    if site is not None:
        return bool(site in {"same-origin", "none"})
    origin = headers.get("Origin")
    try:
        return origin is None or (bool(host) and urlsplit(origin).netloc == host)
    except ValueError:
        return False
