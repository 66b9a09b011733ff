"""Tests of the state, users and workers of runners, with Locust's own classes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from locust import User
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from locust.runners import (
    STATE_CLEANUP,
    STATE_INIT,
    STATE_MISSING,
    STATE_RUNNING,
    STATE_SPAWNING,
    STATE_STOPPED,
    STATE_STOPPING,
    WorkerNode,
)

from locust_otel.core.catalogue import RUN_STATES, WORKER_STATES
from locust_otel.plugin.runners import KnownWorkers, state, users, users_target, without_credentials, worker_name
from tests.unit.processes import FakeRunner


def classes(**weights: int | tuple[int, int]) -> list[type[User]]:
    """Return user classes by name and weight, or weight and fixed count."""
    user_classes = []
    for name, weight in weights.items():
        attributes = {"weight": weight} if isinstance(weight, int) else {"weight": weight[0], "fixed_count": weight[1]}
        user_classes.append(type(name, (User,), {**attributes, "tasks": []}))
    return user_classes


def runner(user_classes: list[type[User]], total: int, settled: dict[str, int] | None = None) -> Any:
    """Return a runner with this target."""
    return SimpleNamespace(user_classes=user_classes, target_user_count=total, target_user_classes_count=settled or {})


@pytest.mark.parametrize(
    ("of_locust", "ours"),
    [
        (STATE_INIT, "spawning"), (STATE_SPAWNING, "spawning"), (STATE_RUNNING, "running"), (STATE_CLEANUP, "stopping"),
        (STATE_STOPPING, "stopping"), (STATE_STOPPED, "stopped"), ("state of a later version", "running"),
    ],
)  # fmt: skip
def test_states(of_locust: str, ours: str) -> None:
    """Each state of Locust becomes one of the catalogue."""
    assert state(SimpleNamespace(state=of_locust)) == ours
    assert ours in RUN_STATES


def test_without_a_runner() -> None:
    """`run_single_user` has no runner: it is running, and its users are unknown."""
    assert (state(None), users(None), users_target(None)) == ("running", {}, {})


def test_users_of_a_local_runner() -> None:
    """Running users are counted by class; a class without users has 0."""
    environment = Environment(user_classes=classes(Shopper=1, Admin=1))
    local = environment.create_local_runner()
    try:
        assert users(local) == users_target(local) == {"Shopper": 0, "Admin": 0}
    finally:
        local.quit()
    busy = SimpleNamespace(user_classes=classes(Shopper=1, Admin=1), user_classes_count={"Admin": 3})
    assert users(busy) == {"Shopper": 0, "Admin": 3}


def test_users_of_a_master() -> None:
    """The users of a master are those that its workers report."""
    master = SimpleNamespace(
        user_classes=classes(Shopper=1, Admin=1), clients={}, reported_user_classes_count={"Shopper": 12}
    )
    assert users(master) == {"Shopper": 12, "Admin": 0}


@pytest.mark.parametrize(
    ("total", "settled", "target"),
    [
        (1_000, {}, {"A": 300, "B": 100, "C": 600}),  # not yet known: split by weight
        (3, {"A": 1, "C": 2}, {"A": 1, "B": 0, "C": 2}),
        (10, {"A": 1, "C": 2}, {"A": 3, "B": 1, "C": 6}),  # of a lower target before
        (0, {"A": 0, "B": 0, "C": 0}, {"A": 0, "B": 0, "C": 0}),
    ],
)
def test_target(total: int, settled: dict[str, int], target: dict[str, int]) -> None:
    """The target is split by weight until all users are spawned; then it is Locust's."""
    assert users_target(runner(classes(A=3, B=1, C=6), total, settled)) == target


_WEIGHTS: dict[str, dict[str, int | tuple[int, int]]] = {
    "one": {"A": 1}, "equal": {"A": 1, "B": 1, "C": 1}, "3 1 6": {"A": 3, "B": 1, "C": 6}, "skewed": {"A": 100, "B": 1},
    "fixed": {"A": (1, 5), "B": 2, "C": 3}, "fixed twice": {"A": (1, 5), "B": (9, 2), "C": 1},
    "fixed only": {"A": (1, 5), "B": (1, 3)},
}  # fmt: skip


@pytest.mark.parametrize("name", _WEIGHTS)
@pytest.mark.parametrize("total", [0, 1, 2, 3, 7, 10, 100, 999])
def test_target_is_what_locust_will_spawn(name: str, total: int) -> None:
    """The split differs from that of Locust's dispatcher by at most one user a class, and has the same sum."""
    user_classes = classes(**_WEIGHTS[name])
    if name == "fixed only":
        total = min(total, 8)  # Locust's dispatcher would wait a second for further users
    dispatcher = UsersDispatcher([WorkerNode("host_1")], user_classes)
    dispatcher.new_dispatch(target_user_count=total, spawn_rate=10_000)
    last: dict[str, dict[str, int]] = {}
    for spawning in dispatcher:
        last = spawning
    spawned = dict.fromkeys(_WEIGHTS[name], 0) | last.get("host_1", {})
    found = users_target(runner(user_classes, total))
    assert found.keys() == spawned.keys()
    assert sum(found.values()) == sum(spawned.values())
    for user_class in user_classes:
        difference = abs(found[user_class.__name__] - spawned[user_class.__name__])
        assert difference <= (0 if user_class.fixed_count and total > 7 else 1), (found, spawned)


# --------------------------------------------------------------------------------------------------------- workers


def master_of(*client_ids: str) -> FakeRunner:
    """Return a master with these workers."""
    master = FakeRunner(is_master=True)
    for client_id in client_ids:
        master.add_worker(client_id, STATE_INIT)
    return master


def test_workers_by_state() -> None:
    """Workers are counted by state; the expected ones are those asked for, or more if more have come."""
    master = master_of("h_1", "h_2", "h_3")
    workers = KnownWorkers(master, asked_for=4)
    master.clients["h_1"].state = STATE_RUNNING
    master.clients["h_2"].state = STATE_MISSING
    workers.update()
    assert workers.states == {"running": 1, "ready": 1, "missing": 1}
    assert workers.expected == 4
    assert KnownWorkers(master_of("h_1", "h_2", "h_3"), asked_for=2).expected == 3
    assert set(workers.states) <= set(WORKER_STATES)


def test_a_forgotten_worker_stays_missing() -> None:
    """Locust forgets a missing worker after a minute; here it stays missing until it returns."""
    master = master_of("h_1", "h_2")
    workers = KnownWorkers(master, asked_for=0)
    master.clients["h_2"].state = STATE_MISSING
    workers.update()
    del master.clients["h_2"]
    workers.update()
    assert (workers.states, workers.expected) == ({"ready": 1, "missing": 1}, 2)
    master.add_worker("h_2", STATE_RUNNING)
    workers.update()
    assert (workers.states, workers.expected) == ({"ready": 1, "running": 1, "missing": 0}, 2)


def test_a_worker_that_quits_is_not_expected() -> None:
    """It is not missing either."""
    master = master_of("h_1", "h_2")
    workers = KnownWorkers(master, asked_for=1)
    workers.update()
    del master.clients["h_2"]
    workers.update()
    assert (workers.states["missing"], workers.expected) == (0, 1)


def test_a_new_run_expects_the_connected_workers() -> None:
    """Workers that were lost before are not expected any more; one that Locust still lists stays missing."""
    master = master_of("h_1", "h_2", "h_3")
    workers = KnownWorkers(master, asked_for=0)
    for client_id in ("h_2", "h_3"):
        master.clients[client_id].state = STATE_MISSING
    workers.update()
    del master.clients["h_2"]
    assert workers.states["missing"] == 2
    workers.forget_lost()
    assert (workers.states["missing"], workers.expected) == (1, 2)


def test_names_of_workers() -> None:
    """A name is the host and Locust's index, without the uuid of the client id; missing workers have none."""
    master = master_of("shop_host_1f3a", "other_77")
    workers = KnownWorkers(master, asked_for=0)
    assert workers.names() == {"shop_host_1f3a": "shop_host-0", "other_77": "other-1"}
    master.clients["other_77"].state = STATE_MISSING
    assert workers.names() == {"shop_host_1f3a": "shop_host-0"}
    assert worker_name("my_host_0123456789abcdef0123456789abcdef", 7) == "my_host-7"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://shop", "http://shop"),
        ("https://user:pw@shop:8443/a?b=c#d", "https://shop:8443/a?b=c#d"),
        ("http://user@shop/", "http://shop/"),
        ("http://u:p@w@shop/", "http://shop/"),
        ("amqp://u:p@[::1]:5672", "amqp://[::1]:5672"),
        ("http://shop/a@b", "http://shop/a@b"),
        ("", ""),
        ("shop", "shop"),
        ("http://[broken", ""),
        ("//u:p@shop/x", "//shop/x"),
        ("http://u:p@[broken", ""),
    ],
)
def test_without_credentials(url: str, shown: str) -> None:
    """User name and password are removed, and the rest stays; an invalid URL is not shown."""
    assert without_credentials(url) == shown
