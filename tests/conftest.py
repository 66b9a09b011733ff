"""Settings of all tests."""

# The first import: it patches sockets and locks, and modules that were imported before keep the unpatched ones.
import locust  # noqa: F401

import signal  # isort: skip

import pytest  # isort: skip

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a collector, which takes long to build, or a browser."""
    for item in items:
        if "collector" in getattr(item, "fixturenames", ()):
            item.add_marker("collector")
        callspec = getattr(item, "callspec", None)
        scenario = getattr(callspec.params.get("outcome"), "__name__", "") if callspec is not None else ""
        if item.path.stem.endswith("_browser") or scenario.startswith("page_"):
            item.add_marker("browser")
