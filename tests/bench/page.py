"""The page `docs/performance.md` and its pictures, made of what was measured (`docs/performance.json`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench import soak
from tests.bench.chart import Panel, svg

Row = Mapping[str, Any]

SCRAPE_S = 5.0
"""Seconds between two scrapes on paper."""

CALM = 0.7
"""Share of a core that a process may use on paper: what is left is for bursts."""


def files(known: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of `docs/` by name."""
    return {
        "performance.md": "\n".join(
            [
                "<!-- Made by `make performance` of docs/performance.json; change tests/bench/page.py. -->",
                "",
                _head(known),
                _budgets(known),
                _soak(known["soak"]),
                _series(known["scaling"]),
                _workers(known["scaling"]),
                _calibration(known["calibration"]),
                _paper(known),
            ]
        ),
        "performance-soak.svg": _soak_picture(known["soak"]["data"]),
        "performance-series.svg": _series_picture(known["scaling"]["data"]["series"]),
        "performance-workers.svg": _workers_picture(known["scaling"]["data"]["workers"]),
    }


def _head(known: Mapping[str, Any]) -> str:
    machine = known["machine"]
    return f"""\
# What it costs

Everything here was measured, by `make performance` (half an hour; `python -m tests.bench.report PART` does one part), on
{machine["cores"]} cores with Python {machine["python"]}, Locust {machine["locust"]} and gevent {machine["gevent"]}. Load generator, scraper and what
they ask shared these cores with each other, and with other work where the load average says so. Your machine has other
milliseconds; ratios measured side by side should be the same.
"""


def _made(part: Row) -> str:
    return (
        f"*`{part['command']}`, {part['day']}, {part['seconds'] / 60:.1f} minutes; load average {part['load_before']} before, "
        f"{part['load_after']} at the end.*\n"
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> str:
    lines = ["| " + " | ".join(headings) + " |"]
    lines.append("| " + " | ".join("---" if n < left else "---:" for n in range(len(headings))) + " |")
    lines += ("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)
    return "\n".join(lines) + "\n"


def _budgets(known: Mapping[str, Any]) -> str:
    part, faults = known["bench"], known["faults"]["data"]
    rows = [*part["data"], *known["throughput"]["data"]]
    over = [row["what"].strip() for row in rows if row["holds"] is False]
    judged = sum(row["holds"] is not None for row in rows)
    verdict = (
        f"In this run {len(over)} of {judged} bars did not hold: {'; '.join(over)}."
        if over
        else f"In this run all {judged} bars held."
    )

    def cells(row: Row) -> tuple[str, ...]:
        sign = {True: "holds", False: "**over**", None: ""}[row["holds"]]
        what = row["what"]
        return "… " + what.strip() if what.startswith(" ") else what, row["bar"], row["measured"], sign, row["note"]

    return f"""\
## The budgets

Each figure is of one run in which everything it is compared with was measured in turn with it. Stalls are how late the
event loop woke a simulated user, the best of several; the clock stands still while another process has the core, so that
they say what the bridge does and not what the machine does.

{verdict}

{_table(("budget", "bar", "measured", "", "of which"), map(cells, rows), left=5)}
{_made(part)}
{_made(known["throughput"])}
Of requests/s the range of the pairs says how far to trust them: where it is wider than the bar, the machine's own speed
changed from round to round by more than the bridge costs, and the figure decides nothing.{
        _earlier(known["throughput"])
    }

Budgets that other commands measure:

{
        _table(
            ("budget", "bar", "measured", "by"),
            [
                (
                    f"largest gap in the load with any of {faults['faults']} bad sinks and scrapers, beyond that without",
                    "≤ 0.25 s",
                    f"{faults['gap_s']:g} s",
                    "`make faults`, [reliability.md](reliability.md)",
                ),
                ("exit later with any of them", "≤ 3 s", f"{faults['exit_s']:g} s", "the same"),
                (
                    "webhook of Alertmanager after the run has passed the critical factor",
                    "≤ 15 s",
                    "a test fails above",
                    "`make test`, real Prometheus and Alertmanager",
                ),
            ],
            left=4,
        )
    }"""


def _earlier(part: Row) -> str:
    """Return what earlier runs of the same measurement had, where that was written down."""
    runs = [f"{run['on_over_off']:g} ({run['by_cpu']:g} by CPU)" for run in part.get("earlier", [])]
    return f" Earlier\nruns of four rounds on the same day, by CPU the medians: {', '.join(runs)}." if runs else ""


def _soak(part: Row) -> str:
    data = part["data"]
    looks = [soak.Look(**look) for look in data["looks"]]
    trends = soak.trends(looks)
    last, late = looks[-1], next(look for look in looks if look.at_s > looks[-1].at_s - 140)
    growing = [trend.what for trend in trends if not trend.is_flat]
    share = (last.cpu_s - last.alone_cpu_s) / last.at_s
    scrapes = f"{data['scrapes']} scrapes" + (f", of which {data['failed']} failed" if data["failed"] else "")
    return f"""\
## Ten minutes, a million requests

{data["users"]} users of one process fire {data["requests"]:,} requests in {
        data["series"]:,} series: synthetic events with responses, traces and
one failure in seven, through Locust's own event hook and from users' greenlets. An SLO file of four objectives is judged
every second, the run record is written, and another process scrapes every five seconds, gzip, OpenMetrics ({scrapes}).
Beside it runs a process without the bridge and with the same load. In both Locust keeps its own statistics, but for its
counts of each second and name: those grow with a run, and are cut back to the last seconds.

**{"Flat." if not growing else f"Not flat: {', '.join(growing)}."}** All {
        data["recorded"]:,} requests that Locust counted were recorded. The bridge took {share:.1%} of a core
more than Locust alone, scrapes, objectives and run record included, and {last.added_rss:.0f} MiB; the record had {
        last.record_bytes / 1e6:.1f} MB in the end.
In the last minutes, from {late.at_s / 60:.1f} on, what it adds to memory went from {late.added_rss:.1f} to {
        last.added_rss:.1f} MiB.

![Memory and scrape time over ten minutes](performance-soak.svg)

*In words: memory with the bridge and without goes from {looks[0].rss:.0f} to {last.rss:.0f} MiB and {
        looks[0].alone_rss:.0f} to {last.alone_rss:.0f} MiB; their
difference is {last.added_rss:.0f} MiB in the end. A scrape takes {min(look.scrape_s for look in looks) * 1e3:.0f} to {
        max(look.scrape_s for look in looks) * 1e3:.0f} ms from look to look.*

{
        _table(
            ("after the first minute", "first", "last", "slope in 10 minutes", "flat up to", ""),
            [
                (
                    trend.what,
                    f"{trend.first:,.1f} {trend.unit}",
                    f"{trend.last:,.1f} {trend.unit}",
                    f"{trend.per_10_min:+,.2f} {trend.unit}",
                    f"{trend.bar:,.1f} {trend.unit}",
                    "flat" if trend.is_flat else "**grows**",
                )
                for trend in trends
            ],
        )
    }
{
        _table(
            (
                "minute",
                "requests",
                "RSS",
                "alone",
                "added",
                "files",
                "greenlets",
                "scrape",
                "longest",
                "text",
                "gzip",
                "record",
            ),
            [
                (
                    f"{look.at_s / 60:.1f}",
                    f"{look.requests:,}",
                    f"{look.rss:.1f} MiB",
                    f"{look.alone_rss:.1f} MiB",
                    f"{look.added_rss:.1f} MiB",
                    f"{look.files} ({look.alone_files})",
                    f"{look.greenlets} ({look.alone_greenlets})",
                    f"{look.scrape_s * 1e3:.0f} ms",
                    f"{look.scrape_worst_s * 1e3:.0f} ms",
                    f"{look.text_bytes / 1e6:.2f} MB",
                    f"{look.gzip_bytes / 1e3:.0f} kB",
                    f"{look.record_bytes / 1e6:.2f} MB",
                )
                for look in looks
            ],
            left=0,
        )
    }
In brackets: Locust alone. Bytes grow with the digits of the counts and with exemplars, of which each bucket that was ever
hit has one. A scrape's time is wall time as the scraper sees it, on a machine that others use too; first
and last are means of three looks, the slope is of the straight line through all, by least squares.

{_made(part)}"""


def _soak_picture(data: Row) -> str:
    looks = [soak.Look(**look) for look in data["looks"]]
    return svg(
        "A soak of ten minutes",
        f"Memory with and without the bridge, their difference, in the end {looks[-1].added_rss:.0f} MiB, and the time "
        "of a scrape, over ten minutes.",
        [
            Panel(
                "Resident memory, MiB",
                "minutes",
                {
                    "with the bridge": [(look.at_s / 60, look.rss) for look in looks],
                    "Locust alone": [(look.at_s / 60, look.alone_rss) for look in looks],
                    "difference": [(look.at_s / 60, look.added_rss) for look in looks],
                },
            ),
            Panel(
                "Time of a scrape, ms",
                "minutes",
                {
                    "median of 30 s": [(look.at_s / 60, look.scrape_s * 1e3) for look in looks],
                    "longest": [(look.at_s / 60, look.scrape_worst_s * 1e3) for look in looks],
                },
            ),
        ],
    )


def _series(part: Row) -> str:
    rows = part["data"]["series"]
    first, last = rows[0], rows[-1]
    each = (last["text_bytes"] - first["text_bytes"]) / (last["series"] - first["series"])
    packed = (last["gzip_bytes"] - first["gzip_bytes"]) / (last["series"] - first["series"])
    return f"""\
## As series grow

A series is a method, name, user class and outcome; a name that succeeds and fails has two. Each row is a process of its
own. Cost is about in proportion to the series: **{each / 1e3:.1f} kB of text, {packed:.0f} bytes as they are sent,
{
        (last["rss_mib"] - first["rss_mib"])
        / (last["series"] - first["series"])
        * 1024:.0f} KiB of memory for each more**. The snapshot is taken in one piece; rendering and compressing
go in pieces, with the loop given back after each; objectives, which the budgets above have none of, were judged in one
piece when this was measured, and are judged one at a time since.

![Times, bytes and memory against series](performance-series.svg)

*In words: from {first["series"]:,} to {last["series"]:,} series a scrape goes from {first["scrape_s"] * 1e3:.0f} to {
        last["scrape_s"] * 1e3:,.0f} ms, its longest stall from
{first["stall_s"] * 1e3:.1f} to {last["stall_s"] * 1e3:.0f} ms, memory from {first["rss_mib"]:.0f} to {
        last["rss_mib"]:.0f} MiB.*

{
        _table(
            (
                "series",
                "samples",
                "scrape",
                "stall",
                "(median)",
                "snapshot",
                "text",
                "gzip",
                "OTLP push",
                "gzip",
                "memory",
                "SLO look",
                "its stall",
            ),
            [
                (
                    f"{row['series']:,}",
                    f"{row['samples']:,}",
                    f"{row['scrape_s'] * 1e3:.0f} ms",
                    f"{row['stall_s'] * 1e3:.1f} ms",
                    f"{row['stall_median_s'] * 1e3:.1f} ms",
                    f"{row['snapshot_s'] * 1e3:.1f} ms",
                    f"{row['text_bytes'] / 1e3:,.0f} kB",
                    f"{row['gzip_bytes'] / 1e3:,.0f} kB",
                    f"{row['otlp_bytes'] / 1e3:,.0f} kB",
                    f"{row['otlp_gzip_bytes'] / 1e3:,.0f} kB",
                    f"{row['rss_mib']:.0f} MiB",
                    f"{row['slo_s'] * 1e3:.1f} ms",
                    f"{row['slo_stall_s'] * 1e3:.1f} ms",
                )
                for row in rows
            ],
            left=0,
        )
    }
Scrape, stall and look are the best of five, with 1,000 requests before each; four objectives, judged in the scrape too.
Memory is what the process grew by with the bridge, the SLO file and five scrapes, after it had made the same requests
without.

{_made(part)}"""


def _series_picture(rows: Sequence[Row]) -> str:
    def line(key: str, factor: float) -> list[tuple[float, float]]:
        return [(row["series"], max(row[key] * factor, 0.01)) for row in rows]

    return svg(
        "Cost against series",
        f"Logarithmic axes. All lines rise about in proportion to the series; a scrape takes {rows[-1]['scrape_s'] * 1e3:,.0f} ms at "
        f"{rows[-1]['series']:,} series.",
        [
            Panel(
                "Time, ms",
                "request series",
                {
                    "a scrape": line("scrape_s", 1e3),
                    "its longest stall": line("stall_s", 1e3),
                    "a look at 4 objectives": line("slo_s", 1e3),
                    "its longest stall ": line("slo_stall_s", 1e3),
                },
                is_log=True,
            ),
            Panel(
                "Size",
                "request series",
                {
                    "text, kB": line("text_bytes", 1e-3),
                    "gzip, kB": line("gzip_bytes", 1e-3),
                    "OTLP push, kB": line("otlp_bytes", 1e-3),
                    "memory, MiB": line("rss_mib", 1),
                },
                is_log=True,
            ),
        ],
    )


def _workers(part: Row) -> str:
    rows = part["data"]["workers"]
    last = rows[-1]
    return f"""\
## As workers grow

Simulated workers with 500 requests a second each, of 100 names, report every three seconds; one master decodes and merges
the reports, Locust's part and ours. The fifth to eighth report of each are looked at. **{
        last["cpu"] / last["workers"] * 100:.3f} % of a core and
{last["bytes_per_s"] / last["workers"] / 1e3:.1f} kB/s for each worker; Locust's own part costs the master {
        last["locust_cpu"] / last["cpu"]:.1f} times the CPU and {
        last["locust_bytes_per_s"] / last["bytes_per_s"]:.1f} times the bytes.**

![The master's CPU and the bytes of reports against workers](performance-workers.svg)

*In words: from {rows[0]["workers"]} to {last["workers"]} workers our part of the master's CPU goes from {
        rows[0]["cpu"]:.2%} to {last["cpu"]:.1%} of a core, Locust's from
{rows[0]["locust_cpu"]:.2%} to {last["locust_cpu"]:.1%}.*

{
        _table(
            ("workers", "master's CPU, ours", "Locust's", "reports, ours", "Locust's", "scrape, text", "gzip"),
            [
                (
                    row["workers"],
                    f"{row['cpu']:.2%}",
                    f"{row['locust_cpu']:.2%}",
                    f"{row['bytes_per_s'] / 1e3:,.1f} kB/s",
                    f"{row['locust_bytes_per_s'] / 1e3:,.1f} kB/s",
                    f"{row['text_bytes'] / 1e3:,.0f} kB",
                    f"{row['gzip_bytes'] / 1e3:,.0f} kB",
                )
                for row in rows
            ],
            left=0,
        )
    }
CPU is that of listeners and msgpack; sockets and ZeroMQ, which both share, are not part of it. A scrape grows with workers
by their own series, lag and schedule histograms among them, and by failures of names that fewer have not met yet;
requests are merged.

{_made(part)}"""


def _workers_picture(rows: Sequence[Row]) -> str:
    def line(key: str, factor: float) -> list[tuple[float, float]]:
        return [(row["workers"], row[key] * factor) for row in rows]

    return svg(
        "Cost against workers",
        "Logarithmic axes. The master's CPU and the bytes of reports rise in proportion to the workers; our part lies below "
        "Locust's.",
        [
            Panel(
                "Master's CPU, % of a core",
                "workers",
                {"our part": line("cpu", 100), "Locust's part": line("locust_cpu", 100)},
                is_log=True,
            ),
            Panel(
                "Reports, kB/s",
                "workers",
                {"our part": line("bytes_per_s", 1e-3), "Locust's part": line("locust_bytes_per_s", 1e-3)},
                is_log=True,
            ),
        ],
    )


def _calibration(part: Row) -> str:
    steps = part["data"]
    wrong = next((step for step in steps if step["error"] > 0.1), None)
    told = next((step for step in steps if not step["was_valid"]), None)
    missed = [str(step["users"]) for step in steps if step["error"] > 0.1 and step["was_valid"]]
    silent = (
        f"At {', '.join(missed)} users the error was above 10 % and\n`locust_run_valid` was 1 at the end of the step: "
        "it is a warning and no proof. Where CPU and lag have begun to rise, add workers."
        if missed
        else "Beyond, add workers."
    )

    def where(step: Row | None, what: str) -> str:
        return f"{what} at no step" if step is None else f"{what} first at {step['users']} users, CPU {step['cpu']:.2f}"

    return f"""\
## Whether the generator's latencies can be believed

One Locust process asks the demo shop more and more often, until it is the process that is slow. The shop measures its own
answers; what Locust measures on top, beyond what it does with five users, is Locust's error. Here {
        where(wrong, "the error was above 10 %")
    }, and
{where(told, "`locust_run_valid` was 0")}. {silent}

{
        _table(
            ("users", "requests/s", "shop says", "Locust says", "error", "CPU", "loop late by", "`locust_run_valid`"),
            [
                (
                    step["users"],
                    f"{step['per_second']:.0f}",
                    f"{step['shop_s'] * 1e3:.1f} ms",
                    f"{step['locust_s'] * 1e3:.1f} ms",
                    f"{step['error']:.0%}",
                    f"{step['cpu']:.2f}",
                    f"{step['lag_s'] * 1e3:.1f} ms",
                    int(step["was_valid"]),
                )
                for step in steps
            ],
            left=0,
        )
    }
The users are `HttpUser`. Shop and Locust share the machine: what the shop says grows too.

{_made(part)}"""


def _paper(known: Mapping[str, Any]) -> str:
    rows = known["bench"]["data"]
    workers, series = known["scaling"]["data"]["workers"], known["scaling"]["data"]["series"]
    request_us = _number(rows, "with its tally", r"([\d.]+) µs a request")
    rate = _number(known["throughput"]["data"], "by the process's CPU", r"off ([\d,]+)")
    crowd = known["crowd"]["data"]
    looks = [soak.Look(**look) for look in crowd["looks"]]
    last = looks[-1]
    four = next(row for row in workers if row["workers"] == 4)
    most = workers[-1]
    few, many = (next(row for row in series if row["series"] == count) for count in (300, 10_000))
    thousand = next(row for row in series if row["series"] == 1_000)
    per_worker = (most["cpu"] + most["locust_cpu"]) / most["workers"]
    scrape_share = few["scrape_s"] / SCRAPE_S
    limit_workers = int((CALM - scrape_share) / per_worker)
    limit_series = int(many["series"] * CALM * SCRAPE_S / many["scrape_s"] / 1000) * 1000
    http_rate = max(step["per_second"] for step in known["calibration"]["data"])
    over = next((row for row in series if row["stall_s"] > 0.01), None)
    stalled = "at none of these numbers" if over is None else f"at {over['series']:,} series"
    users_s = 10.0
    asked = 10_000 / users_s
    return f"""\
## Scale on paper, and by simulation

What follows is arithmetic on the tables above; no run of 40,000 users against a service was made. What was simulated is one
worker's quarter of it, below.

### 40,000 users on 4 workers

10,000 users in each worker, each with a request every {users_s:.0f} seconds: {
        asked:,.0f} requests a second and worker, {4 * asked:,.0f} in all. 100
names that succeed and fail make 200 series; the row of 300 is taken. Prometheus scrapes every {SCRAPE_S:.0f} seconds.

{
        _table(
            ("where", "what the bridge adds", "from"),
            [
                (
                    "worker, CPU",
                    f"{request_us:.2f} µs a request: {request_us * asked / 1e6:.2%} of a core; and a report every 3 s",
                    "the listener with its tally",
                ),
                (
                    "worker, memory",
                    f"some {few['rss_mib']:.0f} MiB, for series; nothing for a user",
                    "series, crowd below",
                ),
                (
                    "network, to the master",
                    f"{four['bytes_per_s'] / 1e3:.0f} kB/s for all four, beside {four['locust_bytes_per_s'] / 1e3:.0f} kB/s of Locust's",
                    "workers",
                ),
                (
                    "master, CPU",
                    f"{four['cpu']:.2%} of a core for reports, beside {four['locust_cpu']:.2%} of Locust's; "
                    f"{scrape_share:.1%} for scrapes",
                    "workers, series",
                ),
                (
                    "Prometheus",
                    f"{few['samples']:,} samples a scrape, {few['samples'] / SCRAPE_S:,.0f} a second; "
                    f"{few['gzip_bytes'] / 1e3:.0f} kB of gzip a scrape, {few['text_bytes'] / 1e6:.1f} MB of text",
                    "series",
                ),
                (
                    "Collector, instead",
                    f"{few['otlp_bytes'] / 1e3:.0f} kB a push, {few['otlp_gzip_bytes'] / 1e3:.0f} kB of gzip, exponential histograms",
                    "series",
                ),
            ],
            left=3,
        )
    }
A worker's users cost the bridge nothing by their number: it has counts by series, and no state of a user. To see that,
{crowd["users"]:,} users in one process fired {crowd["requests"]:,} requests in a minute ({
        crowd["requests"] / 60:,.0f} a second), with everything on and scraped,
beside the same without the bridge:

{
        _table(
            ("second", "requests", "RSS", "alone", "added", "greenlets", "alone", "CPU so far", "alone", "scrape"),
            [
                (
                    f"{look.at_s:.0f}",
                    f"{look.requests:,}",
                    f"{look.rss:.0f} MiB",
                    f"{look.alone_rss:.0f} MiB",
                    f"{look.added_rss:.1f} MiB",
                    f"{look.greenlets:,}",
                    f"{look.alone_greenlets:,}",
                    f"{look.cpu_s:.1f} s",
                    f"{look.alone_cpu_s:.1f} s",
                    f"{look.scrape_s * 1e3:.0f} ms",
                )
                for look in looks
            ],
            left=0,
        )
    }
{last.greenlets - last.alone_greenlets} greenlets and {last.added_rss:.0f} MiB more than Locust alone, as with {
        known["soak"]["data"]["users"]
    } users ({soak.Look(**known["soak"]["data"]["looks"][-1]).added_rss:.0f} MiB in the soak, in as many series).

{_made(known["crowd"])}
### Where the first limit lies

1. **The worker's own requests, always first.** In its best round a process made {
        rate:,.0f} requests for each second of its CPU here, `FastHttpUser`
   without a pause against a server that answers at once; with {1 - CALM:.0%} of it left free ({
        rate * CALM:,.0f} a second), and with a request
   every {users_s:.0f} seconds it is enough for {rate * CALM * users_s:,.0f} users. `HttpUser` made {
        http_rate:,.0f} a second at the most in the
   calibration above, and parsing and checks cost more: *users per
   worker = {CALM:g} × requests for a CPU second × seconds between two requests of a user*. Listener and tally are {
        request_us * rate / 1e6:.1%} of it.
   `locust_run_valid` and `locust_worker_cpu_utilization_ratio` say when it is reached. **Then: more workers.**
2. **The master's reports.** {per_worker:.2%} of a core for each worker, of which {
        most["cpu"] / most["workers"]:.2%} ours: a master is {CALM:.0%} busy with about
   {limit_workers:,} workers of 100 names, by a straight line through {
        most["workers"]
    }, the most that was measured. Names make a report
   larger as workers make them more. **Then: fewer names (`name=`)**, or two runs with a master each,
   whose counters Prometheus adds up. `--export-from workers` does not help here: workers report to the master all the same.
3. **The master's scrapes.** {many["scrape_s"] / many["series"] * 1e6:.0f} µs for each series: {
        thousand["scrape_s"] / SCRAPE_S:.1%} of a core at 1,000 series and {
        many["scrape_s"] / SCRAPE_S:.0%} at 10,000, every {SCRAPE_S:.0f}
   seconds; {CALM:.0%} at about {limit_series:,} series. The stall is above 10 ms first {stalled}, {
        many["stall_s"] * 1e3:.0f} ms at 10,000: no matter on a
   master, which has no users, and part of their latencies in a process that has. `--max-request-names` (200) keeps a run
   without dynamic names far below. **Then: `--export-from workers`,
   with which each worker serves its own; a longer `scrape_interval`; names without ids.**
4. **Prometheus.** {thousand["samples"]:,} samples a scrape at 1,000 series, {
        thousand["samples"] / SCRAPE_S:,.0f} a second; each run has series of its own, since they
   carry its `run_id`, so what counts is series a run times runs kept. **Then: native histograms** (protobuf: one series
   for each histogram), or a store behind remote write ([distributed.md](distributed.md)).

| users | workers of 10,000 | reports, ours | master's CPU for reports, ours + Locust's |
| ---: | ---: | ---: | ---: |
{_growth(workers)}
Rows marked * are straight lines from {most["workers"]} workers. Each at 500 requests a second and worker, of 100 names.
"""


def _growth(workers: Sequence[Row]) -> str:
    most, lines = workers[-1], []
    measured = {row["workers"]: row for row in workers}
    for count in (4, 16, 64, 100, 200):
        row = measured.get(count)
        factor = 1.0 if row is not None else count / most["workers"]
        row = row or most
        ours, theirs, sent = (row[key] * factor for key in ("cpu", "locust_cpu", "bytes_per_s"))
        lines.append(
            f"| {count * 10_000:,} | {count}{'' if count in measured else ' *'} | {sent / 1e3:,.0f} kB/s | {ours:.1%} + {theirs:.1%} |"
        )
    return "\n".join(lines) + "\n"


def _number(rows: Sequence[Row], what: str, pattern: str) -> float:
    """Return the number that a pattern finds in the note of the first row of that name."""
    note = next(row["note"] for row in rows if row["what"].strip() == what)
    found = re.search(pattern, note)
    assert found is not None, note
    return float(found[1].replace(",", ""))
