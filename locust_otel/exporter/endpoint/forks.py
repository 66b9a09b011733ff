"""What becomes of us in a child that a task of a user forks.

Under gevent such a child goes on with a copy of every greenlet as soon as it waits for anything: it would answer
scrapes with numbers that stand still, push them, and read the answers to the pushes of its parent. Python offers no
other way to hear of a fork than a hook of the process; it holds nothing alive and does nothing in the parent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod


def in_child(action: Callable[[], None]) -> None:
    """Call a method in every child forked from now on, as long as its object lives."""
    reference = WeakMethod(action)

    def call() -> None:
        method = reference()
        if method is not None:
            method()

    os.register_at_fork(after_in_child=call)
