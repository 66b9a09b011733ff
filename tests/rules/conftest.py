"""Promtool for the tests of rules; without it they are skipped, and fail in CI."""

import pytest

from tests.backends.needed import need


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Require promtool and amtool."""
    need("promtool", "amtool")
