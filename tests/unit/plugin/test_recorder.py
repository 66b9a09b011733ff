"""Tests of the recorder: through Locust's own event hook, from the greenlets that requests come from."""

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

from locust_otel.core.cardinality import MAX_ERROR_TYPES
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
    """A recorder, and what the exporter makes of its requests."""

    def __init__(self, load: Load) -> None:
        super().__init__(load.requests)
        self._load = load

    def report(self) -> None:
        """Count and report, as four times a second."""
        self.look_for_traces()
        self._load.tally()

    def snapshot(self) -> RequestsSnapshot:
        """Return what the exporter knows."""
        return self._load.snapshot()


def recorder(*, max_names: int = 200, slow_s: float = 5.0) -> Recording:
    """Return a recorder that has recorded nothing."""
    return Recording(Load(slow_s=slow_s, max_names=max_names))


def test_names_that_are_grouped() -> None:
    """Each is counted under its group, at once the quick way too, and only so many names are kept for that."""
    target = Recording(Load(max_names=9, group_names=True))
    names = [f"/items/{n}" for n in range(GROUPED_KEPT + 5)]
    for _ in range(2):
        fire(target.on_request, [event(name=name) for name in names], user())
    fire(target.on_request, [event(name="/items/7", exception=ValueError("x"))], user())
    found = target.snapshot()
    assert totals(found) == {
        ("GET", "/items/[id]", "Shopper", "success"): 2 * len(names),
        ("GET", "/items/[id]", "Shopper", "failure"): 1,
    }
    assert [key.name for key in found.errors] == ["/items/[id]"]
    assert sum(len(kept) for by_method in target._series.values() for kept in by_method.values()) == GROUPED_KEPT


def test_slow_requests_take_no_place_of_grouped_names() -> None:
    """A name that is kept is counted once, however often the slow way sees it."""
    target = Recording(Load(slow_s=0.01, max_names=9, group_names=True))
    fire(target.on_request, [event(name="/items/1", response_time=20)] * (GROUPED_KEPT + 5), user())
    fire(target.on_request, [event(name="/items/2", response_time=20)], user())
    assert list(target._series[Shopper]["GET"]) == ["/items/1", "/items/2"]


def test_nothing_is_kept_of_names_that_are_folded_or_cut_after_grouping() -> None:
    """Names that are no ids take no place among those that are grouped."""
    target = Recording(Load(max_names=2, group_names=True))
    fire(target.on_request, [event(name=name) for name in ("/", "/items/1")], user())
    fire(target.on_request, [event(name=f"/x{number}") for number in range(50)], user())
    fire(target.on_request, [event(name=f"/items/1?{'x' * MAX_LABEL_LENGTH}{number}") for number in range(50)], user())
    assert list(target._series[Shopper]["GET"]) == ["/", "/items/1"]
    assert target.requests.total == 102


def recorded(*events: Mapping[str, Any], **limits: Any) -> RequestsSnapshot:
    """Return what is recorded of events that one user fires."""
    target = recorder(**limits)
    fire(target.on_request, events, user())
    return target.snapshot()


def response(status: object, headers: object = None) -> Any:
    """Return a response with this status, falsy from 400 up as those of `requests` are."""

    class Response:
        status_code = status
        request = SimpleNamespace(headers=headers)

        def __bool__(self) -> bool:
            return isinstance(status, int) and status < 400

    return Response()


class Hostile:
    """An object that fails at whatever it is asked."""

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
    """An object that says yes to a comparison, and is no number."""

    def __le__(self, other: object) -> bool:
        return True


# ------------------------------------------------------------------------------------------------------ who asked


@pytest.mark.parametrize("user_class", [Shopper, Admin])
def test_class_of_the_user(user_class: type[User]) -> None:
    """Requests of a user's greenlet carry the class of the user, the first one and later ones."""
    target = recorder()
    fire(target.on_request, [event()] * 3, user(user_class), "another argument")
    assert totals(target.snapshot()) == {("GET", "/", user_class.__name__, "success"): 3}


@pytest.mark.parametrize("arguments", [(), (7,), ("Shopper",), (Shopper,), (None,)], ids=repr)
def test_greenlets_of_nobody(arguments: tuple[object, ...]) -> None:
    """A greenlet without arguments, or whose first one is no user, has no user class."""
    target = recorder()
    fire(target.on_request, [event()] * 3, *arguments)
    assert totals(target.snapshot()) == {("GET", "/", "", "success"): 3}
    assert target.errors == 0


def test_main_greenlet() -> None:
    """The main greenlet, as of `run_single_user`, has no user class."""
    target = recorder()
    hook = EventHook()
    hook.add_listener(target.on_request)
    hook.fire(**event())
    hook.fire(**event())
    assert totals(target.snapshot()) == {("GET", "/", "", "success"): 2}


@pytest.mark.parametrize(
    "arguments", [None, {}, {0: "x"}, 5, Hostile()], ids=["None", "empty", "dict", "int", "hostile"]
)
def test_greenlets_with_arguments_of_their_own_kind(arguments: object) -> None:
    """A greenlet of another library whose `args` is no sequence loses no request."""

    class Foreign(greenlet.greenlet):  # type: ignore[misc]  # no stubs
        args = arguments

    target = recorder()
    Foreign(lambda: target.on_request(**event())).switch()
    assert totals(target.snapshot()) == {("GET", "/", "", "success"): 1}


def test_user_class_that_lies() -> None:
    """An argument whose `__class__` cannot even be read is no user, and its request counts."""

    class Proxy:
        @property  # type: ignore[misc]  # as unbound proxies of Werkzeug do
        def __class__(self) -> type:
            raise RuntimeError("unbound")

    target = recorder()
    fire(target.on_request, [event()], Proxy())
    assert totals(target.snapshot()) == {("GET", "/", "", "success"): 1}


def test_two_users_side_by_side() -> None:
    """Two users who take turns are told apart request by request."""
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
    """A custom client may leave fields out, and may add its own."""
    requests_ = recorded({"request_type": "WSS", "name": "msg", "response_time": 3}, {"name": "msg", "mine": 1}, {})
    assert totals(requests_) == {
        ("WSS", "msg", "Shopper", "success"): 1,
        ("", "msg", "Shopper", "success"): 1,
        ("", "", "Shopper", "success"): 1,
    }


# -------------------------------------------------------------------------------------------------- what came of it


def test_outcome_as_locust_judges() -> None:
    """A request has failed where Locust's `if exception` says so, whatever the status."""
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
    """The kind of a failure is the status from 400 up, falsy responses too, and else the class of the exception."""
    requests_ = recorded(event(response=answer, exception=exception), event(response=answer, exception=exception))
    assert totals(requests_) == {("GET", "/", "Shopper", "failure"): 2}
    assert sum(requests_.errors.values()) == 2
    if error_type is not None:
        assert requests_.errors == {ErrorKey("GET", "/", error_type): 2}


def test_success_with_an_error_status_is_no_error() -> None:
    """A 404 that a test declared a success counts as one and not as an error."""
    requests_ = recorded(event(response=response(404)), event(response=response(404)))
    assert requests_.errors == {}
    assert totals(requests_) == {("GET", "/", "Shopper", "success"): 2}


def test_error_types_are_bounded() -> None:
    """A class of exception made for each request ends in `_OTHER`, and each failure counts."""
    classes = [type(f"Error{number}", (Exception,), {}) for number in range(MAX_ERROR_TYPES + 40)]
    errors = recorded(*(event(exception=made()) for made in classes)).errors
    assert len(errors) == MAX_ERROR_TYPES + 1
    assert errors[ErrorKey("GET", "/", OTHER)] == 40
    assert sum(errors.values()) == MAX_ERROR_TYPES + 40


# -------------------------------------------------------------------------------------------------------- how long


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
def test_durations_that_are_none(odd: object, position: int, exception: object) -> None:
    """A request without a usable duration counts once, and stays out of histogram and sum."""
    events = [event(response_time=10, exception=exception), event(response_time=20, exception=exception)]
    events.insert(position, event(response_time=odd, exception=exception))
    requests_ = recorded(*events)
    (series,) = requests_.series
    assert (series.total, sum(series.counts.values()), series.unmeasured) == (3, 2, 1)
    assert series.sum_s == pytest.approx(0.03)
    assert series.body_bytes == 300


@pytest.mark.parametrize("good", [0, 0.0, 12, 12.5, True, Decimal("12.5"), Fraction(25, 2), 1e9, 5e-324], ids=repr)
def test_durations_of_every_kind_of_number(good: Any) -> None:
    """Any real number that is not negative is a duration in milliseconds, first or later."""
    (series,) = recorded(event(), event(response_time=good), event(response_time=good)).series
    assert (sum(series.counts.values()), series.unmeasured) == (3, 0)
    assert series.sum_s == pytest.approx(0.012 + 2 * float(good) / 1000)


@pytest.mark.parametrize(
    "odd",
    [None, math.nan, math.inf, -7, "12", "abc", [], object(), Decimal("NaN"), Hostile()],
    ids=lambda o: type(o).__name__,
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_lengths_that_are_none(odd: object, position: int) -> None:
    """A request whose length is no number counts like any other, with no bytes."""
    events = [event(response_length=100), event(response_length=200)]
    events.insert(position, event(response_length=odd))
    (series,) = recorded(*events).series
    assert (sum(series.counts.values()), series.unmeasured, series.body_bytes) == (3, 0, 300)


def test_bytes_of_unmeasured_requests_count() -> None:
    """A request without a duration still brought its bytes."""
    (series,) = recorded(event(response_time=None), event(response_time=None, response_length=None)).series
    assert (series.unmeasured, series.body_bytes) == (2, 100)


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
    """Whatever stands for a name or a method becomes text that can be written as UTF-8, and each request counts."""
    target = recorder()
    fire(target.on_request, [event(name=name)] * 3 + [event(request_type=name)] * 2, user())
    assert totals(target.snapshot()) == {
        ("GET", label, "Shopper", "success"): 3,
        (label, "/", "Shopper", "success"): 2,
    }


def test_ten_thousand_names() -> None:
    """Beyond the limit names are counted together, exactly as many as there are requests."""
    events = [event(name=f"/item/{number}") for number in range(10_000)]
    found = totals(recorded(*events, *events[:50], max_names=100))
    assert found.pop(("GET", OTHER, "Shopper", "success")) == 9_900
    assert found == {("GET", f"/item/{n}", "Shopper", "success"): 2 if n < 50 else 1 for n in range(100)}


def test_nothing_is_kept_of_folded_or_cut_names() -> None:
    """Names that only differ beyond the cut, or were folded, take no memory each: only a few are remembered."""
    target = recorder(max_names=5)
    fire(target.on_request, [event(name=f"{'x' * MAX_LABEL_LENGTH}{number}") for number in range(500)], user())
    fire(target.on_request, [event(name=f"/{number}") for number in range(500)], user())
    fire(target.on_request, [event(name=f"{number}\ud800") for number in range(500)], user())
    assert target.requests.total == 1_500
    assert sum(len(by_name) for by_method in target._series.values() for by_name in by_method.values()) <= 10


def test_a_secret_in_a_name_is_no_label_and_its_requests_are_counted() -> None:
    """Two requests whose names differ in their token alone are two of one series."""
    target = recorder()
    for token in ("one", "two"):
        target.on_request(request_type="GET", name=f"/a?token={token}", response_time=1, response_length=0)
    (series,) = target.snapshot().series
    assert (series.key.name, series.total) == ("/a?token=REDACTED", 2)


# ------------------------------------------------------------------------------------------------ traces, slow ones


class CountingHeaders:
    """Headers that count who looks."""

    def __init__(self, value: str | None = TRACEPARENT) -> None:
        self.looked = 0
        self._value = value

    def get(self, name: str) -> str | None:
        """Return the header as `requests` does, without a look at upper and lower case."""
        self.looked += 1
        return self._value if name.lower() == "traceparent" else None


def test_one_look_at_the_trace_between_tallies() -> None:
    """Of the successes of a series only the first after each tally is asked for its trace."""
    target = recorder()
    headers = CountingHeaders()
    events = [event(response=response(200, headers), response_time=number) for number in range(1, 51)]
    for tally in range(1, 4):
        fire(target.on_request, events, user())
        assert headers.looked == tally
        target.report()


def test_one_look_at_the_trace_of_failures() -> None:
    """Of the failures of a series, too, only the first after each tally is asked for its trace."""
    target = recorder()
    headers = CountingHeaders()
    for tally in range(1, 3):
        fire(target.on_request, [event(response=response(500, headers), exception=FAILED)] * 20, user())
        assert headers.looked == tally
        target.report()


def test_a_few_looks_between_reports() -> None:
    """However many series there are, so many of them are asked for a trace, and their requests count all the same."""
    target = recorder()
    headers = CountingHeaders()
    events = [event(name=f"/{n}", response=response(200, headers)) for n in range(2 * TRACES_PER_REPORT)]
    fire(target.on_request, events, user())
    target.report()
    headers.looked = 0
    for turn in (1, 2):
        fire(target.on_request, events * 2, user())
        assert headers.looked == turn * TRACES_PER_REPORT
        target.report()
    assert target.snapshot().total == 5 * len(events)


def test_exemplar_stands_at_its_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exemplar of a request lies at the classic bucket of its duration, with its trace and time."""
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
    """A trace that is not sampled will not be found: it makes no exemplar."""
    (series,) = recorded(event(response=response(200, CountingHeaders(header)))).series
    assert series.exemplars == {}


def test_slow_requests_are_kept_at_the_threshold() -> None:
    """Those slower than the threshold are kept for the log, those at it are not, and the count agrees."""
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
    """At thresholds whose float is not exact the log and the counter draw the line at the same float."""
    target = recorder(slow_s=threshold_ms / 1000)
    times = [math.nextafter(threshold_ms, 0), threshold_ms, threshold_ms * (1 + 1e-12), threshold_ms + 1]
    fire(target.on_request, [event(response_time=0), *(event(response_time=t) for t in times)], user())
    taken = target.snapshot()
    assert len(target.slow_requests) == taken.slow(taken.series[0]) == 2


def test_slow_failure_says_what_failed() -> None:
    """A slow failure is kept with its error type, one without an answer with the class of its exception."""
    target = recorder(slow_s=1.0)
    slow = event(response_time=30_000, exception=requests.ReadTimeout())
    fire(target.on_request, [slow, event(response_time=2_000, exception=FAILED, response=response(504))], user())
    assert [(r.status, r.key.outcome, r.trace_id) for r in target.slow_requests] == [
        ("ReadTimeout", "failure", ""), ("504", "failure", ""),
    ]  # fmt: skip


def test_slow_requests_without_a_place_are_counted() -> None:
    """The latest slow requests are kept, and the others counted."""
    target = recorder(slow_s=1.0)
    fire(target.on_request, [event(response_time=2_000 + n) for n in range(SLOW_REQUESTS_KEPT + 7)], user())
    assert len(target.slow_requests) == SLOW_REQUESTS_KEPT
    assert target.slow_requests[0].duration_s == pytest.approx(2.007)
    assert target.slow_requests_dropped == 7


# ------------------------------------------------------------------------------------------------------------ runs


def test_record_into_another_run() -> None:
    """After a change of run nothing goes to the one before, and the new threshold holds."""
    first = recorder(slow_s=5.0)
    old = first.requests
    new = Requests(slow_s=0.005, max_names=10)

    def run(_user: object) -> None:
        for _ in range(3):
            first.on_request(**event())
        first.record_into(new)
        for _ in range(4):
            first.on_request(**event())

    gevent.spawn(run, user()).get()
    assert (old.total, new.total) == (3, 4)
    assert len(first.slow_requests) == 4


def test_requests_still_pending_stay_with_their_run() -> None:
    """A series that was busy when the run changed goes on in the new run, and no request changes sides."""
    target = recorder()
    old, new = target.requests, Requests(slow_s=5.0, max_names=10)
    fire(target.on_request, [event()] * 3, user())
    target.record_into(new)
    fire(target.on_request, [event()] * 4, user())
    assert (old.total, new.total) == (3, 4)


def test_nothing_comes_out_of_the_hook() -> None:
    """Locust's own flag for listeners that raised stays down, whatever an event holds."""
    locust.log.unhandled_greenlet_exception = False
    target = recorder()
    fields = ("request_type", "name", "response_time", "response_length", "response", "exception", "context")
    events = [event(**{name: odd}) for name in fields for odd in (None, Hostile(), object(), [], 7, "x", b"", math.nan)]
    fire(target.on_request, events, user())
    fire(target.on_request, events)
    assert target.requests.total == 2 * len(events)
    assert not locust.log.unhandled_greenlet_exception


# -------------------------------------------------------------------------------------------------- all of it at once

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
@given(st.lists(st.tuples(_EVENTS, st.sampled_from(["user", "nobody", "tally"])), max_size=25), st.integers(1, 5))
def test_any_events_equal_a_naive_recount(steps: list[tuple[dict[str, Any], str]], max_names: int) -> None:
    """Whatever is fired by whom, with tallies in between, equals a recount with dictionaries."""
    target = recorder(max_names=max_names)
    someone = user()
    counts: Counter[tuple[str, ...]] = Counter()
    measured: Counter[tuple[str, ...]] = Counter()
    errors: Counter[str] = Counter()
    pairs: dict[tuple[str, str], None] = {}
    times: list[float] = []
    body_bytes = slow = 0
    for fields, who in steps:
        if who == "tally":
            target.report()
            continue
        fire(target.on_request, [fields], *([someone] if who == "user" else []))
        method, name = (
            str(v if v is not None else "").encode("utf-8", "replace").decode()
            for v in (fields["request_type"], fields["name"])
        )
        if (method, name) not in pairs and len(pairs) < max_names:
            pairs[method, name] = None
        if (method, name) not in pairs:
            method, name = method if method in {m for m, _ in pairs} else OTHER, OTHER
        outcome = "failure" if fields["exception"] else "success"
        key = (method, name, "Shopper" if who == "user" else "", outcome)
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
    found = target.snapshot()
    assert totals(found) == counts
    assert {tuple(s.key): n for s in found.series if (n := sum(s.counts.values()))} == measured
    assert math.fsum(s.sum_s for s in found.series) == pytest.approx(math.fsum(times))
    assert sum(s.body_bytes for s in found.series) == body_bytes
    assert sum(found.slow(s) for s in found.series) == slow
    by_type: Counter[str] = Counter()
    for error, count in found.errors.items():
        by_type[error.error_type] += count
    assert by_type == errors
