"""The demo shop as a process on loopback: exact counts, faults, queues, and the ways in which it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import requests

from locust_otel.demo.shop import ShopError, ShopProcess, start

COMMAND = [sys.executable, "-m", "locust_otel.demo.shop"]
KEY = {"X-API-Key": "demo-key"}


@pytest.fixture(scope="module")
def running() -> Iterator[ShopProcess]:
    """One shop without service times for all tests that can share it."""
    with start(time_scale=0) as process:
        yield process


@pytest.fixture
def shop(running: ShopProcess) -> ShopProcess:
    """The shared shop, with no faults and all counts at 0."""
    running.clear_faults()
    running.reset_stats()
    return running


def call(shop: ShopProcess, method: str, path: str, **options: Any) -> requests.Response:
    """Send one request on a connection of its own."""
    with requests.request(method, shop.url + path, timeout=10, **options) as response:
        return response


def counts(shop: ShopProcess) -> Counter[tuple[str, str, int]]:
    """Return the shop's own count by method, route and status."""
    rows = shop.stats()["requests"]
    return Counter({(row["method"], row["route"], row["status"]): row["count"] for row in rows})


def wait_until(claim: Callable[[], bool], timeout_s: float = 5) -> None:
    """Poll until the claim holds."""
    deadline_s = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_counts_are_exact_under_concurrency(shop: ShopProcess) -> None:
    """600 requests of 20 concurrent clients are all counted, with the statuses that the clients got."""
    plan = [("/api/products", 401), ("/api/mobile/feed", 400), ("/api/v1/data", 200), ("/nope", 404)]

    def client(number: int) -> list[int]:
        with requests.Session() as session:
            session.headers.update(KEY)
            urls = [shop.url + plan[(number + n) % 4][0] for n in range(30)]
            return [session.get(url, timeout=10).status_code for url in urls]

    with ThreadPoolExecutor(20) as pool:
        seen = Counter(status for statuses in pool.map(client, range(20)) for status in statuses)
    assert seen == {200: 150, 400: 150, 401: 150, 404: 150}
    stats = shop.stats()
    assert (stats["total"], stats["in_flight"], stats["refused"]) == (600, 0, 0)
    assert set(counts(shop).values()) == {150}
    assert {row["route"]: row["count"] for row in stats["routes"]} == {route: 150 for _, route, _ in counts(shop)}


def test_abandoned_requests_are_counted(shop: ShopProcess) -> None:
    """A request whose client has gone is in flight, and then counted."""
    shop.inject("latency", added_s=0.3)
    with socket.create_connection(("127.0.0.1", shop.port)) as connection:
        connection.sendall(b"GET /api/v1/data HTTP/1.1\r\nHost: shop\r\nX-API-Key: demo-key\r\n\r\n")
        wait_until(lambda: shop.stats()["in_flight"] == 1)
    assert shop.stats()["total"] == 0
    wait_until(lambda: shop.stats()["in_flight"] == 0)
    assert counts(shop) == {("GET", "/api/v1/data", 200): 1}


def test_the_shop_measures_its_own_latency(shop: ShopProcess) -> None:
    """An added delay is in sum and maximum, and not in the service time."""
    shop.inject("latency", added_s=0.1)
    for _ in range(2):
        assert call(shop, "GET", "/api/v1/data", headers=KEY).status_code == 200
    [row] = shop.stats()["routes"]
    assert (row["route"], row["count"], row["service_s"]) == ("/api/v1/data", 2, 0)
    assert 0.2 <= row["sum_s"] < 1
    assert 0.1 <= row["max_s"] <= row["sum_s"] - 0.1 + 1e-9


def test_refuse_closes_connections_but_keeps_control_routes(shop: ShopProcess) -> None:
    """Clients get a connection error, the shop counts it apart, and the end of the fault ends it."""
    shop.inject("refuse")
    for path in ("/api/v1/data", "/healthz"):
        with pytest.raises(requests.ConnectionError):
            call(shop, "GET", path, headers=KEY)
    with pytest.raises(requests.ConnectionError):
        call(shop, "POST", "/api/login", json={"username": "shopper", "password": "locust"})
    assert (shop.stats()["total"], shop.stats()["refused"]) == (0, 3)
    shop.clear_faults()
    assert call(shop, "GET", "/api/v1/data", headers=KEY).status_code == 200


def test_stall_stops_everything_for_its_duration(shop: ShopProcess) -> None:
    """Of a client that sends all the time, one request per period waits for most of the stall."""
    shop.inject("stall", period_s=0.6, duration_s=0.3)
    slow = 0
    end_s = time.monotonic() + 1.7
    with requests.Session() as session:
        while time.monotonic() < end_s:
            started_s = time.monotonic()
            session.get(shop.url + "/api/v1/data", headers=KEY, timeout=10)
            slow += time.monotonic() - started_s > 0.2
    assert slow == 2


def test_a_full_queue_ends_in_503() -> None:
    """One worker that is busy for 0.6 s serves one of three requests; the others are a 503 after 0.1 s."""
    fault = "slow-endpoint:route=/api/v1/data,added_s=0.6"
    with start(workers=1, queue_timeout=0.1, faults=[fault]) as shop:
        with ThreadPoolExecutor(3) as pool:
            got = pool.map(lambda _: call(shop, "GET", "/api/v1/data", headers=KEY).status_code, range(3))
            assert sorted(got) == [200, 503, 503]
        assert counts(shop) == {("GET", "/api/v1/data", 200): 1, ("GET", "/api/v1/data", 503): 2}


def test_pool_cliff_serialises_the_database_until_cleared() -> None:
    """On one connection, six database visits of 0.12 s wait for each other; without the fault they do not."""
    with start(time_scale=40, workers=8) as shop:  # /api/v1/data: 0.2 s, then 0.12 s on a connection

        def longest() -> float:
            shop.reset_stats()
            with ThreadPoolExecutor(6) as pool:
                list(pool.map(lambda _: call(shop, "GET", "/api/v1/data", headers=KEY), range(6)))
            [row] = shop.stats()["routes"]
            assert row["count"] == 6
            return float(row["max_s"])

        shop.inject("pool-cliff")
        assert longest() > 0.75
        shop.clear_faults()
        assert longest() < 0.75


def test_the_same_seed_takes_the_same_service_times() -> None:
    """The sum of service times of five requests is the same for the same seed, and positive."""

    def service_s(seed: int) -> float:
        with start(seed=seed, time_scale=0.1) as shop:
            for _ in range(5):
                call(shop, "GET", "/api/v1/data", headers=KEY)
            return float(shop.stats()["routes"][0]["service_s"])

    first = service_s(3)
    assert 0 < first == service_s(3) != service_s(4)


def test_faults_and_port_come_by_flag() -> None:
    """A fault given to `start` is active from the first request."""
    with start(faults=["errors:ratio=1,status=503", "latency:added_s=0"], time_scale=0) as shop:
        assert call(shop, "GET", "/api/v1/data", headers=KEY).status_code == 503
        assert [row["name"] for row in shop.faults()["active"]] == ["errors", "latency"]


def test_start_raises_when_the_shop_cannot_run(running: ShopProcess, capfd: pytest.CaptureFixture[str]) -> None:
    """A taken port and a wrong fault end the process with 78, with the reason on standard error."""
    with pytest.raises(ShopError, match=f"port {running.port} \\(exit code 78\\)"):
        start(port=running.port)
    assert "Address already in use" in capfd.readouterr().err
    with pytest.raises(ShopError, match="exit code 78"):
        start(faults=["nope"])
    assert "(fault-name)" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_in_the_middle_of_a_request(number: signal.Signals) -> None:
    """Exit code 0, one line on standard output, nothing on standard error."""
    command = [*COMMAND, "--port", "0", "--fault", "latency:added_s=30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert re.fullmatch(r"demo shop on http://127\.0\.0\.1:\d+\n", line)
        port = int(line.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /api/v1/data HTTP/1.1\r\nHost: shop\r\n\r\n")
            url = f"http://127.0.0.1:{port}/_stats"
            wait_until(lambda: requests.get(url, timeout=5).json()["in_flight"] == 1)
            process.send_signal(number)
            out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_it_ends_when_its_parent_is_gone() -> None:
    """The shop ends after a parent that was killed."""
    code = "import os; from locust_otel.demo.shop import start; print(start().pid, flush=True); os._exit(1)"
    pid = int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False).stdout)
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_it_listens_on_loopback_only(running: ShopProcess) -> None:
    """Its one listening socket is bound to 127.0.0.1."""
    sockets = psutil.Process(running.pid).net_connections(kind="inet")
    assert {tuple(s.laddr) for s in sockets if s.status == psutil.CONN_LISTEN} == {("127.0.0.1", running.port)}


def test_importing_it_loads_no_gevent() -> None:
    """`start` loads neither gevent nor Locust."""
    code = "import sys, locust_otel.demo.shop; print(sorted({'gevent', 'locust'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], env=dict(os.environ)).strip() == b"[]"
