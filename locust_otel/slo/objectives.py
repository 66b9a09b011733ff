"""Values of an SLO file.

Ratios and durations are decimals: a budget of 1 % is written 0.01, and a bound that is met exactly is met.
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
    """Service level indicator: the quantity that an objective limits."""

    SUCCESS = "success"
    LATENCY = "latency"
    MEAN = "mean"


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


def _fits(value: str, texts: tuple[str, ...]) -> bool:
    return value in texts or any(_pattern(text).fullmatch(value) for text in texts if "*" in text)


@dataclass(frozen=True, slots=True)
class Match:
    """Requests that an objective judges: they fit every key, and no key of `exclude`.

    A request fits a key if it fits one of its texts, where `*` matches any characters; every request fits an empty key.
    """

    methods: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    user_classes: tuple[str, ...] = ()
    exclude: Match | None = None

    def covers(self, method: str, name: str, user_class: str) -> bool:
        """Return whether the objective judges a request."""
        keys = ((name, self.names), (method, self.methods), (user_class, self.user_classes))
        if not all(not texts or _fits(value, texts) for value, texts in keys):
            return False
        excluded = self.exclude
        return excluded is None or not (
            _fits(name, excluded.names) or _fits(method, excluded.methods) or _fits(user_class, excluded.user_classes)
        )

    @property
    def covers_folded(self) -> bool:
        """True if it covers requests that are counted under the name `_OTHER`."""
        return not self.names or _fits(OTHER, self.names)

    @property
    def uncertain(self) -> Match | None:
        """Match of the folded requests that may or may not fit; None if this is known of all requests.

        Names without `*` are never folded, so only a pattern is uncertain.
        """
        texts = self.names
        if self.covers_folded:
            texts = self.exclude.names if self.exclude else ()
        if not any("*" in text for text in texts):
            return None
        return replace(self, names=(OTHER,), exclude=self.exclude and replace(self.exclude, names=()))

    @property
    def knows_users(self) -> bool:
        """True if it depends on the class of the user."""
        return bool(self.user_classes or (self.exclude and self.exclude.user_classes))

    def of_any_user(self) -> Match:
        """Return the match without its user classes."""
        return replace(self, user_classes=(), exclude=self.exclude and replace(self.exclude, user_classes=()))

    def __bool__(self) -> bool:
        return bool(self.methods or self.names or self.user_classes or self.exclude)

    def __str__(self) -> str:
        parts = {"method": self.methods, "name": self.names, "user_class": self.user_classes}
        words = [f"{key} {' or '.join(values)}" for key, values in parts.items() if values]
        if self.exclude:
            words.append("not " + str(self.exclude).replace(", ", ", not "))
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective: the share of good requests in (0, 1), the longest duration, and the requests that it judges.

    A mean has no target, and success has no duration.
    """

    name: str
    sli: Sli
    target: Decimal | None = None
    within_s: Decimal | None = None
    match: Match = Match()
    only_success: bool = False

    @property
    def budget(self) -> Decimal | None:
        """Share of requests that may be bad; None for a mean."""
        return None if self.target is None else 1 - self.target

    @property
    def sentence(self) -> str:
        """The objective in words: `99 % of requests succeed`."""
        requests = "successful requests" if self.only_success else "requests"
        if self.match:
            requests += f" ({self.match})"
        within = spoken(self.within_s or Decimal(0))
        if self.target is None:
            return f"{requests} take {within} on average at the most"
        return f"{percent(self.target)} of {requests} " + (f"answer within {within}" if self.within_s else "succeed")


@dataclass(frozen=True, slots=True)
class Window:
    """A pair of windows with an alert, `critical` or `warning`, that fires if the budget burns too fast in both.

    The short window ends the alert soon after the burn rate has fallen. At the limit, `budget` is the share of the
    whole budget that burns in the long window.
    """

    severity: str
    long_s: Decimal
    short_s: Decimal
    budget: Decimal

    def factor(self, period_s: Decimal) -> Decimal:
        """Return the burn rate above which the alert fires; 1 spends the budget in exactly the period."""
        return plain((self.budget * period_s / self.long_s).quantize(Decimal("0.000001")))


@dataclass(frozen=True, slots=True)
class Slo:
    """An SLO file: the name and content of the file, and the objectives of one service."""

    service: str
    period_s: Decimal  # of the error budget
    scrape_interval_s: Decimal  # assumed by the rules
    warmup_s: Decimal  # from the start of the run; not judged
    min_requests: int  # judged requests below which nothing is decided
    slow_s: Decimal  # a request that takes longer is slow
    objectives: tuple[Objective, ...]
    windows: tuple[Window, ...]
    tolerance: Decimal = TOLERANCE  # share of the target load, or of the time, that may be missing
    source: str = ""
    text: str = field(default="", repr=False, compare=False)

    @property
    def thresholds_s(self) -> tuple[float, ...]:
        """Seconds that must be bounds of the histogram for an exact verdict."""
        return tuple(float(o.within_s) for o in self.objectives if o.sli is Sli.LATENCY and o.within_s is not None)

    @property
    def names(self) -> frozenset[str]:
        """Request names that must not be folded, because an objective needs them."""
        matches = [match for o in self.objectives for match in (o.match, o.match.exclude) if match is not None]
        return frozenset(name for match in matches for name in match.names if "*" not in name)

    @property
    def spans_s(self) -> tuple[Decimal, ...]:
        """Lengths of all windows, without duplicates, the shortest first."""
        return tuple(sorted({span for window in self.windows for span in (window.long_s, window.short_s)}))

    @property
    def slis(self) -> set[Sli]:
        """SLIs of the objectives."""
        return {objective.sli for objective in self.objectives}

    @property
    def most_urgent(self) -> Window | None:
        """The shortest critical pair of windows, else the shortest; None if there is no pair."""
        return min(self.windows, key=lambda pair: (pair.severity != "critical", pair.long_s), default=None)


def plain(number: Decimal) -> Decimal:
    """Return a decimal without trailing zeros or an exponent: 30, not 3E+1."""
    return Decimal(f"{number.normalize():f}")


def percent(ratio: Decimal) -> str:
    """Return a ratio in percent: `99.5 %`."""
    return f"{plain(ratio * 100)} %"


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def span(seconds: Decimal) -> str:
    """Return a duration as Prometheus writes it: `1m30s`, `500ms`."""
    milliseconds = int(seconds * 1000)
    if milliseconds % 1000:
        return f"{milliseconds}ms"
    left, text = milliseconds // 1000, ""
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def spoken(seconds: Decimal) -> str:
    """Return a duration for people: `1.5 s`, `500 ms`, `30 min`, `4 h`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{plain(seconds / length)} {unit}"
    return f"{plain(seconds * 1000)} ms" if seconds < 1 else f"{plain(seconds)} s"
