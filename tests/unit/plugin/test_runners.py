"""Tests of what is read from Locust's runners, against Locust's own classes."""

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
    WorkerNodes,
)

from locust_otel.core.catalogue import RUN_STATES, WORKER_STATES
from locust_otel.plugin.runners import KnownWorkers, state, users, users_target, without_credentials, worker_name


def classes(**weights: int | tuple[int, int]) -> list[type[User]]:
    """Make user classes by name and weight, or weight and fixed count."""
    made = []
    for name, weight in weights.items():
        attributes = {"weight": weight} if isinstance(weight, int) else {"weight": weight[0], "fixed_count": weight[1]}
        made.append(type(name, (User,), {**attributes, "tasks": []}))
    return made


def runner(user_classes: list[type[User]], total: int, settled: dict[str, int] | None = None) -> Any:
    """Return a runner that is asked for this many users."""
    return SimpleNamespace(user_classes=user_classes, target_user_count=total, target_user_classes_count=settled or {})


@pytest.mark.parametrize(
    ("of_locust", "ours"),
    [
        (STATE_INIT, "spawning"), (STATE_SPAWNING, "spawning"), (STATE_RUNNING, "running"), (STATE_CLEANUP, "stopping"),
        (STATE_STOPPING, "stopping"), (STATE_STOPPED, "stopped"), ("news of a later version", "running"),
    ],
)  # fmt: skip
def test_states(of_locust: str, ours: str) -> None:
    """Each state of Locust's is one of the catalogue."""
    assert state(SimpleNamespace(state=of_locust)) == ours
    assert ours in RUN_STATES


def test_without_a_runner() -> None:
    """`run_single_user` has no runner: it runs, and nothing is known of users."""
    assert (state(None), users(None), users_target(None)) == ("running", {}, {})


def test_users_of_a_local_runner() -> None:
    """Running users are counted by class, and a class without any is there at 0."""
    environment = Environment(user_classes=classes(Shopper=1, Admin=1))
    local = environment.create_local_runner()
    try:
        assert users(local) == {"Shopper": 0, "Admin": 0}
        assert users_target(local) == {"Shopper": 0, "Admin": 0}
    finally:
        local.quit()


def test_users_of_a_master() -> None:
    """The users of a master are those its workers report."""
    master = SimpleNamespace(
        user_classes=classes(Shopper=1, Admin=1), clients={}, reported_user_classes_count={"Shopper": 12}
    )
    assert users(master) == {"Shopper": 12, "Admin": 0}
    alone = SimpleNamespace(user_classes=classes(Shopper=1, Admin=1), user_classes_count={"Admin": 3})
    assert users(alone) == {"Shopper": 0, "Admin": 3}


def test_target_while_spawning() -> None:
    """Until Locust has settled the number asked for is split by weight."""
    assert users_target(runner(classes(A=3, B=1, C=6), 1_000)) == {"A": 300, "B": 100, "C": 600}


def test_target_once_settled() -> None:
    """Once all are spawned the target is what Locust says, and a class without users is there at 0."""
    user_classes = classes(A=3, B=1, C=6)
    assert users_target(runner(user_classes, 3, {"A": 1, "C": 2})) == {"A": 1, "B": 0, "C": 2}
    # Asked for more since: the number known is that of before.
    assert users_target(runner(user_classes, 10, {"A": 1, "C": 2})) == {"A": 3, "B": 1, "C": 6}
    assert users_target(runner(user_classes, 0, {"A": 0, "B": 0, "C": 0})) == {"A": 0, "B": 0, "C": 0}


_WEIGHTS: dict[str, dict[str, int | tuple[int, int]]] = {
    "one": {"A": 1}, "equal": {"A": 1, "B": 1, "C": 1}, "3 1 6": {"A": 3, "B": 1, "C": 6}, "skewed": {"A": 100, "B": 1},
    "fixed": {"A": (1, 5), "B": 2, "C": 3}, "fixed twice": {"A": (1, 5), "B": (9, 2), "C": 1},
    "fixed only": {"A": (1, 5), "B": (1, 3)},
}  # fmt: skip


@pytest.mark.parametrize("name", _WEIGHTS)
@pytest.mark.parametrize("total", [0, 1, 2, 3, 7, 10, 100, 999])
def test_target_is_what_locust_will_spawn(name: str, total: int) -> None:
    """The split is that of Locust's own dispatcher, but for one user a class, and sums to the number asked for."""
    user_classes = classes(**_WEIGHTS[name])
    if name == "fixed only":
        total = min(total, 8)  # Locust's dispatcher would wait a second for users that no class provides
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


class Master:
    """What is read of a master, with Locust's own list of workers."""

    def __init__(self, *client_ids: str) -> None:
        self.clients = WorkerNodes()
        for client_id in client_ids:
            self.join(client_id)

    def join(self, client_id: str, node_state: str = STATE_INIT) -> None:
        """Have a worker join."""
        self.clients[client_id] = WorkerNode(client_id, state=node_state)

    def get_worker_index(self, client_id: str) -> int:
        """Return the place of a worker, as Locust counts."""
        return list(self.clients).index(client_id)


def test_workers_by_state() -> None:
    """Workers are counted by their state, the missing ones apart."""
    master = Master("h_1", "h_2", "h_3")
    workers = KnownWorkers(master, asked_for=4)
    master.clients["h_1"].state = STATE_RUNNING
    master.clients["h_2"].state = STATE_MISSING
    workers.update()
    assert workers.states == {"running": 1, "ready": 1, "missing": 1}
    assert workers.expected == 4
    assert set(workers.states) <= set(WORKER_STATES)


def test_a_forgotten_worker_stays_missing() -> None:
    """Locust forgets a missing worker after a minute; here it stays missing until it returns."""
    master = Master("h_1", "h_2")
    workers = KnownWorkers(master, asked_for=0)
    master.clients["h_2"].state = STATE_MISSING
    workers.update()
    del master.clients["h_2"]
    workers.update()
    assert (workers.states, workers.expected) == ({"ready": 1, "missing": 1}, 2)
    master.join("h_2", STATE_RUNNING)
    workers.update()
    assert (workers.states, workers.expected) == ({"ready": 1, "running": 1, "missing": 0}, 2)


def test_a_worker_that_left_in_order_is_not_expected() -> None:
    """One that says goodbye is neither missing nor expected."""
    master = Master("h_1", "h_2")
    workers = KnownWorkers(master, asked_for=1)
    workers.update()
    del master.clients["h_2"]
    workers.update()
    assert (workers.states["missing"], workers.expected) == (0, 1)


def test_a_new_run_expects_who_is_there() -> None:
    """Those lost in an earlier run are forgotten; one that is still missing is missing."""
    master = Master("h_1", "h_2", "h_3")
    workers = KnownWorkers(master, asked_for=0)
    for client_id in ("h_2", "h_3"):
        master.clients[client_id].state = STATE_MISSING
    workers.update()
    del master.clients["h_2"]
    assert workers.states["missing"] == 2
    workers.forget_lost()
    assert (workers.states["missing"], workers.expected) == (1, 2)


def test_more_workers_than_asked_for() -> None:
    """Where more came than were asked for, all of them are expected."""
    assert KnownWorkers(Master("h_1", "h_2", "h_3"), asked_for=2).expected == 3


def test_names_of_workers() -> None:
    """Workers are named by host and Locust's index; a missing one has no name."""
    master = Master("shop_host_1f3a", "other_77")
    workers = KnownWorkers(master, asked_for=0)
    assert workers.names() == {"shop_host_1f3a": "shop_host-0", "other_77": "other-1"}
    master.clients["other_77"].state = STATE_MISSING
    assert workers.names() == {"shop_host_1f3a": "shop_host-0"}


def test_a_worker_name_has_no_uuid() -> None:
    """Only the uuid at the end of Locust's client id goes, not what a host name has of underscores."""
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
    """User name and password go, all else stays, and what cannot be parsed is not shown."""
    assert without_credentials(url) == shown
