"""`locust-otel doctor`: what an SLO file means, which request names of a run hold ids, or what is installed."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from locust_otel.core.catalogue import OTHER
from locust_otel.core.errors import ExitCode
from locust_otel.core.grouping import alike
from locust_otel.slo.objectives import Objective, Slo, Window, percent, span, spoken

_PACKAGES = ("locust-otel", "locust", "gevent", "uvicorn", "opentelemetry-sdk", "pydantic")


def add_to(commands: Any) -> None:
    """Add the command."""
    doctor = commands.add_parser(
        "doctor",
        help="say in words what an SLO file means, which request names hold ids, or what is installed",
        description="Say in words what an SLO file means, and which request names of a recorded run look like one; "
        "without either, what is installed.",
    )
    doctor.add_argument("record", nargs="?", metavar="RECORD", help="a run record, for its request names")
    doctor.add_argument("--slo", metavar="FILE", help="the SLO file")
    doctor.add_argument("--expect-rps", type=_rate, metavar="N", help="requests a second, for numbers in the words")
    doctor.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Say in words what was asked for."""
    from locust_otel.review.record import reader  # noqa: PLC0415  # no other command needs these
    from locust_otel.slo import file  # noqa: PLC0415

    lines: list[str] = []
    if options.slo is not None:
        lines += explained(file.load(options.slo), options.expect_rps)
    if options.record is not None:
        record = reader.load(options.record)
        lines += named((key.method, key.name) for key in record.series)
        folded = sum(series.total for series in record.requests().series if series.key.name == OTHER)
        lines += [f"{folded:,} requests of further names are counted as {OTHER}."] if folded else []
    print("\n".join(lines or _installed()))  # noqa: T201
    return ExitCode.OK


def named(names: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield which request names, by method and name, look like one, a line a group."""
    known = {(method, name) for method, name in names if name != OTHER}
    groups = alike(sorted(known))
    yield f"{len(known):,} request names, of which {sum(len(group.names) for group in groups):,} hold ids."
    yield from (f"  {group.sentence} ({len(group.names):,} names)" for group in groups)
    if groups:
        yield 'Give the calls name="…", or run with --group-names.'


def _rate(text: str) -> Decimal:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        rate = Decimal(0)
    if not rate.is_finite() or not 0 < rate <= 1_000_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of requests a second")
    return rate


def _installed() -> Iterator[str]:
    """Yield the versions of Python, the system and the packages that matter for a bug report, a line each."""
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} is missing"


def explained(slo: Slo, rps: Decimal | None = None) -> Iterator[str]:
    """Yield the meaning of an SLO file, line by line; with numbers if the requests a second are known."""
    requests = rps * slo.period_s if rps is not None else None
    yield f"{slo.source}: {len(slo.objectives)} objectives of {slo.service}, for {spoken(slo.period_s)}"
    if requests is not None:
        yield f"At {rps:f} requests a second those are about {requests:,.0f} requests."
    yield (
        f"The first {spoken(slo.warmup_s)} of a run are not judged."
        if slo.warmup_s
        else "A run is judged from its first request on."
    )
    wait = ""
    if rps:
        seconds = slo.warmup_s + Decimal(slo.min_requests) / rps
        wait = f" At that rate that takes until {seconds:.0f} s after the start."
    yield f"Nothing is decided, and nothing alerts, before {slo.min_requests:,} requests are judged.{wait}"
    yield f"A request is slow above {spoken(slo.slow_s)}."
    for objective in slo.objectives:
        yield ""
        yield from _objective(slo, objective, rps)


def _objective(slo: Slo, objective: Objective, rps: Decimal | None) -> Iterator[str]:
    sentence = objective.sentence
    yield f"{objective.name}: {sentence[0].upper()}{sentence[1:]}."
    share = " of those it judges" if objective.match or objective.only_success else ""
    if objective.budget is None:
        if pair := slo.most_urgent:
            yield (
                f"  LocustSLOMeanLatencyHigh fires when the mean is above {spoken(objective.within_s or Decimal(0))} "
                f"over {span(pair.long_s)} and over {span(pair.short_s)}."
            )
        return
    what = "fail" if objective.sli.value == "success" else "take longer"
    if rps is not None and not share:
        total = rps * slo.period_s
        yield (
            f"  {percent(objective.budget)} of about {total:,.0f} requests may {what}: "
            f"{total * objective.budget:,.0f} in {spoken(slo.period_s)}."
        )
    else:
        yield f"  {percent(objective.budget)} of the requests{share} may {what}; that is its error budget."
    for window in slo.windows:
        yield from _window(slo, objective, objective.budget, window, rps if not share else None)


def _window(slo: Slo, objective: Objective, budget: Decimal, window: Window, rps: Decimal | None) -> Iterator[str]:
    factor = window.factor(slo.period_s)
    ratio = factor * budget
    outage = (ratio * window.long_s).quantize(Decimal("0.1"))
    bad = "fail" if objective.sli.value == "success" else "take longer"
    many = f" (about {ratio * window.long_s * rps:,.0f} of {window.long_s * rps:,.0f})" if rps is not None else ""
    yield (
        f"  The {window.severity} alert fires when more than {_short(ratio)} of the requests{many} {bad} over "
        f"{span(window.long_s)}, and more than {_short(ratio)} over {span(window.short_s)}: the budget burns "
        f"{factor:f} times as fast as it may."
    )
    yield f"    With all of them bad after {span(window.long_s)} without any, that is after {outage:f} s."


def _short(ratio: Decimal) -> str:
    return percent(ratio.quantize(Decimal("0.00001")))
