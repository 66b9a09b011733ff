"""Live, exact SLO telemetry from Locust load tests.

import locust_otel
locust_otel.register()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locust_otel.bridge import Bridge
    from locust_otel.errors import ConfigurationError, LocustOtelError
    from locust_otel.marks import MarkError
    from locust_otel.plugin import attach, mark, register

__all__ = ["Bridge", "ConfigurationError", "LocustOtelError", "MarkError", "attach", "mark", "register"]

_HOMES = {
    "Bridge": "bridge",
    "ConfigurationError": "errors",
    "LocustOtelError": "errors",
    "MarkError": "marks",
    "attach": "plugin",
    "mark": "plugin",
    "register": "plugin",
}


def __getattr__(name: str) -> Any:
    # Lazily: Locust patches sockets and locks when it is imported, which a command that runs no load must not do.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
