"""Promtool for the tests of rules; where it is missing they are skipped, in CI they fail."""

import pytest

from tests.backends.needed import need


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Ask for promtool and amtool."""
    need("promtool", "amtool")
