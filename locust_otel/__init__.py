"""Live, exact SLO telemetry from Locust load tests.

import locust_otel
locust_otel.register()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locust_otel.core.errors import ConfigurationError, LocustOtelError
    from locust_otel.core.marks import MarkError
    from locust_otel.plugin.bridge import Bridge
    from locust_otel.plugin.wiring import attach, mark, register

__all__ = ["Bridge", "ConfigurationError", "LocustOtelError", "MarkError", "attach", "mark", "register"]

_HOMES = {
    "Bridge": "plugin.bridge",
    "ConfigurationError": "core.errors",
    "LocustOtelError": "core.errors",
    "MarkError": "core.marks",
    "attach": "plugin.wiring",
    "mark": "plugin.wiring",
    "register": "plugin.wiring",
}


def __getattr__(name: str) -> Any:
    # Lazy: the import of Locust patches sockets and locks, which must not happen in commands without load.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
