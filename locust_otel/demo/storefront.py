"""The answers of the demo shop: its routes, sessions and carts, without time and sockets."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from urllib.parse import parse_qs

PASSWORD = "locust"  # noqa: S105  # the demo's only one, for every user name
API_KEY = "demo-key"
PRODUCTS = 1000
"""Product ids are 1 to this number."""

_PRODUCT_PATH = "/api/products/"
_PRODUCT_ROUTE = "/api/products/[id]"


@dataclass(frozen=True, slots=True)
class ShopRequest:
    """One request to a known route; `item` is the product id of the path as text, empty on other routes."""

    item: str = ""
    query: str = ""
    authorization: str = ""
    api_key: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class ShopAnswer:
    """Status, body and content type of one response."""

    status: int
    body: bytes
    content_type: str = "application/json"


_Page = Callable[[ShopRequest], ShopAnswer]


def json_answer(status: int, document: object) -> ShopAnswer:
    """Return an answer with a JSON body."""
    return ShopAnswer(status, json.dumps(document).encode())


def error_answer(status: int, error: str, **more: str) -> ShopAnswer:
    """Return an answer with the error in a JSON body."""
    return json_answer(status, {"error": error, **more})


def json_object(body: bytes) -> dict[str, object] | None:
    """Return the JSON object of a request's body; None for other bodies."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def template_of(path: str) -> tuple[str, str]:
    """Return the route template of a path and its product id, which is empty on other routes."""
    if path.startswith(_PRODUCT_PATH):
        return _PRODUCT_ROUTE, path.removeprefix(_PRODUCT_PATH)
    return path, ""


def _product(number: int) -> dict[str, object]:
    return {"id": number, "name": f"Product {number}", "price_cents": 500 + number * 37 % 9500}


def _report() -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["day", "product_id", "orders", "revenue_cents"])
    writer.writerows((day, item, day * item % 17, day * item * 37) for day in range(1, 31) for item in range(1, 51))
    return text.getvalue().encode()


_NOT_JSON = error_answer(400, "the body must be a JSON object")
_NO_PRODUCT = error_answer(404, f"products are numbered from 1 to {PRODUCTS}")
_NO_TOKEN = error_answer(401, "log in at POST /api/login and send the bearer token")


class Storefront:
    """Sessions, carts and pages; the seed determines the session tokens."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}:tokens")  # noqa: S311  # reproducible; they protect nothing
        self._carts: dict[str, dict[int, int]] = {}
        products = json_answer(200, {"products": [_product(n) for n in range(1, 21)], "total": PRODUCTS})
        dashboard = json_answer(200, {"orders_today": 128, "revenue_cents": 734_200, "visitors": 5_310})
        self._data = json_answer(200, {"data": [{"id": n, "value": n * n} for n in range(10)]})
        self._csv = ShopAnswer(200, _report(), "text/csv")
        self._open_pages: Mapping[str, _Page] = {
            "/api/login": self._login,
            "/api/v1/data": self._api_data,
            "/api/mobile/feed": self._feed,
        }
        self._pages_with_token: Mapping[str, _Page] = {
            "/api/products": lambda _request: products,
            _PRODUCT_ROUTE: self._detail,
            "/api/cart": self._add_to_cart,
            "/api/orders": self._order,
            "/admin/dashboard": lambda _request: dashboard,
            "/admin/reports/monthly": self._monthly,
        }

    def answer(self, route: str, request: ShopRequest) -> ShopAnswer:
        """Return the answer of a route of `latency.SERVICES`."""
        if route in self._open_pages:
            return self._open_pages[route](request)
        if _token(request) not in self._carts:
            return _NO_TOKEN
        return self._pages_with_token[route](request)

    def _login(self, request: ShopRequest) -> ShopAnswer:
        body = json_object(request.body)
        if body is None:
            return _NOT_JSON
        if not body.get("username") or body.get("password") != PASSWORD:
            return error_answer(401, "wrong username or password")
        token = f"{self._rng.getrandbits(128):032x}"
        self._carts[token] = {}
        return json_answer(200, {"token": token})

    def _detail(self, request: ShopRequest) -> ShopAnswer:
        number = int(request.item) if request.item.isdecimal() and len(request.item) < 10 else 0
        if not 1 <= number <= PRODUCTS:
            return _NO_PRODUCT
        return json_answer(200, _product(number))

    def _add_to_cart(self, request: ShopRequest) -> ShopAnswer:
        body = json_object(request.body)
        if body is None:
            return _NOT_JSON
        product_id, quantity = body.get("product_id"), body.get("quantity", 1)
        if not isinstance(product_id, int) or not isinstance(quantity, int) or quantity < 1:
            return error_answer(400, "product_id and quantity must be whole numbers, quantity above 0")
        if not 1 <= product_id <= PRODUCTS:
            return _NO_PRODUCT
        cart = self._carts[_token(request)]
        cart[product_id] = cart.get(product_id, 0) + quantity
        return json_answer(200, {"items": sum(cart.values())})

    def _order(self, request: ShopRequest) -> ShopAnswer:
        cart = self._carts[_token(request)]
        if not cart:
            return error_answer(409, "the cart is empty")
        items = sum(cart.values())
        cart.clear()
        return json_answer(201, {"ordered": items})

    def _api_data(self, request: ShopRequest) -> ShopAnswer:
        if request.api_key != API_KEY:
            return error_answer(401, "send a valid X-API-Key")
        return self._data

    def _monthly(self, request: ShopRequest) -> ShopAnswer:
        if parse_qs(request.query).get("format") != ["csv"]:
            return error_answer(400, "the report comes as format=csv")
        return self._csv

    def _feed(self, request: ShopRequest) -> ShopAnswer:
        try:
            since = date.fromisoformat(parse_qs(request.query).get("since", [""])[0])
        except ValueError:
            return error_answer(400, "since must be a date, such as 2026-01-31")
        return json_answer(200, {"since": since.isoformat(), "items": [_product(n) for n in range(1, 6)]})


def _token(request: ShopRequest) -> str:
    return request.authorization.removeprefix("Bearer ")
