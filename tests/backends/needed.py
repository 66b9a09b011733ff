"""The servers that a test needs: without one the test is skipped on a developer's machine, and fails in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.backends.servers import BackendMissing, find


def need(*names: str) -> None:
    """Skip the test, or in CI fail it, if one of these is missing."""
    for name in names:
        try:
            find(name)
        except BackendMissing as reason:
            missing(reason)


def missing(reason: BackendMissing) -> NoReturn:
    """Skip the test; fail it in CI, which must not pass without a server."""
    if os.environ.get("CI"):
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))  # the reason says how to get the server
