"""A second locustfile: it writes every response time that Locust measures into the file `TEST_TIMES`."""

import os
from pathlib import Path
from typing import Any

from locust import events

_times: list[str] = []


def _on_request(response_time: float | None, **_: Any) -> None:
    if response_time is not None and response_time >= 0:  # NaN is not
        _times.append(repr(response_time))


def _on_quit(**_: Any) -> None:
    Path(os.environ["TEST_TIMES"]).write_text("\n".join(_times))


events.request.add_listener(_on_request)
events.quit.add_listener(_on_quit)
