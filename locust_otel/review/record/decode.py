"""From the lines of a record to values: strict about everything that a version 1 says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

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

_MAX_COUNT = 2**63


@dataclass(slots=True)
class Contents:
    """What the lines of a record have said so far, but for its intervals.

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
    _sums: list[float] = field(default_factory=list)
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
            self._sums.append(0.0)

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
        verdict = values["verdict"]
        for each in [] if verdict is None else verdict:
            if each["status"] not in SLO_STATUSES:
                raise ValueError(f"status {each['status']!r}")
        self.end = values

    def _interval(self, values: dict[str, Any]) -> Interval:
        start_s, end_s = _number(values["from"]), _number(values["to"])
        if start_s != self._end_s or end_s <= start_s:
            raise ValueError(f"an interval from {start_s} to {end_s} after {self._end_s}")
        if values["state"] not in RUN_STATES:
            raise ValueError(f"state {values['state']!r}")
        counts: dict[int, SeriesDelta] = {}
        last = len(self.layout.bounds)
        sums = self._sums
        # Checked all at once, in C where that is possible: an hour of 50 series has 180,000 entries.
        entries = values["series"]
        _check_gaps([number for entry in entries for number in entry[4:]])
        heads = [number for entry in entries for number in (entry[0], entry[1], entry[3])]
        if heads and (type(sum(heads)) is not int or min(heads) < 0 or max(heads) >= _MAX_COUNT):
            raise ValueError(f"series {heads!r}")
        for entry in entries:
            position, unmeasured, sum_to_s, body_bytes = entry[:4]
            if position in counts or position >= len(sums):
                raise ValueError(f"series {position!r}")
            sum_s = sum_to_s - sums[position]
            if not 0 <= sum_s < math.inf:
                raise ValueError(f"series {position}: a sum that falls")
            sums[position] = sum_to_s
            del entry[:4]
            measured, by_index = _counts(entry, last)
            counts[position] = SeriesDelta(measured, unmeasured, sum_s, body_bytes, by_index, sum_to_s)
        interval = Interval(
            start_s=start_s,
            end_s=end_s,
            users=_whole(values["users"]),
            users_target=_whole(values["users_target"]),
            state=values["state"],
            elapsed_s=_number(values["elapsed_s"]),
            counts=counts,
            errors={self.errors[_count(position)]: _count(n) for position, n in values["errors"]},
            user_errors={_pair(user_class, kind): _count(n) for user_class, kind, n in values["user_errors"]},
            workers=[_worker(each) for each in values["workers"]],
            worker_states=None if values["worker_states"] is None else _whole(values["worker_states"]),
            workers_expected=_optional(values["workers_expected"], _count),
            slo=_optional(values["slo"], _judgements),
            locust_total=_optional(values["locust_total"], _count),
        )
        self._end_s = end_s
        return interval


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


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MAX_COUNT:
        raise ValueError(f"{value!r} is no count")
    return value


def _optional(value: Any, read: Callable[[Any], Any]) -> Any:
    return None if value is None else read(value)


def _whole(values: Any) -> dict[str, int]:
    return {name: _count(value) for name, value in _mapping(values).items()}


def _check_gaps(gaps: Sequence[Any]) -> None:
    # Steps in C, since there are many. A sum of integers is one, and of other things is not, or raises.
    if gaps and (type(sum(gaps)) is not int or min(gaps) < 1 or max(gaps) >= _MAX_COUNT):
        raise ValueError(f"gaps and counts {gaps!r}")


def _counts(gaps: list[Any], last: int) -> tuple[int, dict[int, int]]:
    """Return the sum of gaps and counts in turn, and the counts by index; the numbers were checked."""
    if not gaps:
        return 0, {}
    steps, counts = gaps[::2], gaps[1::2]
    steps[0] -= 1
    if (last_index := sum(steps)) > last:
        raise ValueError(f"bucket {last_index} of {last}")
    return sum(counts), dict(zip(accumulate(steps), counts, strict=True))


_LAST_LAG = len(layout().bounds)


def _worker(values: Mapping[str, Any]) -> WorkerReading:
    reasons = tuple(_texts(values["reasons"], len(values["reasons"])))
    if not set(reasons) <= set(INVALID_REASONS):
        raise ValueError(f"reasons {reasons!r}")
    _check_gaps(values["lag"])
    return WorkerReading(
        worker=_texts([values["worker"]], 1)[0],
        cpu_ratio=_optional(values["cpu"], _number),
        memory_bytes=_optional(values["memory"], _count),
        users=_count(values["users"]),
        reasons=reasons,
        lag_counts=_counts(values["lag"], _LAST_LAG)[1],
        lag_sum_s=_number(values["lag_sum_s"]),
    )


def _judgements(values: Any) -> dict[str, Judgement]:
    result: dict[str, Judgement] = {}
    for name, each in _mapping(values).items():
        if each["status"] not in SLO_STATUSES:
            raise ValueError(f"status {each['status']!r}")
        result[name] = Judgement(_count(each["good"]), _count(each["bad"]), _number(each["sum_s"]), each["status"])
    return result
