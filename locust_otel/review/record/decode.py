"""From the lines of a record to values: cumulative numbers become what happened within each interval.

Strict about everything that the format says.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from locust_otel.core.catalogue import INVALID_REASONS, RUN_STATES, SLO_STATUSES
from locust_otel.core.histogram import Layout, layout
from locust_otel.core.snapshot import ErrorKey, SeriesKey
from locust_otel.slo.file import parse
from locust_otel.slo.objectives import Slo
from locust_otel.wire.record import (
    FORMAT,
    VERSION,
    Interval,
    Judgement,
    Mark,
    RecordedEvent,
    RecordError,
    SeriesDelta,
    WorkerReading,
)
from locust_otel.wire.report import count, decode_counts

_Key = TypeVar("_Key")

_MAX_COUNT = 2**63

_count = partial(count, limit=_MAX_COUNT)


@dataclass(slots=True)
class _Known:
    """Last values of a series."""

    unmeasured: int = 0
    sum_s: float = 0.0
    body_bytes: int = 0
    counts: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(slots=True)
class Contents:
    """Content of a record so far, without its intervals.

    Attributes:
        start_time: Unix time in seconds.
        warm_s: When the warm-up ended; None where it did not, or there is none.
        end: The last line; None while it has not come.
    """

    run_id: str
    start_time: float
    interval_s: float
    info: dict[str, str]
    settings: dict[str, Any]
    versions: dict[str, str]
    instance: str | None
    slow_s: float
    layout: Layout
    slo: Slo | None
    series: list[SeriesKey] = field(default_factory=list)
    errors: list[ErrorKey] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    events: list[RecordedEvent] = field(default_factory=list)
    warm_s: float | None = None
    end: dict[str, Any] | None = None
    _known: list[_Known] = field(default_factory=list)
    _known_errors: defaultdict[ErrorKey, int] = field(default_factory=lambda: defaultdict(int))
    _known_user_errors: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    _known_lags: dict[str, tuple[float, defaultdict[int, int]]] = field(default_factory=dict)
    _end_s: float = 0.0

    def take(self, line: bytes, where: str) -> Interval | None:
        """Take one line after the first; return the interval it is, if it is one.

        Raises:
            RecordError: It is nothing that a record of this version holds.
        """
        try:
            values = _object(line)
            kind = values["type"]
            if self.end is not None:
                raise ValueError(f"a line of type {kind!r} after the end")
            if kind == "interval":
                return self._interval(values)
            take = _LINES.get(kind)
            if take is None:
                raise ValueError(f"a line of unknown type {kind!r}")
            take(self, values)
        except RecordError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            raise RecordError(where, f"this is no line of a record: {_told(error)}", "rubbish") from error
        return None

    def _series(self, values: dict[str, Any]) -> None:
        for key in values["keys"]:
            self.series.append(SeriesKey(*_texts(key, 4)))
            self._known.append(_Known())

    def _errors(self, values: dict[str, Any]) -> None:
        self.errors += [ErrorKey(*_texts(key, 3)) for key in values["keys"]]

    def _mark(self, values: dict[str, Any]) -> None:
        self.marks.append(Mark(_number(values["at"]), *_texts([values["mark"], values["kind"]], 2)))

    def _event(self, values: dict[str, Any]) -> None:
        name, body, severity = _texts([values["name"], values["body"], values["severity"]], 3)
        self.events.append(RecordedEvent(_number(values["at"]), name, body, severity, _mapping(values["attributes"])))

    def _warm(self, values: dict[str, Any]) -> None:
        self.warm_s = _number(values["at"])

    def _end(self, values: dict[str, Any]) -> None:
        _number(values["at"])
        _count(values["recorded"])
        _state(values["state"])
        verdict = values["verdict"]
        for each in [] if verdict is None else verdict:
            if each["status"] not in SLO_STATUSES:
                raise ValueError(f"status {each['status']!r}")
        self.end = values

    def _interval(self, values: dict[str, Any]) -> Interval:
        start_s, end_s = _number(values["from"]), _number(values["to"])
        if start_s != self._end_s or end_s <= start_s:
            raise ValueError(f"an interval from {start_s} to {end_s} after {self._end_s}")
        interval = Interval(
            start_s=start_s,
            end_s=end_s,
            users=_whole(values["users"]),
            users_target=_whole(values["users_target"]),
            state=_state(values["state"]),
            elapsed_s=_number(values["elapsed_s"]),
            counts=self._counts(values["series"]),
            errors=_new(self._known_errors, {self.errors[_count(p)]: _count(n) for p, n in values["errors"]}),
            user_errors=_new(
                self._known_user_errors, {_pair(user_class, t): _count(n) for user_class, t, n in values["user_errors"]}
            ),
            workers=[self._worker(each) for each in values["workers"]],
            worker_states=None if values["worker_states"] is None else _whole(values["worker_states"]),
            workers_expected=_optional(values["workers_expected"], _count),
            slo=_optional(values["slo"], _judgements),
            locust_total=_optional(values["locust_total"], _count),
        )
        self._end_s = end_s
        return interval

    def _counts(self, entries: Sequence[Any]) -> dict[int, SeriesDelta]:
        """Return what is new in each series that has anything new."""
        # In one loop, since there are many: an hour of 50 series has 180,000 entries.
        result: dict[int, SeriesDelta] = {}
        all_known, last = self._known, len(self.layout.bounds)
        for position, unmeasured, sum_to_s, body_bytes, gaps in entries:
            if not type(position) is type(unmeasured) is type(body_bytes) is int or position < 0 or position in result:
                raise ValueError(f"series {position!r}")
            known = all_known[position]
            counts = _new(known.counts, _buckets(gaps, last))
            more_unmeasured, more_bytes = unmeasured - known.unmeasured, body_bytes - known.body_bytes
            more_s = sum_to_s - known.sum_s
            if (
                more_unmeasured < 0
                or more_bytes < 0
                or max(unmeasured, body_bytes) >= _MAX_COUNT
                or not 0 <= more_s < math.inf
            ):
                raise ValueError(f"series {position}: a number that falls, or is out of range")
            if counts or more_unmeasured or more_bytes or more_s:
                known.unmeasured, known.sum_s, known.body_bytes = unmeasured, sum_to_s, body_bytes
                measured = sum(counts.values())
                result[position] = SeriesDelta(measured, more_unmeasured, more_s, more_bytes, counts, sum_to_s)
        return result

    def _worker(self, values: Mapping[str, Any]) -> WorkerReading:
        (name,) = _texts([values["worker"]], 1)
        reasons = tuple(_texts(values["reasons"], len(values["reasons"])))
        if not set(reasons) <= set(INVALID_REASONS):
            raise ValueError(f"reasons {reasons!r}")
        before_s, known = (not values["is_new"] and self._known_lags.get(name)) or (0.0, defaultdict(int))
        sum_s = _number(values["lag_sum_s"])
        if sum_s < before_s:
            raise ValueError(f"worker {name}: a sum that falls")
        lags = _new(known, _buckets(values["lag"], len(layout().bounds)))
        self._known_lags[name] = (sum_s, known)
        return WorkerReading(
            worker=name,
            cpu_ratio=_optional(values["cpu"], _number),
            memory_bytes=_optional(values["memory"], _count),
            users=_count(values["users"]),
            reasons=reasons,
            lag_counts=lags,
            lag_sum_s=sum_s - before_s,
        )


_LINES: Mapping[str, Callable[[Contents, dict[str, Any]], None]] = {
    name: getattr(Contents, f"_{name}") for name in ("series", "errors", "mark", "event", "warm", "end")
}


def first(line: bytes, where: str) -> Contents:
    """Return what the first line says.

    Raises:
        RecordError: It is not that of a record, or of one of another version.
    """
    try:
        values = _object(line)
        if values.get("format") != FORMAT or values.get("type") != "run":
            raise RecordError(where, "this is not the record of a run.", "format")
        if values["version"] == 1:
            raise RecordError(where, "this is of version 1; locust-otel 0.1 reads it.", "version")
        if values["version"] != VERSION:
            found = f"this is of version {values['version']!r}, and version {VERSION} is read here."
            raise RecordError(where, f"{found} Use the locust-otel that has written it.", "version")
        known = layout(_number(bound) for bound in values["thresholds_s"])
        if [*known.bounds] != values["bounds"] or [*layout().bounds] != values["lag_bounds"]:
            raise ValueError("other edges of the histogram than this version of the format has")
        slo = values["slo"]
        return Contents(
            run_id=_texts([values["run_id"]], 1)[0],
            start_time=_number(values["start_time"]),
            interval_s=_number(values["interval_s"]),
            info=_mapping(values["info"]),
            settings=_mapping(values["settings"]),
            versions=_mapping(values["versions"]),
            instance=values["instance"],
            slow_s=_number(values["slow_s"]),
            layout=known,
            slo=None if slo is None else parse(slo["text"].encode(), slo["source"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise RecordError(where, f"this is no first line of a record: {_told(error)}", "rubbish") from error


def _told(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _object(line: bytes) -> dict[str, Any]:
    return _mapping(json.loads(line.decode("ascii")))


def _mapping(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise TypeError(f"{value!r} is no object")
    return value


def _texts(values: Sequence[Any], count: int) -> list[str]:
    if len(values) != count or not all(type(value) is str for value in values):
        raise TypeError(f"{values!r} are not {count} texts")
    return list(values)


def _pair(first_text: Any, second_text: Any) -> tuple[str, str]:
    one, other = _texts([first_text, second_text], 2)
    return one, other


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError(f"{value!r} is no time")
    return float(value)


def _state(value: Any) -> str:
    if value not in RUN_STATES:
        raise ValueError(f"state {value!r}")
    return str(value)


def _optional(value: Any, read: Callable[[Any], Any]) -> Any:
    return None if value is None else read(value)


def _whole(values: Any) -> dict[str, int]:
    return {name: _count(value) for name, value in _mapping(values).items()}


def _buckets(gaps: Any, last: int) -> dict[int, int]:
    counts = decode_counts(gaps)
    if counts and next(reversed(counts)) > last:
        raise ValueError(f"a bucket above {last}")
    return counts


def _new(known: defaultdict[_Key, int], told: Mapping[_Key, int]) -> dict[_Key, int]:
    """Return how much more is told than was known, and note what is told."""
    new = {}
    for key, number in told.items():
        if more := number - known[key]:
            new[key] = more
            known[key] = number
    if new and min(new.values()) < 0:
        raise ValueError("a count that falls")
    return new


def _judgements(values: Any) -> dict[str, Judgement]:
    result: dict[str, Judgement] = {}
    for name, each in _mapping(values).items():
        if each["status"] not in SLO_STATUSES:
            raise ValueError(f"status {each['status']!r}")
        result[name] = Judgement(_count(each["good"]), _count(each["bad"]), _number(each["sum_s"]), each["status"])
    return result
