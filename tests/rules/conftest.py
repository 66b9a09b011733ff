"""Promtool for the tests of rules; where it is missing they are skipped, in CI they fail."""

import os

import pytest

from tests.backends.servers import BackendMissing, find


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Ask for promtool and amtool."""
    try:
        find("promtool")
        find("amtool")
    except BackendMissing as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))  # on a developer's machine; the line above has failed the test in CI
