"""What Locust's runner says of users, state and workers, in the words of the catalogue.

Only attributes are read, so this needs no import of Locust, and works without a runner (`run_single_user`) too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_STATES = {
    "ready": "spawning",  # within a run: it has been asked for, and no user is there yet
    "spawning": "spawning",
    "running": "running",
    "cleanup": "stopping",
    "stopping": "stopping",
    "stopped": "stopped",
}


def state(runner: Any) -> str:
    """Return one of `catalogue.RUN_STATES` for a run that is active."""
    return _STATES.get(getattr(runner, "state", "running"), "running")


def users(runner: Any) -> dict[str, int]:
    """Return the running users by class, 0 for classes without any."""
    if runner is None:
        return {}
    counts = dict.fromkeys((user_class.__name__ for user_class in runner.user_classes), 0)
    counts.update(runner.reported_user_classes_count if hasattr(runner, "clients") else runner.user_classes_count)
    return counts


def users_target(runner: Any) -> dict[str, int]:
    """Return the users asked for by class.

    Locust knows the classes only once all users are spawned; until then the number asked for is split by the weights,
    as Locust is about to do: `fixed_count` first, the rest in proportion.
    """
    if runner is None:
        return {}
    settled: Mapping[str, int] = runner.target_user_classes_count
    total = runner.target_user_count
    names = [user_class.__name__ for user_class in runner.user_classes]
    if settled and sum(settled.values()) == total:
        return {name: settled.get(name, 0) for name in names}
    return dict(zip(names, _split(total, runner.user_classes), strict=True))


def _split(total: int, user_classes: Sequence[Any]) -> list[int]:
    fixed: list[int] = []
    for user_class in user_classes:
        fixed.append(min(user_class.fixed_count, total - sum(fixed)))
    rest = total - sum(fixed)
    weights = [0 if user_class.fixed_count else user_class.weight for user_class in user_classes]
    if not sum(weights):
        return fixed
    exact = [rest * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    # The largest remainders get what rounding down has left over.
    by_remainder = sorted(range(len(exact)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: rest - sum(shares)]:
        shares[i] += 1
    return [a + b for a, b in zip(fixed, shares, strict=True)]


class KnownWorkers:
    """The workers of a master: who is there, who is missing, who was expected.

    Locust forgets a worker that has been missing for a minute; here it stays missing until it returns or a new run
    begins. One that left in good order is no longer expected.
    """

    def __init__(self, runner: Any, asked_for: int) -> None:
        self._runner = runner
        self._asked_for = asked_for
        self._lost: set[str] = set()

    def update(self) -> None:
        """Look who is there; at least as often as Locust's heartbeat, once a second."""
        nodes = {node.id: node.state for node in self._runner.clients.all}
        missing = {client_id for client_id, node_state in nodes.items() if node_state == "missing"}
        self._lost = (self._lost | missing) - (nodes.keys() - missing)

    def forget_lost(self) -> None:
        """Expect only those that are there: a new run begins."""
        self._lost.clear()
        self.update()

    @property
    def states(self) -> dict[str, int]:
        """Number of workers by state."""
        counts: dict[str, int] = {}
        for node in self._runner.clients.all:
            if node.state != "missing":
                counts[node.state] = counts.get(node.state, 0) + 1
        counts["missing"] = len(self._lost)
        return counts

    @property
    def expected(self) -> int:
        """Workers asked for, or, where more came, those that are there or missing."""
        return max(self._asked_for, sum(self.states.values()))

    def names(self) -> dict[str, str]:
        """Return the workers that are there: client id and name, `host-0`."""
        return {
            node.id: worker_name(node.id, self._runner.get_worker_index(node.id))
            for node in self._runner.clients.all
            if node.state != "missing"
        }


def own_name(runner: Any) -> str:
    """Return the name of this process among the generating ones; a master has that of a local process."""
    if hasattr(runner, "worker_index"):
        return worker_name(runner.client_id, runner.worker_index)
    return f"{gethostname()}-0"


def worker_name(client_id: str, index: int) -> str:
    """Return a name that stays the same from run to run: the host and Locust's index, never the uuid."""
    return f"{client_id.rpartition('_')[0]}-{index}"


def without_credentials(url: str) -> str:
    """Return a URL without user name and password; other text as it is."""
    try:
        parts = urlsplit(url)
        if "@" not in parts.netloc:
            return url
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError:
        return ""
