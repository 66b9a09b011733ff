"""Simulates the runs whose pattern is known, analyzes them, and prints how often the right one is named.

    python -m tests.analysis.ground_truth [--write]

With --write the tables go into docs/analysis.md. Four minutes on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from locust_otel.demo.faults import PoolCliff, Stall, parse
from locust_otel.demo.latency import DB_CONNECTIONS, capacity_rps
from locust_otel.review.analysis.analyze import analyze
from locust_otel.review.analysis.finding import Analysis, Pattern
from locust_otel.review.analysis.readers import from_record as timeline
from locust_otel.review.record.reader import load
from tests.analysis.cases import SLOW_FROM_S, WEBSHOP_MIX, Case, cases, variations
from tests.analysis.simulation import simulate

DOCS = Path(__file__).parents[2] / "docs" / "analysis.md"
PROCESSES = 2
_MARKS = ("<!-- ground truth: made by make analysis -->", "<!-- end of ground truth -->")


def all_cases() -> list[Case]:
    """Return the cases the detectors were made with, and then those they were only tried on."""
    return [*cases(), *variations()]


def judged(case: Case, found: Analysis) -> tuple[bool, str]:  # noqa: PLR0911  # one for each pattern
    """Return whether the right thing is said, and the figure that must be right with it."""
    main = found.main
    if main.pattern is not case.expected:
        return False, main.pattern.value
    fault = parse(case.plan.fault) if case.plan.fault else None
    if isinstance(fault, PoolCliff):
        connections = fault.pool_size(DB_CONNECTIONS)
        true = capacity_rps(WEBSHOP_MIX, db_connections=connections, time_scale=case.plan.time_scale)
        told = float(main.figures["capacity_rps"])
        return abs(told / true - 1) <= 0.15, f"knee {told:.0f} of {true:.0f} requests/s ({told / true - 1:+.0%})"
    if isinstance(fault, Stall):
        told = float(main.figures["period_s"])
        return abs(told / fault.period_s - 1) <= 0.1, f"period {told:.1f} of {fault.period_s:g} s"
    if main.pattern is Pattern.SLOW_ENDPOINT:
        right = main.endpoint.split()[-1] == getattr(fault, "route", "")
        return right, f"{main.endpoint} since {main.since_s:.0f} of {SLOW_FROM_S:.0f} s"
    if main.pattern is Pattern.LINEAR:
        told, true = float(main.figures["slope_s_per_request_in_flight"]), float(getattr(fault, "per_request_s", 0))
        return True, f"{told * 1000:.1f} of {true * 1000:.1f} ms a request in flight"
    if main.pattern is Pattern.LEAK:
        told, true = float(main.figures["slope_s_per_min"]), float(getattr(fault, "per_minute_s", 0))
        return True, f"{told * 1000:.0f} of {true * 1000:.0f} ms/min"
    return True, ""


def record_of(case: Case, folder: Path) -> Path:
    """Return where the record of a case is."""
    return folder / case.slug


def main(arguments: Sequence[str]) -> int:
    """Simulate, analyze, print; return 1 where less than the promise is kept."""
    everything = all_cases()
    if arguments[:1] == ["--simulate"]:
        folder, first = Path(arguments[1]), int(arguments[2])
        for case in everything[first::PROCESSES]:
            if not list(record_of(case, folder).glob("*.gz")):
                simulate(case.plan, record_of(case, folder))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments[arguments.index("--records") + 1]) if "--records" in arguments else Path(temporary)
        command = [sys.executable, "-m", "tests.analysis.ground_truth", "--simulate", str(folder)]
        running = [subprocess.Popen([*command, str(number)]) for number in range(PROCESSES)]
        if max(process.wait() for process in running):
            return 1
        text, kept = report(everything, folder)
    print(text)
    if "--write" in arguments:
        before, rest = DOCS.read_text().split(_MARKS[0])
        DOCS.write_text(f"{before}{_MARKS[0]}\n{text}\n{_MARKS[1]}{rest.split(_MARKS[1])[1]}")
    return 0 if kept else 1


def report(everything: Sequence[Case], folder: Path) -> tuple[str, bool]:
    """Return the tables, and whether what is promised of the first one is kept."""
    lines: list[str] = []
    kept = True
    for title, is_variation in (("Default parameters", False), ("Other parameters, not looked at before", True)):
        chosen = [case for case in everything if case.is_variation is is_variation]
        rows = []
        right, wrong_and_certain = 0, 0
        for case in chosen:
            found = analyze(timeline(load(next(record_of(case, folder).glob("*.gz")))))
            is_right, figure = judged(case, found)
            right += is_right
            wrong_and_certain += not is_right and found.main.is_certain
            also = ", ".join(f"{each.pattern} ({each.confidence_word})" for each in found.findings[1:])
            rows.append(
                f"| {case.fault} | {case.load} | {case.seed} | {found.main.pattern} | {found.main.confidence_word} | "
                f"{figure} | {also} | {'yes' if is_right else '**no**'} |"
            )
        lines += [
            f"**{title}: {right} of {len(chosen)} right, {wrong_and_certain} wrong with high confidence.**",
            "",
            "| fault | load | seed | named | confidence | figure | also said | right |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
        if not is_variation:
            kept = right >= 0.9 * len(chosen) and not wrong_and_certain
    return "\n".join(lines).rstrip(), kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
