"""Base of the Locust process as the bridge sees it: local, worker or master."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic, time
from typing import Any, NamedTuple

from locust_otel.core.settings import Flags, new_run_id
from locust_otel.plugin import runners
from locust_otel.plugin.link import Link
from locust_otel.wire import frames


class Order(NamedTuple):
    """Settings that every process must share to record one run."""

    run_id: str
    slow_s: float  # above this a request is slow
    max_names: int  # methods and names with their own series
    trace_ratio: float | None  # share of requests whose `traceparent` says sampled; None to send none
    thresholds_s: list[float]  # histogram bounds that the objectives need
    kept_names: list[str]  # names that the objectives need; they keep their series above `max_names`
    group_names: bool = False  # whether names that differ only in their ids are counted as one

    @classmethod
    def of(cls, run_id: str, ready: Mapping[str, Any]) -> Order:
        """Return the settings of a run, from the exporter's first message."""
        return cls(run_id, *(ready[name] for name in cls._fields[1:]))


@dataclass(slots=True)
class CurrentRun:
    """A run of this process."""

    order: Order
    start_time: float = field(default_factory=time)
    started_s: float = field(default_factory=monotonic)
    is_stopped: bool = False  # its users were asked to stop
    is_finished: bool = False  # the exporter knows that no request will follow

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self.order.run_id


class Node:
    """A Locust process; the parts that a local process, a worker and a master share."""

    is_worker = False

    def __init__(self, environment: Any, flags: Flags, link: Link) -> None:
        self.environment = environment
        self.link = link
        self.run: CurrentRun | None = None  # the current or last one
        self._flags = flags
        self._runs = 0

    def start(self) -> None:
        """Start to measure the process."""

    def stop(self) -> None:
        """Stop measuring."""

    def start_run(self) -> CurrentRun:
        """Begin a new run."""
        raise NotImplementedError

    def tick(self) -> None:
        """Report the changes, in pieces."""
        raise NotImplementedError

    def flush(self) -> None:
        """Report everything that is recorded."""
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

    def on_reset(self, **_: object) -> None:
        """Count the requests that Locust's table is about to drop, or has just dropped."""

    def mark(self, run: CurrentRun, text: str, kind: str) -> bool:
        """Mark an event in the current run; return whether the mark was sent."""
        self.link.send(frames.MARK, run.run_id, text, kind, time())
        return True

    def wait_for_last_requests(self) -> None:
        """Wait until no request of a stopped run can follow."""

    def info(self) -> dict[str, str]:
        """Return the labels of `locust_run_info` besides the run's id."""
        environment, auto = self.environment, str(Path(__file__).parents[1] / "auto.py")
        hosts = {user_class.host for user_class in environment.user_classes if getattr(user_class, "host", None)}
        host = environment.host or (str(hosts.pop()) if len(hosts) == 1 else "")
        files = [path for path in getattr(environment, "parsed_locustfiles", None) or () if path != auto]
        labels = {
            "host": runners.without_credentials(host),
            "locustfile": Path(files[0]).name if files else environment.locustfile or "",
            "profile": getattr(environment, "profile", None) or "",
            "version": version("locust"),
            **self._flags.run_labels,
        }
        # File names and environment variables may contain bytes that are not UTF-8, as lone surrogates.
        return {name: value.encode("utf-8", "replace").decode() for name, value in labels.items()}

    def _next_run_id(self) -> str:
        """Return a new id; an id from the user gets `-2`, `-3` from the second run on."""
        self._runs += 1
        given = self._flags.run_id
        if given is None:
            return new_run_id()
        return given if self._runs == 1 else f"{given}-{self._runs}"
