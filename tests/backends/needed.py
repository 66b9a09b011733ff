"""The servers a test needs: where one is missing the test is skipped on a developer's machine, and fails in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.backends.servers import BackendMissing, find


def need(*names: str) -> None:
    """Go on if all of these are there."""
    for name in names:
        try:
            find(name)
        except BackendMissing as reason:
            missing(reason)


def missing(reason: BackendMissing) -> NoReturn:
    """End the test: a machine without Debian's packages can run the others, but CI must not pass without a server."""
    if os.environ.get("CI"):
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))  # never in CI; elsewhere the other tests say something, and the reason has the remedy
