"""What the demo shop answers: its routes, sessions and carts. No time passes here and no socket is open."""

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
"""Product ids go from 1 to this number."""

_PRODUCT_PATH = "/api/products/"
_PRODUCT_ROUTE = "/api/products/[id]"


@dataclass(frozen=True, slots=True)
class ShopRequest:
    """One request to a known route.

    Attributes:
        item: The product id of the path, as text; empty on other routes.
        query: The query string, without the question mark.
        authorization: The header of that name, empty without.
        api_key: The header `X-API-Key`, empty without.
        body: The whole body.
    """

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


def json_answer(status: int, document: object) -> ShopAnswer:
    """Return an answer with a JSON body."""
    return ShopAnswer(status, json.dumps(document).encode())


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


class Storefront:
    """Sessions, carts and pages.

    Args:
        seed: The session tokens follow from it.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}:tokens")  # noqa: S311  # reproducible; nothing here is worth stealing
        self._carts: dict[str, dict[int, int]] = {}
        self._products = json_answer(200, {"products": [_product(n) for n in range(1, 21)], "total": PRODUCTS})
        self._data = json_answer(200, {"data": [{"id": n, "value": n * n} for n in range(10)]})
        self._dashboard = json_answer(200, {"orders_today": 128, "revenue_cents": 734_200, "visitors": 5_310})
        self._csv = ShopAnswer(200, _report(), "text/csv")
        self._pages: Mapping[str, Callable[[ShopRequest], ShopAnswer]] = {
            "/api/login": self._login,
            "/api/products": self._with_token(lambda _request: self._products),
            _PRODUCT_ROUTE: self._with_token(self._detail),
            "/api/cart": self._with_token(self._add_to_cart),
            "/api/orders": self._with_token(self._order),
            "/api/v1/data": self._api_data,
            "/admin/dashboard": self._with_token(lambda _request: self._dashboard),
            "/admin/reports/monthly": self._with_token(self._monthly),
            "/api/mobile/feed": self._feed,
        }

    def answer(self, route: str, request: ShopRequest) -> ShopAnswer:
        """Return the answer of a route.

        Raises:
            KeyError: The route is not in `latency.SERVICES`.
        """
        return self._pages[route](request)

    def _with_token(self, page: Callable[[ShopRequest], ShopAnswer]) -> Callable[[ShopRequest], ShopAnswer]:
        def guarded(request: ShopRequest) -> ShopAnswer:
            if _token(request) not in self._carts:
                return json_answer(401, {"error": "log in at POST /api/login and send the bearer token"})
            return page(request)

        return guarded

    def _login(self, request: ShopRequest) -> ShopAnswer:
        body = _fields(request)
        if body is None:
            return _not_json()
        if not body.get("username") or body.get("password") != PASSWORD:
            return json_answer(401, {"error": "wrong username or password"})
        token = f"{self._rng.getrandbits(128):032x}"
        self._carts[token] = {}
        return json_answer(200, {"token": token})

    def _detail(self, request: ShopRequest) -> ShopAnswer:
        number = int(request.item) if request.item.isdecimal() and len(request.item) < 10 else 0
        if not 1 <= number <= PRODUCTS:
            return _no_product()
        return json_answer(200, _product(number))

    def _add_to_cart(self, request: ShopRequest) -> ShopAnswer:
        body = _fields(request)
        if body is None:
            return _not_json()
        product_id, quantity = body.get("product_id"), body.get("quantity", 1)
        if not isinstance(product_id, int) or not isinstance(quantity, int) or quantity < 1:
            return json_answer(400, {"error": "product_id and quantity must be whole numbers, quantity above 0"})
        if not 1 <= product_id <= PRODUCTS:
            return _no_product()
        cart = self._carts[_token(request)]
        cart[product_id] = cart.get(product_id, 0) + quantity
        return json_answer(200, {"items": sum(cart.values())})

    def _order(self, request: ShopRequest) -> ShopAnswer:
        cart = self._carts[_token(request)]
        if not cart:
            return json_answer(409, {"error": "the cart is empty"})
        items = sum(cart.values())
        cart.clear()
        return json_answer(201, {"ordered": items})

    def _api_data(self, request: ShopRequest) -> ShopAnswer:
        if request.api_key != API_KEY:
            return json_answer(401, {"error": "send a valid X-API-Key"})
        return self._data

    def _monthly(self, request: ShopRequest) -> ShopAnswer:
        if parse_qs(request.query).get("format") != ["csv"]:
            return json_answer(400, {"error": "the report comes as format=csv"})
        return self._csv

    def _feed(self, request: ShopRequest) -> ShopAnswer:
        try:
            since = date.fromisoformat(parse_qs(request.query).get("since", [""])[0])
        except ValueError:
            return json_answer(400, {"error": "since must be a date, such as 2026-01-31"})
        return json_answer(200, {"since": since.isoformat(), "items": [_product(n) for n in range(1, 6)]})


def _token(request: ShopRequest) -> str:
    return request.authorization.removeprefix("Bearer ")


def _fields(request: ShopRequest) -> dict[str, object] | None:
    try:
        document = json.loads(request.body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _not_json() -> ShopAnswer:
    return json_answer(400, {"error": "the body must be a JSON object"})


def _no_product() -> ShopAnswer:
    return json_answer(404, {"error": f"products are numbered from 1 to {PRODUCTS}"})
