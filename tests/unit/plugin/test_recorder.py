"""Tests of the recorder with Locust's own event hook, from the greenlets that send requests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import gevent
import greenlet
import locust.log
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from locust import User
from locust.contrib.fasthttp import FastResponse
from locust.event import EventHook
from locust.exception import CatchResponseError

from locust_otel.core.catalogue import OTHER
from locust_otel.core.snapshot import ErrorKey, Exemplar, RequestsSnapshot
from locust_otel.plugin.recorder import (
    GROUPED_KEPT,
    MAX_LABEL_LENGTH,
    SLOW_REQUESTS_KEPT,
    TRACES_PER_REPORT,
    Recorder,
)
from locust_otel.plugin.series import Requests
from tests.unit.factories import SPAN_ID, TRACE_ID, TRACEPARENT, Admin, Load, Shopper, event, fire, totals, user

FAILED = ValueError("failed")


class Recording(Recorder):
    """A recorder, and the exporter's view of its requests."""

    def __init__(self, load: Load) -> None:
        super().__init__(load.requests)
        self._load = load

    def report(self) -> None:
        """Count and report, as four times a second."""
        self.look_for_traces()
        self._load.tally()

    def snapshot(self) -> RequestsSnapshot:
        """Return the exporter's numbers."""
        return self._load.snapshot()


def recorder(*, max_names: int = 200, slow_s: float = 5.0) -> Recording:
    """Return a recorder that has recorded nothing."""
    return Recording(Load(slow_s=slow_s, max_names=max_names))


def recorded(*events: Mapping[str, Any], **limits: Any) -> RequestsSnapshot:
    """Return the record of events that one user fires."""
    target = recorder(**limits)
    fire(target.on_request, events, user())
    return target.snapshot()


def response(status: object, headers: object = None) -> Any:
    """Return a response with this status, falsy from 400 up as in `requests`."""

    class Response:
        status_code = status
        request = SimpleNamespace(headers=headers)

        def __bool__(self) -> bool:
            return isinstance(status, int) and status < 400

    return Response()


class Hostile:
    """An object that raises in every operation."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __le__(self, other: object) -> bool:
        raise RuntimeError("no order")

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"no {name}")


class Agreeable:
    """An object that is not a number, but that compares as smaller."""

    def __le__(self, other: object) -> bool:
        return True


# ----------------------------------------------------------------------------------------------------------- users


@pytest.mark.parametrize("user_class", [Shopper, Admin])
def test_class_of_the_user(user_class: type[User]) -> None:
    """All requests in a user's greenlet get the class of the user."""
    target = recorder()
    fire(target.on_request, [event()] * 3, user(user_class), "another argument")
    assert totals(target.snapshot()) == {("GET", "/", user_class.__name__, "success"): 3}


@pytest.mark.parametrize("arguments", [(), (7,), ("Shopper",), (Shopper,), (None,)], ids=repr)
def test_greenlets_without_a_user(arguments: tuple[object, ...]) -> None:
    """Without a user as its first argument, a greenlet has no user class."""
    target = recorder()
    fire(target.on_request, [event()] * 3, *arguments)
    assert totals(target.snapshot()) == {("GET", "/", "", "success"): 3}
    assert target.errors == 0


def test_main_greenlet() -> None:
    """The main greenlet, as in `run_single_user`, has no user class."""
    target = recorder()
    hook = EventHook()
    hook.add_listener(target.on_request)
    hook.fire(**event())
    hook.fire(**event())
    assert totals(target.snapshot()) == {("GET", "/", "", "success"): 2}


@pytest.mark.parametrize(
    "arguments", [None, {}, {0: "x"}, 5, Hostile()], ids=["None", "empty", "dict", "int", "hostile"]
)
def test_greenlets_with_other_arguments(arguments: object) -> None:
    """No request is lost in a greenlet of another library, whose `args` is no sequence."""

    class Foreign(greenlet.greenlet):  # type: ignore[misc]  # no stubs
        args = arguments

    target = recorder()
    Foreign(lambda: target.on_request(**event())).switch()
    assert totals(target.snapshot()) == {("GET", "/", "", "success"): 1}


def test_an_argument_without_a_class() -> None:
    """An argument whose `__class__` raises is no user, and its request counts."""

    class Proxy:
        @property  # type: ignore[misc]  # as unbound proxies of Werkzeug do
        def __class__(self) -> type:
            raise RuntimeError("unbound")

    target = recorder()
    fire(target.on_request, [event()], Proxy())
    assert totals(target.snapshot()) == {("GET", "/", "", "success"): 1}


def test_two_users_side_by_side() -> None:
    """Each request of users that take turns gets the class of its user."""
    target = recorder()

    def run(_user: object, times: int) -> None:
        for _ in range(times):
            target.on_request(**event())
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(run, user(Shopper), 5), gevent.spawn(run, user(Admin), 3), gevent.spawn(run, None, 2)])
    assert totals(target.snapshot()) == {
        ("GET", "/", "Shopper", "success"): 5,
        ("GET", "/", "Admin", "success"): 3,
        ("GET", "/", "", "success"): 2,
    }


def test_sparse_events() -> None:
    """A custom client may omit fields, and may add its own."""
    requests_ = recorded({"request_type": "WSS", "name": "msg", "response_time": 3}, {"name": "msg", "mine": 1}, {})
    assert totals(requests_) == {
        ("WSS", "msg", "Shopper", "success"): 1,
        ("", "msg", "Shopper", "success"): 1,
        ("", "", "Shopper", "success"): 1,
    }


# -------------------------------------------------------------------------------------------------------- outcomes


def test_outcome() -> None:
    """A request has failed if Locust's `if exception` is true, whatever the status."""
    target = recorder()
    events = [
        event(), event(), event(response=response(500)), event(exception=""),  # four successes
        event(exception=FAILED), event(exception="text"), event(exception=Hostile()),
    ]  # fmt: skip
    fire(target.on_request, events, user())
    assert totals(target.snapshot()) == {
        ("GET", "/", "Shopper", "success"): 4,
        ("GET", "/", "Shopper", "failure"): 3,
    }
    assert target.errors == 1


_GHC: Any = SimpleNamespace(get_code=lambda: 503, _headers_index={})


def _of_requests(status: int | None) -> requests.Response:
    result = requests.Response()
    result.status_code = status  # type: ignore[assignment]  # None before an answer came
    return result


@pytest.mark.parametrize(
    ("answer", "exception", "error_type"),
    [
        (_of_requests(404), requests.HTTPError(), "404"),
        (_of_requests(500), CatchResponseError("bad"), "500"),
        (_of_requests(200), CatchResponseError("bad"), "CatchResponseError"),
        (_of_requests(399), CatchResponseError("bad"), "CatchResponseError"),
        (_of_requests(400), CatchResponseError("bad"), "400"),
        (_of_requests(None), requests.ConnectionError(), "ConnectionError"),
        (_of_requests(0), requests.Timeout(), "Timeout"),
        (None, requests.ConnectTimeout(), "ConnectTimeout"),
        (object(), FAILED, "ValueError"),
        (FastResponse(_GHC), FAILED, "503"),
        (response("503"), FAILED, "ValueError"),
        (response(10**5000), FAILED, None),
        (Hostile(), FAILED, "ValueError"),
        (None, "a text", "str"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_error_type(answer: object, exception: object, error_type: str | None) -> None:
    """The error type is a status from 400 up, also of falsy responses, or else the class of the exception."""
    requests_ = recorded(event(response=answer, exception=exception), event(response=answer, exception=exception))
    assert totals(requests_) == {("GET", "/", "Shopper", "failure"): 2}
    assert sum(requests_.errors.values()) == 2
    if error_type is not None:
        assert requests_.errors == {ErrorKey("GET", "/", error_type): 2}


# ------------------------------------------------------------------------------------------------------- durations


@pytest.mark.parametrize(
    "odd",
    [
        None, math.nan, math.inf, -math.inf, -1, -0.001, 10**400, "12", "abc", b"12", "", [], {}, object(), 1j,
        Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Hostile(), Agreeable(),
    ],
    ids=lambda odd: "1e400" if type(odd) is int and odd > 9 else f"{type(odd).__name__}",
)  # fmt: skip
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("exception", [None, FAILED], ids=["success", "failure"])
def test_invalid_durations(odd: object, position: int, exception: object) -> None:
    """A request without a usable duration counts once with its bytes, but not in histogram and sum."""
    events = [event(response_time=10, exception=exception), event(response_time=20, exception=exception)]
    events.insert(position, event(response_time=odd, exception=exception))
    requests_ = recorded(*events)
    (series,) = requests_.series
    assert (series.total, sum(series.counts.values()), series.unmeasured) == (3, 2, 1)
    assert series.sum_s == pytest.approx(0.03)
    assert series.body_bytes == 300


@pytest.mark.parametrize("good", [0, 0.0, 12, 12.5, True, Decimal("12.5"), Fraction(25, 2), 1e9, 5e-324], ids=repr)
def test_durations_of_every_kind_of_number(good: Any) -> None:
    """Any real number that is not negative is a duration in milliseconds."""
    (series,) = recorded(event(), event(response_time=good), event(response_time=good)).series
    assert (sum(series.counts.values()), series.unmeasured) == (3, 0)
    assert series.sum_s == pytest.approx(0.012 + 2 * float(good) / 1000)


# ---------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("/a", "/a"), ("", ""), (None, ""), (0, "0"), (404, "404"), (True, "True"), (b"/x", "b'/x'"), (["a"], "['a']"),
        ({"a": 1}, "{'a': 1}"), ('quo"te', 'quo"te'), ("new\nline", "new\nline"), ("back\\slash", "back\\slash"),
        ("ünïcödé 🦗", "ünïcödé 🦗"), ("\ud800", "?"), ("a\udcffb", "a?b"), ("%s%d", "%s%d"), (Hostile(), OTHER),
        ("x" * 5000, "x" * MAX_LABEL_LENGTH), ("ü" * 5000, "ü" * MAX_LABEL_LENGTH),
    ],
    ids=lambda value: ascii(value)[:20] if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_hostile_names(name: object, label: str) -> None:
    """Any name or method becomes text that can be encoded as UTF-8, and each request counts."""
    target = recorder()
    fire(target.on_request, [event(name=name)] * 3 + [event(request_type=name)] * 2, user())
    assert totals(target.snapshot()) == {
        ("GET", label, "Shopper", "success"): 3,
        (label, "/", "Shopper", "success"): 2,
    }


def test_ten_thousand_names() -> None:
    """Names above the limit are counted together, and no request is lost."""
    events = [event(name=f"/item/{number}") for number in range(10_000)]
    counts = totals(recorded(*events, *events[:50], max_names=100))
    assert counts.pop(("GET", OTHER, "Shopper", "success")) == 9_900
    assert counts == {("GET", f"/item/{n}", "Shopper", "success"): 2 if n < 50 else 1 for n in range(100)}


def cached(target: Recorder) -> list[str]:
    """Return the names by which the listener finds a series."""
    return [name for methods in target._series.values() for names in methods.values() for name in names]


@pytest.mark.parametrize("group_names", [False, True])
def test_shortened_and_folded_names_are_not_cached(group_names: bool) -> None:
    """Each would take memory, so only names that are used unchanged, or that are grouped, are cached."""
    target = Recording(Load(max_names=2, group_names=group_names))
    names = ["/", "/items/1", *(f"/x{number}" for number in range(50))]
    for prefix in ("x" * MAX_LABEL_LENGTH, f"/items/1?{'x' * MAX_LABEL_LENGTH}", "\ud800"):
        names += [f"{prefix}{number}" for number in range(50)]
    fire(target.on_request, [event(name=name) for name in names], user())
    assert cached(target) == ["/", "/items/1"]
    assert target.requests.total == len(names)


def test_grouped_names() -> None:
    """Each request counts under its group, cached or not; the cache is limited."""
    target = Recording(Load(max_names=9, group_names=True))
    names = [f"/items/{number}" for number in range(GROUPED_KEPT + 5)]
    for _ in range(2):
        fire(target.on_request, [event(name=name) for name in names], user())
    fire(target.on_request, [event(name="/items/7", exception=FAILED)], user())
    requests_ = target.snapshot()
    assert totals(requests_) == {
        ("GET", "/items/[id]", "Shopper", "success"): 2 * len(names),
        ("GET", "/items/[id]", "Shopper", "failure"): 1,
    }
    assert [key.name for key in requests_.errors] == ["/items/[id]"]
    assert len(cached(target)) == GROUPED_KEPT


def test_slow_requests_of_a_grouped_name() -> None:
    """A cached name counts once against the limit, however often the slow path sees it."""
    target = Recording(Load(slow_s=0.01, max_names=9, group_names=True))
    fire(target.on_request, [event(name="/items/1", response_time=20)] * (GROUPED_KEPT + 5), user())
    fire(target.on_request, [event(name="/items/2", response_time=20)], user())
    assert cached(target) == ["/items/1", "/items/2"]


def test_a_secret_in_a_name() -> None:
    """It is no label: two requests whose names differ only in their token count in one series."""
    target = recorder()
    for token in ("one", "two"):
        target.on_request(request_type="GET", name=f"/a?token={token}", response_time=1, response_length=0)
    (series,) = target.snapshot().series
    assert (series.key.name, series.total) == ("/a?token=REDACTED", 2)


# ---------------------------------------------------------------------------------------- traces and slow requests


class CountingHeaders:
    """Headers that count the reads."""

    def __init__(self, value: str | None = TRACEPARENT) -> None:
        self.reads = 0
        self._value = value

    def get(self, name: str) -> str | None:
        """Return the header in any spelling, as `requests` does."""
        self.reads += 1
        return self._value if name.lower() == "traceparent" else None


@pytest.mark.parametrize(("status", "exception"), [(200, None), (500, FAILED)])
def test_one_trace_of_a_series_between_reports(status: int, exception: object) -> None:
    """Only the trace of the first request after each report is read."""
    target, headers = recorder(), CountingHeaders()
    for turn in range(1, 4):
        fire(target.on_request, [event(response=response(status, headers), exception=exception)] * 20, user())
        assert headers.reads == turn
        target.report()


def test_a_few_traces_between_reports() -> None:
    """The number of traces read is limited, however many series there are; all requests count."""
    target = recorder()
    headers = CountingHeaders()
    events = [event(name=f"/{n}", response=response(200, headers)) for n in range(2 * TRACES_PER_REPORT)]
    fire(target.on_request, events, user())
    target.report()
    headers.reads = 0
    for turn in (1, 2):
        fire(target.on_request, events * 2, user())
        assert headers.reads == turn * TRACES_PER_REPORT
        target.report()
    assert target.snapshot().total == 5 * len(events)


def test_exemplar_of_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exemplar has the trace and the time, and belongs to the classic bucket of the duration."""
    monkeypatch.setattr("locust_otel.plugin.recorder.time", lambda: 1_764_000_000.5)
    target = recorder()
    for time_ms in (5, 5.001, 60_001):
        fire(target.on_request, [event(response_time=time_ms, context={"traceparent": TRACEPARENT})], user())
        target.report()
    (series,) = target.snapshot().series
    last = len(target.requests.layout.classic_bounds)
    assert series.exemplars == {
        0: Exemplar(0.005, TRACE_ID, SPAN_ID, 1_764_000_000.5),
        1: Exemplar(5.001 / 1000, TRACE_ID, SPAN_ID, 1_764_000_000.5),
        last: Exemplar(60.001, TRACE_ID, SPAN_ID, 1_764_000_000.5),
    }


@pytest.mark.parametrize("header", [None, "", "rubbish", TRACEPARENT[:-1] + "0"])
def test_no_exemplar_without_a_sampled_trace(header: str | None) -> None:
    """A trace that is not sampled cannot be found, so there is no exemplar."""
    (series,) = recorded(event(response=response(200, CountingHeaders(header)))).series
    assert series.exemplars == {}


def test_slow_requests_above_the_threshold() -> None:
    """Requests above the threshold are kept for the log, those at it are not, and the counter agrees."""
    target = recorder(slow_s=2.0)
    times = [1999, 2000, 2000.001, 2001, 9_999]
    events = [event(response_time=t, context={"traceparent": TRACEPARENT}, response=response(200)) for t in times]
    fire(target.on_request, [event(), *events], user())
    kept = list(target.slow_requests)
    assert [request.duration_s for request in kept] == pytest.approx([2.000001, 2.001, 9.999])
    assert {request.trace_id for request in kept} == {TRACE_ID}
    assert {request.status for request in kept} == {"200"}
    assert {tuple(request.key) for request in kept} == {("GET", "/", "Shopper", "success")}
    taken = target.snapshot()
    assert taken.slow(taken.series[0]) == 3


@pytest.mark.parametrize("threshold_ms", [1, 7, 29, 290, 1001, 1003, 2675, 4350])
def test_kept_and_counted_slow_requests_agree(threshold_ms: int) -> None:
    """Log and counter agree also at thresholds that no float represents exactly."""
    target = recorder(slow_s=threshold_ms / 1000)
    times = [math.nextafter(threshold_ms, 0), threshold_ms, threshold_ms * (1 + 1e-12), threshold_ms + 1]
    fire(target.on_request, [event(response_time=0), *(event(response_time=t) for t in times)], user())
    taken = target.snapshot()
    assert len(target.slow_requests) == taken.slow(taken.series[0]) == 2


def test_slow_failures() -> None:
    """A slow failure is kept with its error type: the status, or without a response the class of the exception."""
    target = recorder(slow_s=1.0)
    slow = event(response_time=30_000, exception=requests.ReadTimeout())
    fire(target.on_request, [slow, event(response_time=2_000, exception=FAILED, response=response(504))], user())
    assert [(r.status, r.key.outcome, r.trace_id) for r in target.slow_requests] == [
        ("ReadTimeout", "failure", ""), ("504", "failure", ""),
    ]  # fmt: skip


def test_too_many_slow_requests() -> None:
    """The latest are kept, and the others counted."""
    target = recorder(slow_s=1.0)
    fire(target.on_request, [event(response_time=2_000 + n) for n in range(SLOW_REQUESTS_KEPT + 7)], user())
    assert len(target.slow_requests) == SLOW_REQUESTS_KEPT
    assert target.slow_requests[0].duration_s == pytest.approx(2.007)
    assert target.slow_requests_dropped == 7


# ------------------------------------------------------------------------------------------------------------ runs


def test_record_into_another_run() -> None:
    """From the change on no request counts in the run before, pending ones stay there, and the new threshold holds."""
    target = recorder(slow_s=5.0)
    old, new = target.requests, Requests(slow_s=0.005, max_names=10)

    def run(_user: object) -> None:
        for _ in range(3):
            target.on_request(**event())
        target.record_into(new)
        for _ in range(4):
            target.on_request(**event())

    gevent.spawn(run, user()).get()
    assert (old.total, old.measured, new.total) == (3, 0, 4)
    assert len(target.slow_requests) == 4


def test_the_listener_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust's flag for exceptions in listeners stays false, whatever an event contains."""
    locust.log.unhandled_greenlet_exception = False
    target = recorder()
    fields = ("request_type", "name", "response_time", "response_length", "response", "exception", "context")
    events = [event(**{name: odd}) for name in fields for odd in (None, Hostile(), object(), [], 7, "x", b"", math.nan)]
    fire(target.on_request, events, user())
    fire(target.on_request, events)
    assert target.requests.total == 2 * len(events)
    errors = target.errors
    monkeypatch.setattr(target.requests, "names", None)  # a bug of ours
    fire(target.on_request, [event(name="/new")], user())
    assert target.errors == errors + 1
    assert not locust.log.unhandled_greenlet_exception


# ------------------------------------------------------------------------------------------------------ properties

_ODD: st.SearchStrategy[Any] = st.sampled_from([None, math.nan, math.inf, -5, [], Decimal("NaN")])
_NAMES = st.sampled_from(["/", "/a", "/b", "", None, 7, "\n", "\ud800", "_OTHER"])
_EVENTS = st.fixed_dictionaries(
    {
        "request_type": st.sampled_from(["GET", "POST", None, ""]),
        "name": _NAMES | st.text(max_size=3),
        "response_time": _ODD | st.floats(0, 1e7) | st.integers(0, 10**7),
        "response_length": _ODD | st.integers(0, 10**9),
        "exception": st.sampled_from([None, None, FAILED, CatchResponseError("x"), ""]),
        "response": st.sampled_from([None, response(200), response(404), response(503)]),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_EVENTS, st.sampled_from(["user", "other", "report"])), max_size=25), st.integers(1, 5))
def test_any_events_equal_a_naive_recount(steps: list[tuple[dict[str, Any], str]], max_names: int) -> None:
    """The record of any events, with reports in between, equals a recount with dictionaries."""
    target = recorder(max_names=max_names)
    shopper = user()
    counts: Counter[tuple[str, ...]] = Counter()
    measured: Counter[tuple[str, ...]] = Counter()
    errors: Counter[str] = Counter()
    pairs: dict[tuple[str, str], None] = {}
    times: list[float] = []
    body_bytes = slow = 0
    for fields, source in steps:
        if source == "report":
            target.report()
            continue
        fire(target.on_request, [fields], *([shopper] if source == "user" else []))
        method, name = (
            str(v if v is not None else "").encode("utf-8", "replace").decode()
            for v in (fields["request_type"], fields["name"])
        )
        if (method, name) not in pairs and len(pairs) < max_names:
            pairs[method, name] = None
        if (method, name) not in pairs:
            method, name = method if method in {m for m, _ in pairs} else OTHER, OTHER
        outcome = "failure" if fields["exception"] else "success"
        key = (method, name, "Shopper" if source == "user" else "", outcome)
        counts[key] += 1
        time_ms, length = fields["response_time"], fields["response_length"]
        if isinstance(time_ms, int | float) and 0 <= time_ms < math.inf:
            measured[key] += 1
            times.append(time_ms / 1000)
            slow += time_ms / 1000 > 5
        body_bytes += length if isinstance(length, int) and length > 0 else 0
        if outcome == "failure":
            status = getattr(fields["response"], "status_code", 0)
            errors[str(status) if status >= 400 else type(fields["exception"]).__name__] += 1
    snapshot = target.snapshot()
    assert totals(snapshot) == counts
    assert {tuple(s.key): n for s in snapshot.series if (n := sum(s.counts.values()))} == measured
    assert math.fsum(s.sum_s for s in snapshot.series) == pytest.approx(math.fsum(times))
    assert sum(s.body_bytes for s in snapshot.series) == body_bytes
    assert sum(snapshot.slow(s) for s in snapshot.series) == slow
    by_type: Counter[str] = Counter()
    for error, count in snapshot.errors.items():
        by_type[error.error_type] += count
    assert by_type == errors
