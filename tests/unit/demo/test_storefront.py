"""Tests of the answers of the demo shop: sessions, carts, pages and their errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from locust_otel.demo.latency import SERVICES
from locust_otel.demo.storefront import ShopRequest, Storefront, template_of


@pytest.fixture
def storefront() -> Storefront:
    """Make a storefront."""
    return Storefront(seed=1)


def log_in(storefront: Storefront) -> str:
    """Return the header of a new session."""
    body = b'{"username": "shopper", "password": "locust"}'
    token = json.loads(storefront.answer("/api/login", ShopRequest(body=body)).body)["token"]
    return f"Bearer {token}"


def call(storefront: Storefront, path: str, authorization: str, document: Any = None, **more: str) -> tuple[int, Any]:
    """Return status and JSON of an answer."""
    (route, item), body = template_of(path.partition("?")[0]), json.dumps(document).encode()
    request = ShopRequest(item, path.partition("?")[2], authorization, body=body, **more)
    answer = storefront.answer(route, request)
    assert answer.content_type == "application/json"
    return answer.status, json.loads(answer.body)


def test_a_shopper_orders_the_cart_once(storefront: Storefront) -> None:
    """The order empties the cart of its session, so a second one is a 409; another session has its own cart."""
    mine, other = log_in(storefront), log_in(storefront)
    assert call(storefront, "/api/cart", mine, {"product_id": 7, "quantity": 2}) == (200, {"items": 2})
    assert call(storefront, "/api/cart", mine, {"product_id": 8}) == (200, {"items": 3})
    assert call(storefront, "/api/orders", other)[0] == 409
    assert call(storefront, "/api/orders", mine) == (201, {"ordered": 3})
    assert call(storefront, "/api/orders", mine)[0] == 409


@pytest.mark.parametrize("route", sorted(SERVICES.keys() - {"/api/login", "/api/mobile/feed"}))
@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer made-up", "api_key": "wrong"}], ids=["none", "wrong"]
)
def test_without_credentials_the_answer_is_401(storefront: Storefront, route: str, headers: dict[str, Any]) -> None:
    """No token, a wrong token and a wrong API key are refused."""
    assert storefront.answer(route, ShopRequest(**headers)).status == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"username": "shopper", "password": "wrong"}', 401),
        (b'{"password": "locust"}', 401),
        (b"not json", 400),
        (b"[]", 400),
    ],
)
def test_logins_that_are_refused(storefront: Storefront, body: bytes, status: int) -> None:
    """A login is a JSON object with a name and the password."""
    assert storefront.answer("/api/login", ShopRequest(body=body)).status == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/products", 200),
        ("/api/products/1", 200),
        ("/api/products/1000", 200),
        ("/api/products/0", 404),
        ("/api/products/1001", 404),
        ("/api/products/x", 404),
        ("/api/v1/data", 200),
        ("/admin/dashboard", 200),
        ("/admin/reports/monthly", 400),
        ("/api/mobile/feed?since=2026-01-31", 200),
        ("/api/mobile/feed?since=31.01.2026", 400),
        ("/api/mobile/feed", 400),
    ],
)
def test_pages(storefront: Storefront, path: str, status: int) -> None:
    """Each page answers with its status; an error says what is wrong."""
    answer = call(storefront, path, log_in(storefront), api_key="demo-key")
    assert answer[0] == status
    assert ("error" in answer[1]) == (status >= 400)


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"product_id": 1, "quantity": 0}, 400),
        ({"product_id": "1", "quantity": 1}, 400),
        ([], 400),
        ({"product_id": 1001, "quantity": 1}, 404),
    ],
)
def test_the_cart_takes_existing_products_only(storefront: Storefront, document: object, status: int) -> None:
    """Wrong types and quantities are 400, unknown products 404."""
    assert call(storefront, "/api/cart", log_in(storefront), document)[0] == status


def test_the_monthly_report_is_a_large_csv(storefront: Storefront) -> None:
    """It has a line for thirty days of fifty products, and a header."""
    request = ShopRequest(query="format=csv", authorization=log_in(storefront))
    report = storefront.answer("/admin/reports/monthly", request)
    assert report.content_type == "text/csv"
    lines = report.body.decode().splitlines()
    assert lines[:2] == ["day,product_id,orders,revenue_cents", "1,1,1,37"]
    assert len(lines) == 1501


def test_the_seed_determines_the_tokens() -> None:
    """The same seed has the same tokens, and another one has others."""
    first, same, other = (log_in(Storefront(seed)) for seed in (1, 1, 2))
    assert first == same != other
