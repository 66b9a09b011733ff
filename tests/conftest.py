"""What all tests share."""

import locust  # noqa: F401  # first: it patches sockets and locks, and what is imported before keeps the unpatched ones

import pytest  # isort: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a collector, which takes long to build."""
    for item in items:
        if "collector" in getattr(item, "fixturenames", ()):
            item.add_marker("collector")
