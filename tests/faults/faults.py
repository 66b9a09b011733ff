"""The faults, and the expected behaviour beside each."""

from __future__ import annotations

from tests.faults.bench import FROZEN_S, Fault

NONE = Fault("no sink at all", "none", "")

_FAILED = "locust_otel_exports_total"
_FAILING = {_FAILED: {"exporter": "otlp_metrics", "outcome": "failure"}}
_ONCE = {"otlp_metrics": 1, "otlp_logs": 1}
_TAKEN = {_FAILED: {"exporter": "otlp_metrics", "outcome": "success"}}


def _fails(kind: str, does: str, name: str = "", tls: str = "", timeout_s: int = 0) -> Fault:
    """Return a sink that never accepts a push: one log line for each exporter."""
    return Fault(name or does, kind, does, moves=_FAILING, changes=_ONCE, tls=tls, timeout_s=timeout_s)


def _comes_back(kind: str) -> Fault:
    return Fault(
        "dies and comes back", kind, "well", moves=_FAILING | {"locust_otel_last_export_timestamp_seconds": {}},
        changes={"otlp_metrics": 2, "otlp_logs": 2}, is_complete=True, gone_s=(1.0, 3.0),
    )  # fmt: skip


def _rejects(kind: str) -> Fault:
    moves = {"locust_otel_rejected_points_total": {"exporter": "otlp_metrics"}}
    changes = _ONCE if kind == "http" else {"otlp_metrics": 1}  # over HTTP the sink gives events the same answer
    return Fault("partial success", kind, "partial success", moves=moves, changes=changes)


HTTP = (
    Fault("a good sink", "http", "well", moves=_TAKEN, is_complete=True),
    _fails("http", "refused", "refuses"),
    Fault("never answers", "http", "silent", changes=_ONCE),
    _fails("http", "silent", "never answers, timeout 2 s", timeout_s=2),
    Fault("answers after 0.5 s", "http", "after 0.5 s", moves=_TAKEN, is_complete=True),
    Fault("answers after 1.5 s", "http", "after 1.5 s", moves=_TAKEN, is_complete=True),
    _fails("http", "after 30 s", "answers after 30 s", timeout_s=2),
    _fails("http", "closes half-way"),
    *(_fails("http", status) for status in ("400", "401", "404", "413", "429, Retry-After: 2", "500", "503", "302")),
    _fails("http", "200 with HTML"),
    _rejects("http"),
    _fails("http", "garbage protobuf"),
    _fails("http", "endless body"),
    _fails("http", "a byte a second", timeout_s=2),
    _fails("http", "well", "wrong certificate", tls="wrong"),
    _fails("http", "well", "expired certificate", tls="expired"),
    _comes_back("http"),
)
GRPC = (
    Fault("a good sink", "grpc", "well", moves=_TAKEN, is_complete=True),
    _fails("grpc", "refused", "refuses"),
    Fault("never answers", "grpc", "silent", changes=_ONCE),
    _fails("grpc", "silent", "never answers, timeout 2 s", timeout_s=2),
    Fault("answers after 1.5 s", "grpc", "after 1.5 s", moves=_TAKEN, is_complete=True),
    _fails("grpc", "after 30 s", "answers after 30 s", timeout_s=2),
    *(
        _fails("grpc", status)
        for status in (
            "UNAVAILABLE", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED, retry in 2 s", "INTERNAL", "UNIMPLEMENTED",
        )
    ),
    _rejects("grpc"),
    _fails("grpc", "garbage", "speaks no gRPC"),
    _fails("grpc", "well", "wrong certificate", tls="wrong"),
    _fails("grpc", "well", "expired certificate", tls="expired"),
    _comes_back("grpc"),
)  # fmt: skip
_SCRAPED = {_FAILED: {"exporter": "prometheus", "outcome": "success"}}
_CUT_OFF = {_FAILED: {"exporter": "prometheus", "outcome": "failure"}}
SCRAPERS = (
    Fault("fifty scrapers at once", "scraper", "fifty at once", moves=_SCRAPED),
    Fault("seventy that read a byte a second", "scraper", "a byte a second", moves=_SCRAPED),
    Fault("hangs up before the answer", "scraper", "hangs up", moves=_CUT_OFF),
    Fault("requests that are not HTTP", "scraper", "garbage", moves=_SCRAPED),
    Fault("headers of megabytes", "scraper", "huge headers", moves=_SCRAPED),
    Fault("asks for files", "scraper", "path traversal", moves=_SCRAPED),
    Fault("other methods, long bodies", "scraper", "other methods", moves=_SCRAPED),
    Fault("a hundred idle connections", "scraper", "idle connections", moves=_SCRAPED),
    Fault("a hundred half requests", "scraper", "half requests", moves=_SCRAPED),
)
EXPORTERS = (
    Fault("killed", "exporter", "killed", moves={"locust_otel_exporter_restarts_total": {}}, is_complete=True),
    Fault(f"frozen for {FROZEN_S:g} s", "exporter", "frozen", moves=_TAKEN, is_complete=True, away_s=FROZEN_S),
    Fault("gets a fifth of its time", "exporter", "slow", moves=_TAKEN, is_complete=True),
)
EVERY = (*HTTP, *GRPC, *SCRAPERS, *EXPORTERS)
