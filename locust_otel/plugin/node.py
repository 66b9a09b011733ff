"""What a Locust process is to the bridge, be it local, a worker or a master."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic, time
from typing import Any, NamedTuple

from locust_otel.core.settings import Flags, new_run_id
from locust_otel.plugin import runners
from locust_otel.plugin.link import Link, NoLink
from locust_otel.plugin.series import Requests
from locust_otel.wire import frames


class Order(NamedTuple):
    """Settings that every process must share to record one run.

    Attributes:
        run_id: Identity of the run.
        slow_s: Seconds above which a request is slow.
        max_names: Methods and names with series of their own.
        trace_ratio: Share of requests whose `traceparent` says sampled; None to send none.
        thresholds_s: Seconds that objectives need as bounds of the histogram.
        kept_names: Names that objectives need series of, however many others there are.
    """

    run_id: str
    slow_s: float
    max_names: int
    trace_ratio: float | None
    thresholds_s: list[float]
    kept_names: list[str]

    @classmethod
    def of(cls, run_id: str, ready: Mapping[str, Any]) -> Order:
        """Return the settings of a run, as the exporter sent them when it was ready."""
        return cls(run_id, *(ready[name] for name in cls._fields[1:]))

    def requests(self) -> Requests:
        """Return the empty requests of the run."""
        return Requests(
            slow_s=self.slow_s, max_names=self.max_names, thresholds_s=self.thresholds_s, kept_names=self.kept_names
        )


@dataclass(slots=True)
class CurrentRun:
    """A run of this process.

    Attributes:
        order: Its settings.
        is_stopped: Whether its users have been told to stop.
        is_finished: Whether the exporter knows that no request will follow.
    """

    order: Order
    start_time: float = field(default_factory=time)
    started_s: float = field(default_factory=monotonic)
    is_stopped: bool = False
    is_finished: bool = False

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self.order.run_id


class Node:
    """A Locust process; what is the same in a local process, a worker and a master.

    Attributes:
        is_worker: Whether it runs users for a master.
        link: The exporter beside it.
        run: The current or last run; None before the first.
    """

    is_worker = False

    def __init__(self, environment: Any, flags: Flags, link: Link | NoLink) -> None:
        self.environment = environment
        self.link = link
        self.run: CurrentRun | None = None
        self._flags = flags
        self._runs = 0

    @property
    def name(self) -> str:
        """Name among the processes that run users; empty for a master."""
        return ""

    def start(self) -> None:
        """Start to measure the process."""

    def stop(self) -> None:
        """Stop measuring."""

    def start_run(self) -> CurrentRun:
        """Begin a new run."""
        raise NotImplementedError

    def tick(self) -> None:
        """Report what is new, in pieces."""
        raise NotImplementedError

    def flush(self) -> None:
        """Report all that is known."""
        self.link.send(frames.STATUS, self.status())

    def status(self) -> dict[str, Any]:
        """Return the state and the users of Locust's runner."""
        runner = self.environment.runner
        return {
            "run_id": self.run.run_id if self.run is not None else "",
            "state": runners.state(runner),
            "users": runners.users(runner),
            "users_target": runners.users_target(runner),
        }

    def on_reset(self) -> None:
        """Note that Locust's table forgets its requests."""

    def mark(self, run: CurrentRun, text: str, kind: str) -> bool:
        """Mark something in the current run; return whether the mark was sent."""
        self.link.send(frames.MARK, run.run_id, text, kind, time())
        return True

    def wait_for_last_requests(self) -> None:
        """Return when no request of a stopped run can follow."""

    def info(self) -> dict[str, str]:
        """Return the labels of `locust_run_info` besides the run's id."""
        environment, auto = self.environment, str(Path(__file__).parents[1] / "auto.py")
        files = [path for path in getattr(environment, "parsed_locustfiles", None) or () if path != auto]
        labels = {
            "host": runners.without_credentials(environment.host or _host(environment.user_classes)),
            "locustfile": Path(files[0]).name if files else environment.locustfile or "",
            "profile": getattr(environment, "profile", None) or "",
            "version": version("locust"),
            **self._flags.run_labels,
        }
        # File names and environment variables may hold bytes that are no UTF-8, as lone surrogates.
        return {name: value.encode("utf-8", "replace").decode() for name, value in labels.items()}

    def _next_run_id(self) -> str:
        """Return a new id; one given by the user gets `-2`, `-3` from the second run on."""
        self._runs += 1
        given = self._flags.run_id
        if given is None:
            return new_run_id()
        return given if self._runs == 1 else f"{given}-{self._runs}"


def _host(user_classes: Iterable[Any]) -> str:
    """Return the host that the user classes name; empty where they name several or none."""
    hosts = {user_class.host for user_class in user_classes if getattr(user_class, "host", None)}
    return str(hosts.pop()) if len(hosts) == 1 else ""
