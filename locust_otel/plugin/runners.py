"""State, users and workers of Locust's runner, in the terms of the catalogue.

The functions only read attributes, so they need no import of Locust, and they accept None for a missing runner
(`run_single_user`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_STATES = {
    "ready": "spawning",  # during a run: it was started, and no user is running yet
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
    """Return the target number of users by class.

    Locust knows the classes only after all users are spawned. Before that, the target is split by the weights as Locust
    will do: `fixed_count` first, the rest in proportion.
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
    # The largest remainders get the users that rounding down has left over.
    by_remainder = sorted(range(len(exact)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: rest - sum(shares)]:
        shares[i] += 1
    return [a + b for a, b in zip(fixed, shares, strict=True)]


class KnownWorkers:
    """The connected, missing and expected workers of a master.

    Locust forgets a worker that has been missing for a minute; here it stays missing until it returns or a new run
    begins. A worker that quits in good order is no longer expected.
    """

    def __init__(self, runner: Any, asked_for: int) -> None:
        self._runner = runner
        self._asked_for = asked_for
        self._lost: set[str] = set()

    def update(self) -> None:
        """Update the missing workers; call it at least as often as Locust's heartbeat, once a second."""
        clients = self._runner.clients.all
        missing = {node.id for node in clients if node.state == "missing"}
        self._lost = (self._lost | missing) - ({node.id for node in clients} - missing)

    def forget_lost(self) -> None:
        """Expect only the connected workers, because a new run begins."""
        self._lost.clear()
        self.update()

    @property
    def states(self) -> dict[str, int]:
        """Number of workers by state."""
        return {**Counter(node.state for node in self._runner.clients.all), "missing": len(self._lost)}

    @property
    def expected(self) -> int:
        """Number of workers in `--expect-workers`, or of connected and missing workers if that is higher."""
        return max(self._asked_for, sum(self.states.values()))

    def names(self) -> dict[str, str]:
        """Return the name of each connected worker, `host-0`, by client id."""
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
    """Return a name that is the same in every run: the host and Locust's index, without the uuid."""
    return f"{client_id.rpartition('_')[0]}-{index}"


def without_credentials(url: str) -> str:
    """Return a URL without user name and password; other text unchanged, an invalid URL as empty text."""
    try:
        parts = urlsplit(url)
        if "@" not in parts.netloc:
            return url
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError:
        return ""
