"""The demo shop as a WSGI application on gevent: queues, faults, and its own exact count of what it answered.

A request takes a worker, works, takes a database connection, queries, and gives both back; what the
storefront answers is decided at the end of it. Requests are counted when their answer is made, whether or not the
client still waits for it. Control routes (`/_stats`, `/_faults`, `/healthz`) neither queue nor count.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import gevent
from gevent.pywsgi import WSGIHandler, WSGIServer

from locust_otel.core.errors import ConfigurationError
from locust_otel.demo import faults as fault_models
from locust_otel.demo.active import ActiveFaults
from locust_otel.demo.latency import DB_CONNECTIONS, QUEUE_TIMEOUT_S, SERVICES, WORKERS, LatencyModel
from locust_otel.demo.ledger import Ledger
from locust_otel.demo.pool import Pool
from locust_otel.demo.storefront import ShopAnswer, ShopRequest, Storefront, json_answer, template_of

UNKNOWN_ROUTE = "(unknown)"
"""How `/_stats` names every path that is no route."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_BACKLOG = 2048  # a thousand users may connect within one turn of the loop


class Shop:
    """The WSGI application.

    Args:
        seed: Service times, faults and tokens follow from it.
        workers: Requests served at the same time.
        db_connections: Size of the database pool.
        queue_timeout_s: Seconds a request waits for a worker, and for a connection, before its 503.
        time_scale: Factor on all service times; 0: none.
    """

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
        self._ledger = Ledger()
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
        respond = self._control if is_control(path) else self._serve
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
        """End one fault, or all; return whether there was any to end."""
        was_active = self.faults.clear(name)
        self._database.resize(self.faults.pool_size(self._db_connections))
        return was_active

    def refuse(self, path: str) -> bool:
        """Decide, and count, whether this request's connection is closed without an answer."""
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
                answer = json_answer(404, {"error": "no such route"})
            elif method != service.method:
                answer = json_answer(405, {"error": f"this route answers {service.method}"})
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
        self._ledger.record(
            method if method in _METHODS else "(other)",
            route,
            answer.status,
            elapsed_s=time.monotonic() - started_s,
            service_s=service_s,
        )
        return answer

    def _work(self, route: str, request: ShopRequest) -> tuple[ShopAnswer, float]:
        app_s, db_s = self._model.draw(route)
        drawn_s = app_s + db_s
        if not self._workers.acquire(self._queue_timeout_s):
            return json_answer(503, {"error": "no worker became free in time"}), 0.0
        try:
            self._hold()
            app_s += self.faults.work_s(route, time.monotonic(), self._in_flight, drawn_s)
            self._workers.occupy(app_s)
            if not self._query(db_s):
                return json_answer(503, {"error": "no database connection became free in time"}), app_s
            self._hold()
        finally:
            self._workers.release()
        _sleep(self.faults.delay_s(route, time.monotonic(), self._in_flight, drawn_s))
        status = self.faults.forced_status(route)
        if status is not None:
            return json_answer(status, {"error": "injected fault"}), app_s + db_s
        return self._storefront.answer(route, request), app_s + db_s

    def _query(self, seconds: float) -> bool:
        if not self._database.acquire(self._queue_timeout_s):
            return False
        try:
            self._database.occupy(seconds)
        finally:
            self._database.release()
        return True

    def _hold(self) -> None:
        while (seconds := self.faults.hold_s(time.monotonic())) > 0:
            _sleep(seconds)

    def _control(self, method: str, path: str, environ: dict[str, Any]) -> ShopAnswer:
        head, _, name = path.removeprefix("/").partition("/")
        if head not in ("healthz", "_stats", "_faults") or (name and head != "_faults"):
            return json_answer(404, {"error": "no such control route"})
        match head, method:
            case "healthz", "GET":
                return json_answer(200, {"status": "ok"})
            case "_stats", "GET" | "DELETE":
                return self._stats(method)
            case "_faults", "GET" | "POST" | "DELETE":
                return self._change_faults(method, name, environ)
        return json_answer(405, {"error": f"{head} does not answer {method}"})

    def _stats(self, method: str) -> ShopAnswer:
        if method == "DELETE":
            self._ledger.reset()
        return json_answer(200, self._ledger.document(self._in_flight))

    def _change_faults(self, method: str, name: str, environ: dict[str, Any]) -> ShopAnswer:
        if method == "POST":
            return self._post_fault(environ["wsgi.input"].read())
        if method == "DELETE" and not self.clear(name or None) and name:
            return json_answer(404, {"error": f"no active fault {name!r}", "slug": "fault-inactive"})
        return self._fault_list()

    def _fault_list(self) -> ShopAnswer:
        active = self.faults.describe(time.monotonic())
        return json_answer(200, {"active": active, "available": fault_models.available()})

    def _post_fault(self, body: bytes) -> ShopAnswer:
        try:
            document = json.loads(body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            return json_answer(400, {"error": "the body must be a JSON object", "slug": "fault-body"})
        name = document.pop("name", "")
        try:
            self.activate(fault_models.build(str(name), document))
        except ConfigurationError as error:
            return json_answer(400, {"error": str(error), "slug": error.slug})
        return self._fault_list()


def is_control(path: str) -> bool:
    """Return whether a path is one of the shop's control routes, which neither queue nor count."""
    return path.startswith("/_") or path == "/healthz"


def _sleep(seconds: float) -> None:
    if seconds > 0:
        gevent.sleep(seconds)


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent ships no types
    def __init__(self, sock: Any, *args: Any) -> None:
        # Headers and body leave in two writes; without this the second waits for the client's delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock, *args)

    def handle_one_response(self) -> None:
        if self.server.application.refuse(self.path):
            self.close_connection = True
        else:
            super().handle_one_response()


def serve(shop: Shop, port: int, host: str = "127.0.0.1") -> Any:
    """Return a started gevent server of the shop; its `server_port` is the port, also for 0.

    Raises:
        OSError: The port is taken, or the address is not of this machine.
    """
    server = WSGIServer((host, port), shop, log=None, error_log=None, handler_class=_Handler, backlog=_BACKLOG)
    server.start()
    return server
