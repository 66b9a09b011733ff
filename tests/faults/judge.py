"""Whether a run beside a fault has kept the budgets, and the row of the table about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.faults.bench import MAX_EXIT_S, MAX_GAP_S, MAX_LOAD_OFF, Fault, Figures

MAX_SCRAPE_S = 2.0
"""A good scraper gets its page in this time beside bad ones."""

MAX_MORE_MEMORY = 16 * 2**20
"""Bytes of Locust's process above those of a run without a sink."""

MAX_EXPORTER_MEMORY = 96 * 2**20

COLUMNS = (
    "fault", "largest gap beyond", "exit later", "load", "memory beyond", "log lines", "self-metric", "totals",
    "good scrape", "exporter's memory",
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """What is said of a fault.

    Attributes:
        times: Budgets of time that were missed; they may be tried once more.
        counts: Anything else that was not as it should be.
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
        """All that was missed."""
        return self.times + self.counts

    @property
    def misses_time(self) -> bool:
        """Whether it is worth another try."""
        return bool(self.times)

    def better(self, other: Judged) -> Judged:
        """Return the other or this one, whichever missed fewer times, with what both miscounted."""
        best = other if len(other.times) < len(self.times) else self
        return replace(best, counts=tuple(dict.fromkeys(self.counts + other.counts)))

    @property
    def totals(self) -> str:
        """What the sink had at the end."""
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


def judge(fault: Fault, figures: Figures, calm: Figures) -> Judged:
    """Compare a run with one without any sink."""
    gap_s, exit_s = figures.gap_s - calm.gap_s, figures.exit_s - calm.exit_s
    load, memory = figures.requests / calm.requests, figures.rss - calm.rss
    times = []
    if gap_s > MAX_GAP_S:
        times.append(f"gap {gap_s:.2f} s")
    if exit_s > MAX_EXIT_S:
        times.append(f"exit {exit_s:.1f} s later")
    if abs(load - 1) > MAX_LOAD_OFF:
        times.append(f"load {load:.1%}")
    if figures.scrape_s > MAX_SCRAPE_S + fault.away_s:
        times.append(f"a good scraper waited {figures.scrape_s:.1f} s")
    counts = _counts(fault, figures)
    if memory > MAX_MORE_MEMORY:
        counts.append(f"memory {memory / 2**20:.0f} MiB more")
    if not 0 < figures.exporter_rss <= MAX_EXPORTER_MEMORY:
        counts.append(f"exporter's memory {figures.exporter_rss / 2**20:.0f} MiB")
    return Judged(fault, figures, gap_s, exit_s, load, memory, tuple(times), tuple(counts))


def _counts(fault: Fault, figures: Figures) -> list[str]:
    """Return what is not as it should be however slow the machine is."""
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


def table(every: Sequence[Judged], calm: Figures) -> str:
    """Return the table, and what its figures stand on."""
    head = "| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS)
    rows = "\n".join(found.row for found in every)
    return (
        f"{head}\n{rows}\n\nThe run without any sink: {calm.requests} requests in 8 s, largest gap {calm.gap_s:.3f} s, "
        f"exit {calm.exit_s:.1f} s after the load, {calm.rss / 2**20:.0f} MiB in Locust's process and "
        f"{calm.exporter_rss / 2**20:.0f} MiB in the exporter.\n"
    )
