"""The live page in Locust's web UI: the exporter makes it and its values, and Locust's process passes them on.

It is in Locust's own web application, behind its login. Flask is only what is handed over: routes are added to the
application, and a request is what its templates see as one.

Locust lets pages of every origin read what it serves, and send it JSON. A mark is taken from our own origin alone,
which the browser tells.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import time
from typing import Any
from urllib.parse import urlsplit

from locust_otel.core.mark_request import MAX_BODY_BYTES, answered
from locust_otel.core.marks import Marked
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
    """Answers for the page: itself, its values, and its marks; the exporter makes all of them.

    Args:
        bridge: Whose run is shown and marked.
        request: The request that is being answered, as Flask has it.
    """

    def __init__(self, bridge: Bridge, request: Any) -> None:
        self._bridge = bridge
        self._request = request
        self._page: dict[str, str] = {}
        self._headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

    def page(self) -> Answer:
        """Return the page."""
        try:
            self._page = self._page or self._bridge.ask("html")
        except TimeoutError as error:
            return self._unanswered(error)
        more = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": self._page["policy"]}
        return self._page["html"], 200, self._headers | more

    def data(self) -> Answer:
        """Return what the page shows."""
        try:
            values = self._bridge.ask("json")
        except TimeoutError as error:
            return self._unanswered(error)
        return values, 200, self._headers | {"Content-Type": "application/json"}

    def mark(self) -> Answer:
        """Mark what the page asks for."""
        request = self._request
        if not is_same_origin(request.headers, request.host):
            return "A page of another site may not mark.\n", 403, self._headers | {"Content-Type": "text/plain"}
        length = request.content_length
        body = request.get_data() if length is not None and length <= MAX_BODY_BYTES else None
        status, text, kind = answered(body, request.content_type or "", self._marked)
        return text, status, self._headers | {"Content-Type": f"{kind}; charset=utf-8"}

    def _marked(self, text: Any, kind: Any) -> Marked | None:
        run_id = self._bridge.run_id
        return Marked(run_id, time()) if self._bridge.mark(text, kind) and run_id is not None else None

    def _unanswered(self, error: TimeoutError) -> Answer:
        return f"The page cannot be shown now: {error}.\n", 503, self._headers | {"Content-Type": "text/plain"}


def install(web_ui: Any, bridge: Bridge) -> bool:
    """Add the page to Locust's web UI, and a link to it; return whether that could be done.

    Args:
        web_ui: Locust's; a login that it asks for is asked for here too.
        bridge: Whose run is shown and marked.
    """
    try:
        _install(web_ui, bridge)
    except Exception as error:  # a load test without this page is one all the same
        # Flask takes no route once it has answered a request, nor one of a name that the locustfile has given already.
        logger.warning("The web UI has no page /slo: %s", str(error).partition("\n")[0] or repr(error))
        return False
    return True


def _install(web_ui: Any, bridge: Bridge) -> None:
    app = web_ui.app
    index = next((rule.rule for rule in app.url_map.iter_rules() if rule.endpoint == _INDEX), "/")
    page = LivePage(bridge, app.jinja_env.globals["request"])
    routes: tuple[tuple[str, str, Callable[[], Answer], str], ...] = (
        ("slo", "locust_otel_slo", page.page, "GET"),
        ("slo/data", "locust_otel_slo_data", page.data, "GET"),
        ("slo/mark", "locust_otel_slo_mark", page.mark, "POST"),
    )
    for path, endpoint, view, method in routes:
        app.add_url_rule(index + path, endpoint, web_ui.auth_required_if_enabled(view), methods=[method])
    if _INDEX in app.view_functions:
        app.view_functions[_INDEX] = linked(app.view_functions[_INDEX])


def linked(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view whose page has a link to ours, where it is a page."""

    def with_link(*args: Any, **kwargs: Any) -> Any:
        answer = view(*args, **kwargs)
        return answer.replace("</body>", f"{_LINK}</body>", 1) if isinstance(answer, str) else answer

    return with_link


def is_same_origin(headers: Any, host: str) -> bool:
    """Return whether no browser says that a page of another origin has sent a request.

    Args:
        headers: Of the request.
        host: Where it was sent, as the client has it.
    """
    site = headers.get("Sec-Fetch-Site")  # where a browser tells it, that is right behind every proxy too
    if site is not None:
        return bool(site in {"same-origin", "none"})
    origin = headers.get("Origin")
    try:
        return origin is None or (bool(host) and urlsplit(origin).netloc == host)
    except ValueError:
        return False
