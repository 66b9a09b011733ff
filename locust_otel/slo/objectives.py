"""What an SLO file asks for, as values.

Ratios and durations are decimals, so that a budget of 1 % reads 0.01 wherever it is written out, and a bound that is
met exactly is met.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import Enum
from functools import lru_cache

from locust_otel.core.catalogue import OTHER

TOLERANCE = Decimal("0.1")


class Sli(Enum):
    """What an objective looks at."""

    SUCCESS = "success"
    LATENCY = "latency"
    MEAN = "mean"


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    """Return a text in which `*` stands for any characters as a pattern."""
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


def _fits(value: str, texts: tuple[str, ...]) -> bool:
    return value in texts or any(_pattern(text).fullmatch(value) for text in texts if "*" in text)


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests an objective judges: those that fit each key, and none of the keys of `exclude`.

    A key fits where one of its texts does, in which `*` stands for any characters; an empty one takes any.
    """

    methods: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    user_classes: tuple[str, ...] = ()
    exclude: Match | None = None

    def covers(self, method: str, name: str, user_class: str) -> bool:
        """Return whether a request is one of them."""
        keys = ((name, self.names), (method, self.methods), (user_class, self.user_classes))
        if not all(not texts or _fits(value, texts) for value, texts in keys):
            return False
        no = self.exclude
        return no is None or not (
            _fits(name, no.names) or _fits(method, no.methods) or _fits(user_class, no.user_classes)
        )

    @property
    def covers_folded(self) -> bool:
        """Whether it covers requests that are counted under the name `_OTHER`."""
        return not self.names or _fits(OTHER, self.names)

    @property
    def uncertain(self) -> Match | None:
        """What takes the folded requests of which it is not known whether they fit; None where it is known of all.

        A name that is written out is never folded, so only a pattern leaves that open.
        """
        no = self.exclude
        texts = (no.names if no else ()) if self.covers_folded else self.names
        if not any("*" in text for text in texts):
            return None
        return replace(self, names=(OTHER,), exclude=no and replace(no, names=()))

    @property
    def knows_users(self) -> bool:
        """Whether it depends on the class of the user."""
        return bool(self.user_classes or (self.exclude and self.exclude.user_classes))

    def of_any_user(self) -> Match:
        """Return it without what it says of users."""
        exclude = None if self.exclude is None else replace(self.exclude, user_classes=())
        return replace(self, user_classes=(), exclude=exclude)

    def __bool__(self) -> bool:
        return bool(self.methods or self.names or self.user_classes or self.exclude)

    def __str__(self) -> str:
        parts = {"method": self.methods, "name": self.names, "user_class": self.user_classes}
        told = [f"{key} {' or '.join(values)}" for key, values in parts.items() if values]
        no = str(self.exclude).replace(", ", ", not ") if self.exclude else ""
        return ", ".join([*told, f"not {no}"] if no else told)


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective: the share of good requests in (0, 1), the longest duration, and the requests it judges.

    There is no target for a mean, and no duration for success.
    """

    name: str
    sli: Sli
    target: Decimal | None = None
    within_s: Decimal | None = None
    match: Match = Match()
    only_success: bool = False

    @property
    def budget(self) -> Decimal | None:
        """Share of requests that may be bad; None for one on the mean."""
        return None if self.target is None else 1 - self.target

    @property
    def sentence(self) -> str:
        """The objective in words: `99 % of requests succeed`."""
        who = "successful requests" if self.only_success else "requests"
        if self.match:
            who += f" ({self.match})"
        if self.target is None or self.within_s is None:
            if self.target is not None:
                return f"{percent(self.target)} of {who} succeed"
            return f"{who} take {spoken(self.within_s or Decimal(0))} on average at the most"
        return f"{percent(self.target)} of {who} answer within {spoken(self.within_s)}"


@dataclass(frozen=True, slots=True)
class Window:
    """A pair of windows whose burning is an alert, `critical` or `warning`.

    The short one ends the alert soon after the burning has. `budget` is the share of the whole budget that burns in the
    long window before it is an alert.
    """

    severity: str
    long_s: Decimal
    short_s: Decimal
    budget: Decimal

    def factor(self, period_s: Decimal) -> Decimal:
        """Return how many times faster than sustainable the budget burns where the alert begins."""
        factor = (self.budget * period_s / self.long_s).quantize(Decimal("0.000001"))
        return plain(factor)


@dataclass(frozen=True, slots=True)
class Slo:
    """An SLO file: the name of the file, its content, and what it says of one service."""

    service: str
    period_s: Decimal  # of the error budget
    scrape_interval_s: Decimal  # that the rules assume
    warmup_s: Decimal  # from the start of the run; not judged
    min_requests: int  # judged requests below which nothing is decided
    slow_s: Decimal  # a request that takes longer is slow
    objectives: tuple[Objective, ...]
    windows: tuple[Window, ...]
    tolerance: Decimal = TOLERANCE  # share of the load asked for, or of the time, that may be missing
    source: str = ""
    text: str = field(default="", repr=False, compare=False)

    @property
    def thresholds_s(self) -> tuple[float, ...]:
        """Seconds that must be bounds of the histogram for the judgement to be exact."""
        return tuple(float(o.within_s) for o in self.objectives if o.sli is Sli.LATENCY and o.within_s is not None)

    @property
    def names(self) -> frozenset[str]:
        """Request names that must not be folded away, since an objective asks for them."""
        matches = [match for o in self.objectives for match in (o.match, o.match.exclude) if match is not None]
        return frozenset(name for match in matches for name in match.names if "*" not in name)

    @property
    def spans_s(self) -> tuple[Decimal, ...]:
        """All lengths of windows, each once, the shortest first."""
        return tuple(sorted({span for window in self.windows for span in (window.long_s, window.short_s)}))

    @property
    def slis(self) -> set[Sli]:
        """What the objectives look at."""
        return {objective.sli for objective in self.objectives}

    @property
    def most_urgent(self) -> Window | None:
        """The shortest critical pair of windows, else the shortest; None if there is no pair."""
        return min(self.windows, key=lambda pair: (pair.severity != "critical", pair.long_s), default=None)


def plain(number: Decimal) -> Decimal:
    """Return a decimal without trailing zeros or an exponent: 30, not 3E+1."""
    return Decimal(f"{number.normalize():f}")


def percent(ratio: Decimal) -> str:
    """Return a ratio as people write it: `99.5 %`."""
    return f"{plain(ratio * 100)} %"


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def span(seconds: Decimal) -> str:
    """Return a duration as Prometheus writes it, `1m30s`, `500ms`."""
    milliseconds = int(seconds * 1000)
    if milliseconds % 1000:
        return f"{milliseconds}ms"
    left, parts = milliseconds // 1000, ""
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        parts += f"{count}{unit}" if count else ""
    return parts or "0s"


def spoken(seconds: Decimal) -> str:
    """Return a duration for people: `1.5 s`, `500 ms`, `30 min`, `4 h`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{plain(seconds / length)} {unit}"
    return f"{plain(seconds * 1000)} ms" if seconds < 1 else f"{plain(seconds)} s"
