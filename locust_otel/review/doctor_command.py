"""`locust-otel doctor`: explains an SLO file, lists request names that hold ids, or prints versions."""

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
from locust_otel.slo.objectives import Objective, Sli, Slo, Window, percent, span, spoken

_PACKAGES = ("locust-otel", "locust", "gevent", "uvicorn", "opentelemetry-sdk", "pydantic")


def add_to(commands: Any) -> None:
    """Add the command."""
    doctor = commands.add_parser(
        "doctor",
        help="explain an SLO file, list request names that hold ids, or print versions",
        description="Explain an SLO file, and list the request names of a recorded run that differ in their ids alone. "
        "Without arguments, print the installed versions.",
    )
    doctor.add_argument("record", nargs="?", metavar="RECORD", help="a run record, for its request names")
    doctor.add_argument("--slo", metavar="FILE", help="the SLO file to explain")
    doctor.add_argument("--expect-rps", type=_rate, metavar="N", help="requests a second, for the numbers")
    doctor.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the explanation, the request names, or the versions."""
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
    """Yield a line for each group of request names, given as method and name, that differ in their ids alone."""
    own_names = {(method, name) for method, name in names if name != OTHER}
    groups = alike(sorted(own_names))
    yield f"{len(own_names):,} request names, of which {sum(len(group.names) for group in groups):,} hold ids."
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
    """Yield a line for Python and each package that a bug report needs, with the version."""
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} is missing"


def explained(slo: Slo, rps: Decimal | None = None) -> Iterator[str]:
    """Yield the explanation of an SLO file line by line, with numbers if the requests a second are known."""
    yield f"{slo.source}: {len(slo.objectives)} objectives of {slo.service}, for {spoken(slo.period_s)}"
    if rps is not None:
        yield f"At {rps:f} requests a second those are about {rps * slo.period_s:,.0f} requests."
    yield (
        f"The warm-up of {spoken(slo.warmup_s)} is not judged."
        if slo.warmup_s
        else "A run is judged from its first request on."
    )
    wait = f" That takes {slo.warmup_s + slo.min_requests / rps:.0f} s from the start, at that rate." if rps else ""
    yield f"Verdicts and alerts need at least {slo.min_requests:,} judged requests.{wait}"
    yield f"A request is slow above {spoken(slo.slow_s)}."
    for objective in slo.objectives:
        yield ""
        yield from _objective(slo, objective, rps)


def _objective(slo: Slo, objective: Objective, rps: Decimal | None) -> Iterator[str]:
    sentence = objective.sentence
    yield f"{objective.name}: {sentence[0].upper()}{sentence[1:]}."
    if objective.budget is None:
        if pair := slo.most_urgent:
            yield (
                f"  LocustSLOMeanLatencyHigh fires when the mean is above {spoken(objective.within_s or Decimal(0))} "
                f"over {span(pair.long_s)} and over {span(pair.short_s)}."
            )
        return
    bad = "fail" if objective.sli is Sli.SUCCESS else "take longer"
    share = " that it judges" if objective.match or objective.only_success else ""
    if rps is not None and not share:
        total = rps * slo.period_s
        yield (
            f"  {percent(objective.budget)} of about {total:,.0f} requests may {bad}: "
            f"{total * objective.budget:,.0f} in {spoken(slo.period_s)}."
        )
    else:
        yield f"  {percent(objective.budget)} of the requests{share} may {bad}; that is its error budget."
    for window in slo.windows:
        yield from _window(window, window.factor(slo.period_s), objective.budget, bad, None if share else rps)


def _window(window: Window, factor: Decimal, budget: Decimal, bad: str, rps: Decimal | None) -> Iterator[str]:
    ratio = factor * budget
    share = percent(ratio.quantize(Decimal("0.00001")))
    many = f" (about {ratio * window.long_s * rps:,.0f} of {window.long_s * rps:,.0f})" if rps is not None else ""
    yield (
        f"  The {window.severity} alert fires when more than {share} of the requests{many} {bad} over "
        f"{span(window.long_s)}, and more than {share} over {span(window.short_s)}: the budget burns "
        f"{factor:f} times as fast as it may."
    )
    quiet, outage_s = span(window.long_s), ratio * window.long_s
    yield f"    If all requests are bad after {quiet} without a bad one, it fires after {outage_s:.1f} s."
