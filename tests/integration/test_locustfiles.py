"""The example locustfiles, each task run once against the demo shop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from locust import User
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from locust.runners import WorkerNode
from locust.util.load_locustfile import load_locustfile

import locust_otel
from locust_otel.demo.latency import WEBSHOP_MIX
from locust_otel.demo.shop import DEFAULT_PORT, ShopProcess, start

FOLDER = Path(__file__).parents[2] / "locustfiles"


@pytest.fixture(scope="module")
def running() -> Iterator[ShopProcess]:
    """One shop without service times for all tests."""
    with start(time_scale=0) as process:
        yield process


@pytest.fixture
def shop(running: ShopProcess) -> ShopProcess:
    """The shared shop, with no faults and all counts at 0."""
    running.clear_faults()
    running.reset_stats()
    return running


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Calls of `locust_otel.register`, which must not touch the tests' own process."""
    calls: list[str] = []
    monkeypatch.setattr(locust_otel, "register", lambda: calls.append("register"), raising=False)
    return calls


class Client:
    """One user of an example, its requests noted as Locust reports them."""

    def __init__(self, user_class: type[User], shop: ShopProcess) -> None:
        self.seen: list[tuple[str, str, str]] = []
        user_class.host = shop.url  # what `--host` does
        environment = Environment(user_classes=[user_class])
        environment.events.request.add_listener(self._note)
        self.user: Any = user_class(environment)
        self.user.on_start()

    def _note(self, request_type: str, name: str, exception: object, **_: object) -> None:
        self.seen.append((request_type, name, str(exception or "")))


def user_classes(name: str) -> dict[str, type[User]]:
    """Load an example as Locust does."""
    classes, _shapes = load_locustfile(str(FOLDER / name))
    return classes


def shop_counts(shop: ShopProcess) -> Counter[tuple[str, str]]:
    """Return the shop's own count by method and route."""
    total: Counter[tuple[str, str]] = Counter()
    for row in shop.stats()["requests"]:
        total[row["method"], row["route"]] += row["count"]
    return total


@pytest.mark.parametrize(
    ("name", "classes"), [("webshop.py", {"WebshopUser"}), ("mixed.py", {"APIConsumer", "AdminUser", "MobileUser"})]
)
def test_each_example_registers_once_and_finds_the_shop_by_itself(
    registered: list[str], name: str, classes: set[str]
) -> None:
    """Loading it calls `register()` once; its users go to the demo shop's default port."""
    loaded = user_classes(name)
    assert set(loaded) == classes
    assert registered == ["register"]
    assert {user.host for user in loaded.values()} == {f"http://127.0.0.1:{DEFAULT_PORT}"}


def test_a_shopper_does_every_task(registered: list[str], shop: ShopProcess) -> None:
    """Names, methods and failures are as documented, and the shop counted the same requests."""
    client = Client(user_classes("webshop.py")["WebshopUser"], shop)
    user = client.user
    for task in (user.browse_products, user.view_product, user.checkout, user.add_to_cart, user.checkout):
        task()
    user.items = 1  # so it believes
    user.checkout()
    assert client.seen == [
        ("POST", "/api/login", ""),
        ("GET", "/api/products", ""),
        ("GET", "/api/products/[id]", ""),
        ("POST", "/api/cart", ""),
        ("POST", "/api/orders", ""),
        ("POST", "/api/cart", ""),
        ("POST", "/api/orders", ""),
        ("POST", "/api/orders", "Cart was empty"),
    ]
    assert shop_counts(shop) == Counter((method, name) for method, name, _ in client.seen)


def test_another_status_at_checkout_is_a_failure_that_names_it(registered: list[str], shop: ShopProcess) -> None:
    """A 502 of the shop reads `Unexpected: 502`, also with something in the cart."""
    client = Client(user_classes("webshop.py")["WebshopUser"], shop)
    client.user.add_to_cart()
    shop.inject("errors", ratio=1, status=502, route="/api/orders")
    client.user.checkout()
    assert client.seen[-1] == ("POST", "/api/orders", "Unexpected: 502")


def test_a_shopper_logs_in_again_until_it_works(
    registered: list[str], shop: ShopProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that fails is repeated after a second, and the user then has a token."""
    shop.inject("errors", ratio=1, status=503, route="/api/login")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        shop.clear_faults()

    monkeypatch.setattr("time.sleep", pause)
    client = Client(user_classes("webshop.py")["WebshopUser"], shop)
    assert pauses == [1]
    assert [name for _, name, _ in client.seen] == ["/api/login", "/api/login"]
    client.user.browse_products()
    assert client.seen[-1] == ("GET", "/api/products", "")


def test_the_weights_of_a_shopper_are_the_documented_mix(registered: list[str]) -> None:
    """Tasks weigh 5 : 3 : 1 : 1, as in the capacity's mix, carry their tags, and wait 1 to 5 s."""
    user_class: Any = user_classes("webshop.py")["WebshopUser"]
    weights = Counter(task.__name__ for task in user_class.tasks)
    assert weights == {"browse_products": 5, "view_product": 3, "add_to_cart": 1, "checkout": 1}
    assert sorted(weights.values()) == sorted(WEBSHOP_MIX.values())
    tags = {task.__name__: task.locust_tag_set for task in user_class.tasks}
    assert tags == {
        "browse_products": {"browse"},
        "view_product": {"browse"},
        "add_to_cart": {"purchase"},
        "checkout": {"purchase"},
    }
    waits = [user_class.wait_time(None) for _ in range(500)]
    assert 1 <= min(waits) < 1.2
    assert 4.8 < max(waits) <= 5


def test_a_thousand_mixed_users_are_300_100_and_600(registered: list[str]) -> None:
    """Locust's own dispatcher makes exactly these numbers of the weights."""
    dispatcher = UsersDispatcher([WorkerNode("only")], list(user_classes("mixed.py").values()))
    dispatcher.new_dispatch(target_user_count=1000, spawn_rate=1000)
    *_, last = dispatcher
    assert last == {"only": {"APIConsumer": 300, "AdminUser": 100, "MobileUser": 600}}


def test_each_mixed_user_does_its_tasks(registered: list[str], shop: ShopProcess) -> None:
    """All requests succeed under names without query or date, and the shop counted the same ones."""
    classes = user_classes("mixed.py")
    clients = {name: Client(user_class, shop) for name, user_class in classes.items()}
    clients["APIConsumer"].user.fetch_data()
    clients["AdminUser"].user.dashboard()
    clients["AdminUser"].user.monthly_report()
    clients["MobileUser"].user.feed()
    seen = [line for client in clients.values() for line in client.seen]
    assert sorted(seen) == [
        ("GET", "/admin/dashboard", ""),
        ("GET", "/admin/reports/monthly", ""),
        ("GET", "/api/mobile/feed", ""),
        ("GET", "/api/v1/data", ""),
        ("POST", "/api/login", ""),
    ]
    assert shop_counts(shop) == Counter((method, name) for method, name, _ in seen)
    assert clients["MobileUser"].user.client.headers["User-Agent"].startswith("WebshopApp/")


def test_the_phone_asks_since_yesterday(
    registered: list[str], shop: ShopProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The date goes into the query as ISO 8601, not into the name."""
    client = Client(user_classes("mixed.py")["MobileUser"], shop)
    sent: list[tuple[Any, Any]] = []
    monkeypatch.setattr(client.user.client, "get", lambda url, **options: sent.append((url, options)))
    client.user.feed()
    [(url, options)] = sent
    assert (url, options["name"]) == ("/api/mobile/feed", "/api/mobile/feed")
    assert 0 <= (date.today() - date.fromisoformat(options["params"]["since"])).days <= 2  # noqa: DTZ011
