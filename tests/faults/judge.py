"""Comparison of a run beside a fault with the budgets, and its row in the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.faults.bench import Fault, Figures

MAX_MORE_MEMORY = 16 * 2**20
"""Bytes of Locust's process above those of a run without a sink."""

MAX_EXPORTER_MEMORY = 96 * 2**20


@dataclass(frozen=True)
class Bars:
    """Limits of time, gap, exit and load compared with a run without a sink.

    Attributes:
        gap_s: Longest time without the end of a request, beyond the other's.
        exit_s: From the end of the load to the end of the process, beyond the other's.
        load_off: Difference of the load, as a share.
        scrape_s: Longest scrape of the good scraper.
    """

    gap_s: float
    exit_s: float
    load_off: float
    scrape_s: float


BUDGETS = Bars(gap_s=0.05, exit_s=2.0, load_off=0.02, scrape_s=2.0)
BLOCKED = Bars(gap_s=2.0, exit_s=6.0, load_off=0.5, scrape_s=5.0)
"""Limits that a busy machine keeps; a load or an end that waits for the sink, 10 s at the longest, does not."""

COLUMNS = (
    "fault", "largest gap beyond", "exit later", "load", "memory beyond", "log lines", "self-metric", "totals",
    "good scrape", "exporter's memory",
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """Result of a fault.

    Attributes:
        fault: The fault.
        figures: Figures of its run.
        gap_s: Longest time without the end of a request, beyond that of the run without a sink.
        exit_s: Time to the end of the process, beyond that of the run without a sink.
        load: Requests, as a share of those without a sink.
        memory: Bytes of Locust's process beyond those without a sink.
        times: Limits of time that were missed; a busy machine misses them too.
        counts: Other limits that were missed.
    """

    fault: Fault
    figures: Figures
    gap_s: float
    exit_s: float
    load: float
    memory: int
    times: tuple[str, ...]
    counts: tuple[str, ...]

    @property
    def misses(self) -> tuple[str, ...]:
        """All limits that were missed."""
        return self.times + self.counts

    def better(self, other: Judged) -> Judged:
        """Return the one that missed fewer limits of time, with the counts that either missed."""
        best = other if len(other.times) < len(self.times) else self
        return replace(best, counts=tuple(dict.fromkeys(self.counts + other.counts)))

    @property
    def totals(self) -> str:
        """Counts of the sink at the end, in words."""
        _, recorded, pushed = self.figures.account
        if self.fault.kind == "scraper":
            return "—"
        if self.figures.is_complete:
            return "complete"
        if "locust_otel_rejected_points_total" in self.fault.moves:
            return "rejected in part"
        return "nothing arrived" if pushed is None else f"{pushed / recorded:.0%} had arrived"

    @property
    def row(self) -> str:
        """The row of the table."""
        figures, lines = self.figures, sum(map(len, self.figures.lines.values()))
        metric = next(iter(self.fault.moves), "")
        value = f"{figures.moved.by(metric, **self.fault.moves[metric]).get((), 0):g}" if metric else ""
        labels = ",".join(f'{k}="{v}"' for k, v in self.fault.moves.get(metric, {}).items())
        shown = f"{metric}{{{labels}}}" if labels else metric
        cells = (
            self.fault.title, f"{max(self.gap_s, 0):.3f} s", f"{max(self.exit_s, 0):.1f} s", f"{self.load:.1%}",
            f"{max(self.memory, 0) / 2**20:.0f} MiB", str(lines), f"`{shown}` {value}" if metric else "",
            self.totals, f"{figures.scrape_s:.2f} s", f"{figures.exporter_rss / 2**20:.0f} MiB",
        )  # fmt: skip
        return "| " + " | ".join(cells) + " |"


def judge(fault: Fault, figures: Figures, calm: Figures, bars: Bars = BUDGETS) -> Judged:
    """Compare a run with one without any sink."""
    gap_s, exit_s = figures.gap_s - calm.gap_s, figures.exit_s - calm.exit_s
    load, memory = figures.requests / calm.requests, figures.rss - calm.rss
    missed = {
        f"gap {gap_s:.2f} s": gap_s > bars.gap_s,
        f"exit {exit_s:.1f} s later": exit_s > bars.exit_s,
        f"load {load:.1%}": abs(load - 1) > bars.load_off,
        f"a good scraper waited {figures.scrape_s:.1f} s": figures.scrape_s > bars.scrape_s + fault.away_s,
    }
    times = [what for what, is_missed in missed.items() if is_missed]
    counts = _counts(fault, figures)
    if memory > MAX_MORE_MEMORY:
        counts.append(f"memory {memory / 2**20:.0f} MiB more")
    if not 0 < figures.exporter_rss <= MAX_EXPORTER_MEMORY:
        counts.append(f"exporter's memory {figures.exporter_rss / 2**20:.0f} MiB")
    return Judged(fault, figures, gap_s, exit_s, load, memory, tuple(times), tuple(counts))


def _counts(fault: Fault, figures: Figures) -> list[str]:
    """Return the missed limits that do not depend on the machine's speed."""
    counts = []
    if figures.code != 0:
        counts.append(f"exit code {figures.code}")
    if "Traceback" in figures.log:
        counts.append(f"{figures.log.count('Traceback')} tracebacks")
    if figures.account[0] != figures.account[1]:
        counts.append(f"account {figures.account}")
    for metric, labels in fault.moves.items():
        if not figures.moved.by(metric, **labels).get((), 0) > 0:
            counts.append(f"{metric}{dict(labels)} did not move")
    for exporter, lines in figures.lines.items():
        if len(lines) != fault.changes.get(exporter, 0):
            counts.append(f"{len(lines)} lines about {exporter}: {lines}")
    if fault.is_complete and not figures.is_complete:
        counts.append(f"totals {figures.account}, sink {figures.taken.get('requests')}")
    return counts


def table(results: Sequence[Judged], calm: Figures) -> str:
    """Return the table, and the figures of the run without a sink."""
    head = "| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS)
    rows = "\n".join(result.row for result in results)
    return (
        f"{head}\n{rows}\n\nThe run without any sink: {calm.requests} requests in 8 s, largest gap {calm.gap_s:.3f} s, "
        f"exit {calm.exit_s:.1f} s after the load, {calm.rss / 2**20:.0f} MiB in Locust's process and "
        f"{calm.exporter_rss / 2**20:.0f} MiB in the exporter.\n"
    )
