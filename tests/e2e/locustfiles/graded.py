"""The users of `calm.py`, and a listener that sets the exit code, as in Locust's manual. It does not import us."""

import os
from typing import Any

from locust import events

from tests.e2e.locustfiles.calm import Calm

__all__ = ["Calm"]


def grade(environment: Any, **_: object) -> None:
    """Set the exit code by the ratio of failures."""
    most = float(os.environ["TEST_MAX_FAIL_RATIO"])
    environment.process_exit_code = 1 if environment.stats.total.fail_ratio > most else 0


events.quitting.add_listener(grade)
