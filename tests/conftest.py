"""What holds for every test."""

# First of all imports: it patches sockets and locks, and what was imported before keeps the unpatched ones.
import locust  # noqa: F401

import signal  # isort: skip

import pytest  # isort: skip

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and hands that on to every process a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need what not every machine has: a collector, which takes long to build, or a browser."""
    for item in items:
        if "collector" in getattr(item, "fixturenames", ()):
            item.add_marker("collector")
        callspec = getattr(item, "callspec", None)
        scenario = getattr(callspec.params.get("outcome"), "__name__", "") if callspec is not None else ""
        if item.path.stem.endswith("_browser") or scenario.startswith("page_"):
            item.add_marker("browser")
