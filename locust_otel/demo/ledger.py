"""The demo shop's own count of what it answered."""

from __future__ import annotations

from collections import Counter


class Ledger:
    """The shop's own count, exact: the other side of what a load generator reports."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again from 0."""
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._routes: dict[str, list[float]] = {}
        self.refused = 0

    def record(self, method: str, route: str, status: int, *, elapsed_s: float, service_s: float) -> None:
        """Count one answer, with the seconds since its request was read and those of service among them."""
        self._requests[method, route, status] += 1
        times = self._routes.setdefault(route, [0.0, 0.0, 0.0])
        times[0] += service_s
        times[1] += elapsed_s
        times[2] = max(times[2], elapsed_s)

    def document(self, in_flight: int) -> dict[str, object]:
        """Return what `GET /_stats` shows; lists are empty before the first request."""
        counts: Counter[str] = Counter()
        for (_, route, _), count in self._requests.items():
            counts[route] += count
        return {
            "requests": [
                {"method": method, "route": route, "status": status, "count": count}
                for (method, route, status), count in sorted(self._requests.items())
            ],
            "total": self._requests.total(),
            "in_flight": in_flight,
            "refused": self.refused,
            "routes": [
                {
                    "route": route,
                    "count": counts[route],
                    "service_s": service_s,
                    "sum_s": sum_s,
                    "max_s": max_s,
                }
                for route, (service_s, sum_s, max_s) in sorted(self._routes.items())
            ],
        }
