"""Program that simulates the runs with a known pattern, analyzes them, and prints how often that pattern is named.

    python -m tests.analysis.ground_truth [--write]

With --write it writes the tables into docs/analysis.md. It takes 4 minutes on two cores.
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


def judged(case: Case, analysis: Analysis) -> tuple[bool, str]:  # noqa: PLR0911  # one for each pattern
    """Return whether the pattern and its figure are right, and the figure in words."""
    main = analysis.main
    if main.pattern is not case.expected:
        return False, main.pattern.value
    fault = parse(case.plan.fault) if case.plan.fault else None
    if isinstance(fault, PoolCliff):
        connections = fault.pool_size(DB_CONNECTIONS)
        true = capacity_rps(WEBSHOP_MIX, db_connections=connections, time_scale=case.plan.time_scale)
        named = float(main.figures["capacity_rps"])
        return abs(named / true - 1) <= 0.15, f"knee {named:.0f} of {true:.0f} requests/s ({named / true - 1:+.0%})"
    if isinstance(fault, Stall):
        named = float(main.figures["period_s"])
        return abs(named / fault.period_s - 1) <= 0.1, f"period {named:.1f} of {fault.period_s:g} s"
    if main.pattern is Pattern.SLOW_ENDPOINT:
        right = main.endpoint.split()[-1] == getattr(fault, "route", "")
        return right, f"{main.endpoint} since {main.since_s:.0f} of {SLOW_FROM_S:.0f} s"
    if main.pattern is Pattern.LINEAR:
        named, true = float(main.figures["slope_s_per_request_in_flight"]), float(getattr(fault, "per_request_s", 0))
        return True, f"{named * 1000:.1f} of {true * 1000:.1f} ms a request in flight"
    if main.pattern is Pattern.LEAK:
        named, true = float(main.figures["slope_s_per_min"]), float(getattr(fault, "per_minute_s", 0))
        return True, f"{named * 1000:.0f} of {true * 1000:.0f} ms/min"
    return True, ""


def main(arguments: Sequence[str]) -> int:
    """Simulate, analyze and print; return 1 if fewer cases are right than docs/analysis.md promises."""
    everything = [*cases(), *variations()]
    if arguments[:1] == ["--simulate"]:
        folder, first = Path(arguments[1]), int(arguments[2])
        for case in everything[first::PROCESSES]:
            if not list((folder / case.slug).glob("*.gz")):
                simulate(case.plan, folder / case.slug)
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
    """Return the tables, and whether the first one is as good as promised."""
    lines: list[str] = []
    kept = True
    for title, is_variation in (("Default parameters", False), ("Other parameters, not looked at before", True)):
        chosen = [case for case in everything if case.is_variation is is_variation]
        rows = []
        right, wrong_and_certain = 0, 0
        for case in chosen:
            analysis = analyze(timeline(load(next((folder / case.slug).glob("*.gz")))))
            main, *others = analysis.findings
            is_right, figure = judged(case, analysis)
            right += is_right
            wrong_and_certain += not is_right and main.is_certain
            also = ", ".join(f"{finding.pattern} ({finding.confidence_word})" for finding in others)
            rows.append(
                f"| {case.fault} | {case.load} | {case.seed} | {main.pattern} | {main.confidence_word} | "
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
