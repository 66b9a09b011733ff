"""Versions of what is installed, for bug reports."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("locust-otel", "locust", "gevent", "uvicorn", "opentelemetry-sdk", "pydantic")


def installed() -> Iterator[str]:
    """Yield the versions of Python, the system and the packages that matter, a line each."""
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} is missing"
