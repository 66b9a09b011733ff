"""The demo shop as a WSGI application on gevent: queues, faults, and exact counts of its answers.

A request takes a worker, works, takes a database connection, queries, and gives both back; then the storefront makes
the answer. A request is counted when its answer is made, even if the client has gone. Control routes (`/_stats`,
`/_faults`, `/healthz`) neither queue nor count.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer

from locust_otel.core.errors import ConfigurationError
from locust_otel.demo import faults as fault_models
from locust_otel.demo.active import ActiveFaults
from locust_otel.demo.latency import DB_CONNECTIONS, QUEUE_TIMEOUT_S, SERVICES, WORKERS, LatencyModel
from locust_otel.demo.pool import Pool
from locust_otel.demo.storefront import (
    ShopAnswer,
    ShopRequest,
    Storefront,
    error_answer,
    json_answer,
    json_object,
    template_of,
)

UNKNOWN_ROUTE = "(unknown)"
"""The name in `/_stats` of all paths that are not routes."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_BACKLOG = 2048  # a thousand users may connect in one iteration of the loop


class _Ledger:
    """The shop's own exact counts, to compare with those of a load generator."""

    def __init__(self) -> None:
        self.refused = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        # Requests, seconds of service, seconds in all, and the longest.
        self._routes: dict[str, tuple[int, float, float, float]] = {}

    def record(self, method: str, route: str, status: int, *, elapsed_s: float, service_s: float) -> None:
        """Count one answer, with the seconds since its request was read, and its seconds of service."""
        self._requests[method, route, status] += 1
        count, sum_service_s, sum_s, max_s = self._routes.get(route, (0, 0.0, 0.0, 0.0))
        self._routes[route] = (count + 1, sum_service_s + service_s, sum_s + elapsed_s, max(max_s, elapsed_s))

    def document(self, in_flight: int) -> dict[str, object]:
        """Return the document of `GET /_stats`; its lists are empty before the first request."""
        return {
            "requests": [
                {"method": method, "route": route, "status": status, "count": count}
                for (method, route, status), count in sorted(self._requests.items())
            ],
            "total": self._requests.total(),
            "in_flight": in_flight,
            "refused": self.refused,
            "routes": [
                {"route": route, "count": count, "service_s": service_s, "sum_s": sum_s, "max_s": max_s}
                for route, (count, service_s, sum_s, max_s) in sorted(self._routes.items())
            ],
        }


class Shop:
    """The WSGI application; its arguments are the flags of `python -m locust_otel.demo.shop`."""

    def __init__(
        self,
        *,
        seed: int = 1,
        workers: int = WORKERS,
        db_connections: int = DB_CONNECTIONS,
        queue_timeout_s: float = QUEUE_TIMEOUT_S,
        time_scale: float = 1.0,
    ) -> None:
        self.faults = ActiveFaults(seed)
        self._ledger = _Ledger()
        self._storefront = Storefront(seed)
        self._model = LatencyModel(seed, time_scale)
        self._workers = Pool(workers)
        self._db_connections = db_connections
        self._database = Pool(db_connections)
        self._queue_timeout_s = queue_timeout_s
        self._in_flight = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer one request; raises OSError when the client goes away within its request."""
        path: str = environ["PATH_INFO"]
        method: str = environ["REQUEST_METHOD"]
        respond = self._control if path.startswith("/_") or path == "/healthz" else self._serve
        answer = respond(method, path, environ)
        body = b"" if method == "HEAD" else answer.body
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(body)))]
        start_response(_STATUS_LINES.get(answer.status, f"{answer.status} Error"), headers)
        return [body]

    def activate(self, fault: fault_models.ShopFault) -> None:
        """Activate a fault from now on."""
        self.faults.activate(fault, time.monotonic())
        self._database.resize(self.faults.pool_size(self._db_connections))

    def clear(self, name: str | None = None) -> bool:
        """End one fault, or all; return whether one was active."""
        was_active = self.faults.clear(name)
        self._database.resize(self.faults.pool_size(self._db_connections))
        return was_active

    def refuse(self, path: str) -> bool:
        """Return whether the connection of this request is closed without an answer, and count it."""
        if path.startswith("/_") or not self.faults.refuses():
            return False
        self._ledger.refused += 1
        return True

    def _serve(self, method: str, path: str, environ: dict[str, Any]) -> ShopAnswer:
        started_s = time.monotonic()
        route, item = template_of(path)
        service = SERVICES.get(route)
        service_s = 0.0
        self._in_flight += 1
        try:
            if service is None:
                route = UNKNOWN_ROUTE
                answer = error_answer(404, "no such route")
            elif method != service.method:
                answer = error_answer(405, f"this route answers {service.method}")
            else:
                request = ShopRequest(
                    item=item,
                    query=environ["QUERY_STRING"],
                    authorization=environ.get("HTTP_AUTHORIZATION", ""),
                    api_key=environ.get("HTTP_X_API_KEY", ""),
                    body=environ["wsgi.input"].read(),
                )
                answer, service_s = self._work(route, request)
        finally:
            self._in_flight -= 1
        method, elapsed_s = method if method in _METHODS else "(other)", time.monotonic() - started_s
        self._ledger.record(method, route, answer.status, elapsed_s=elapsed_s, service_s=service_s)
        return answer

    def _work(self, route: str, request: ShopRequest) -> tuple[ShopAnswer, float]:
        app_s, db_s = self._model.draw(route)
        drawn_s = app_s + db_s
        with self._workers.place(self._queue_timeout_s) as has_worker:
            if not has_worker:
                return error_answer(503, "no worker became free in time"), 0.0
            self._hold()
            app_s += self.faults.work_s(route, time.monotonic(), self._in_flight, drawn_s)
            self._workers.occupy(app_s)
            with self._database.place(self._queue_timeout_s) as has_connection:
                if not has_connection:
                    return error_answer(503, "no database connection became free in time"), app_s
                self._database.occupy(db_s)
            self._hold()
        delay_s = self.faults.delay_s(route, time.monotonic(), self._in_flight, drawn_s)
        if delay_s > 0:
            gevent.sleep(delay_s)
        status = self.faults.forced_status(route)
        if status is not None:
            return error_answer(status, "injected fault"), app_s + db_s
        return self._storefront.answer(route, request), app_s + db_s

    def _hold(self) -> None:
        while (seconds := self.faults.hold_s(time.monotonic())) > 0:
            gevent.sleep(seconds)

    def _control(self, method: str, path: str, environ: dict[str, Any]) -> ShopAnswer:
        head, _, name = path.removeprefix("/").partition("/")
        if head not in ("healthz", "_stats", "_faults") or (name and head != "_faults"):
            return error_answer(404, "no such control route")
        match head, method:
            case "healthz", "GET":
                return json_answer(200, {"status": "ok"})
            case "_stats", "GET" | "DELETE":
                if method == "DELETE":
                    self._ledger = _Ledger()
                return json_answer(200, self._ledger.document(self._in_flight))
            case "_faults", "GET" | "POST" | "DELETE":
                return self._change_faults(method, name, environ)
        return error_answer(405, f"{head} does not answer {method}")

    def _change_faults(self, method: str, name: str, environ: dict[str, Any]) -> ShopAnswer:
        if method == "POST":
            document = json_object(environ["wsgi.input"].read())
            if document is None:
                return error_answer(400, "the body must be a JSON object", slug="fault-body")
            kind = str(document.pop("name", ""))
            try:
                self.activate(fault_models.build(kind, document))
            except ConfigurationError as error:
                return error_answer(400, str(error), slug=error.slug)
        elif method == "DELETE" and not self.clear(name or None) and name:
            return error_answer(404, f"no active fault {name!r}", slug="fault-inactive")
        active = self.faults.describe(time.monotonic())
        return json_answer(200, {"active": active, "available": fault_models.available()})


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent ships no types
    def __init__(self, sock: Any, *args: Any) -> None:
        # Headers and body are two writes; without this the second one waits for the client's delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock, *args)

    def handle_one_response(self) -> None:
        if self.server.application.refuse(self.path):
            self.close_connection = True
        else:
            super().handle_one_response()


def serve(shop: Shop, port: int, host: str = "127.0.0.1") -> Any:
    """Return a started gevent server of the shop, with its `server_port`; port 0 takes a free one.

    Raises:
        OSError: The port is taken, or the address is not of this machine.
    """
    server = WSGIServer((host, port), shop, log=None, error_log=None, handler_class=_Handler, backlog=_BACKLOG)
    server.start()
    return server
