"""The page `docs/performance.md` and its pictures, made of what was measured (`docs/performance.json`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.bench import soak
from tests.bench.chart import Panel, svg

Row = Mapping[str, Any]

CALM = 0.7
"""Share of a core that a process may use on paper: what is left is for bursts."""


def files(known: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of `docs/` by name."""
    sections: dict[str, tuple[tuple[str, ...], Callable[[], str]]] = {
        "The budgets": (("busy", "bench", "faults"), lambda: _budgets(known)),
        "A million requests": (("soak",), lambda: _soak(known["soak"])),
        "More series": (("scaling",), lambda: _series(known["scaling"])),
        "More workers": (("scaling",), lambda: _workers(known["scaling"])),
        "When the generator is too slow": (("calibration",), lambda: _calibration(known["calibration"])),
        "40,000 users": (("busy", "bench", "scaling", "calibration", "crowd"), lambda: _paper(known)),
    }
    lines = ["<!-- Made by `make performance` of docs/performance.json; change tests/bench/page.py. -->", ""]
    lines.append(_head(known["machine"]))
    for title, (parts, section) in sections.items():
        missing = [f"`{part}`" for part in parts if part not in known]
        lines.append(section() if not missing else _unmeasured(title, missing))
    pictures: dict[str, tuple[str, Callable[[], str]]] = {
        "performance-soak.svg": ("soak", lambda: _soak_picture(known["soak"]["data"])),
        "performance-series.svg": ("scaling", lambda: _series_picture(known["scaling"]["data"]["series"])),
        "performance-workers.svg": ("scaling", lambda: _workers_picture(known["scaling"]["data"]["workers"])),
    }
    return {
        "performance.md": "\n".join(lines),
        **{name: picture() for name, (part, picture) in pictures.items() if part in known},
    }


def _unmeasured(title: str, parts: Sequence[str]) -> str:
    return f"## {title}\n\nNot measured yet since the exporter is a process of its own: {', '.join(parts)}.\n"


def _head(machine: Row) -> str:
    return f"""\
# What it costs

Everything here was measured by `make performance` (three quarters of an hour; `python -m tests.bench.report PART` measures
one part), on {machine["cores"]} cores with Python {machine["python"]}, Locust {machine["locust"]} and gevent {machine["gevent"]}. Load generator, exporter, scrapers, sinks and
servers shared these cores, also with other work where the load average says so. Your machine has other milliseconds;
ratios measured side by side should be the same.

Two processes are measured: **Locust's own**, where the bridge only counts, and **the exporter** beside it, which does
everything else ([how-it-works.md](how-it-works.md)). What the first pays, your users feel; what the second pays, they do not.
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


Column = tuple[str, str | Callable[[Row], str]]
"""Heading, and a format string for a row or a function that returns the cell."""


def _columns(rows: Iterable[Row], *columns: Column) -> str:
    """Return a table of right-aligned columns."""
    cells = ([form.format_map(row) if isinstance(form, str) else form(row) for _, form in columns] for row in rows)
    return _table([heading for heading, _ in columns], cells, left=0)


def _cell(show: Callable[[float], str], key: str) -> Callable[[Row], str]:
    return lambda row: show(row[key])


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:,.0f} ms"


def _kb(size: float) -> str:
    return f"{size / 1e3:,.0f} kB"


def _budgets(known: Mapping[str, Any]) -> str:
    faults = known["faults"]["data"]
    rows = [*known["busy"]["data"], *known["bench"]["data"]]
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

    others = [
        (
            f"largest gap in the load with any of {faults['faults']} bad sinks and scrapers, beyond that without",
            f"{faults['gap_s']:g} s",
            "`make faults`, [reliability.md](reliability.md)",
        ),
        ("exit later with any of them", f"{faults['exit_s']:g} s", "the same"),
        (
            "webhook of Alertmanager after the run has passed the critical factor, at most 15 s",
            "a test fails above",
            "`make test`, real Prometheus and Alertmanager",
        ),
    ]
    return f"""\
## The budgets

Every bar is held by the worst of what was measured. Each figure is of one run in which everything it is compared with was
measured in turn with it. A heart in the greenlet of a simulated user beats every millisecond and measures for how long the
user is held up; full garbage collections are part of it. The clock stands still while another process has the core, so the
figures say what the bridge does, not what the machine does. *Everything switched on*: two scrapers, once a second each,
OTLP, an SLO file of four objectives, a run record.

{verdict}

{_table(("budget", "bar", "measured", "", "of which"), map(cells, rows), left=5)}
{_made(known["busy"])}
{_made(known["bench"])}
Budgets that other commands measure:

{_table(("budget", "measured", "by"), others, left=3)}"""


_LOOKS: tuple[Column, ...] = (
    ("minute", lambda look: f"{look['at_s'] / 60:.1f}"), ("requests", "{requests:,}"), ("Locust", "{rss:.1f} MiB"),
    ("alone", "{alone_rss:.1f} MiB"), ("exporter", "{exporter_rss:.1f} MiB"), ("files", "{files} ({alone_files})"),
    ("held up", _cell(_ms, "held_s")), ("alone", _cell(_ms, "alone_held_s")),
    ("scrape", lambda look: f"{look['scrape_s'] * 1e3:.0f} ms"),
    ("longest", lambda look: f"{look['scrape_worst_s'] * 1e3:.0f} ms"), ("gzip", _cell(_kb, "gzip_bytes")),
    ("record", lambda look: f"{look['record_bytes'] / 1e6:.2f} MB"),
)  # fmt: skip


def _soak(part: Row) -> str:
    data = part["data"]
    looks = [soak.Look(**look) for look in data["looks"]]
    trends = soak.trends(looks)
    last = looks[-1]
    growing = [trend.what for trend in trends if not trend.is_flat]
    share = (last.cpu_s - last.alone_cpu_s) / last.at_s
    return f"""\
## Ten minutes, a million requests

{data["users"]} users of one process make {last.requests:,} requests in {
        data["series"]:,} series: synthetic events, fired through Locust's own event
hook from users' greenlets, with everything switched on. Beside it runs a process without the bridge and with the same load.
Both cut back Locust's counts of each second and name, which grow with a run.

**{
        "Flat." if not growing else f"Not flat: {', '.join(growing)}."
    }** Every request that Locust counted was recorded and pushed. Of Locust's process the bridge took {
        share:.1%} of a core and {last.added_rss:.0f} MiB; the exporter {
        last.exporter_cpu_s / last.at_s:.0%} of a core and {last.exporter_rss:.0f} MiB. The record had {
        last.record_bytes / 1e6:.1f} MB in the end.

![Memory and scrape time over ten minutes](performance-soak.svg)

*In words: memory of Locust's process goes from {looks[0].rss:.0f} to {last.rss:.0f} MiB, alone from {
        looks[0].alone_rss:.0f} to {last.alone_rss:.0f} MiB; the exporter's from
{looks[0].exporter_rss:.0f} to {last.exporter_rss:.0f} MiB. A scrape takes {
        min(look.scrape_s for look in looks) * 1e3:.0f} to {
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
{_columns(data["looks"], *_LOOKS)}
In brackets: Locust alone. *Held up* is the longest time in which a user of that process was. Bytes grow with the digits of
the counts. A scrape's time is wall time as the scraper sees it; first and last are means of three looks, the slope is of the
straight line through all, by least squares.

{_made(part)}"""


def _soak_picture(data: Row) -> str:
    looks = [soak.Look(**look) for look in data["looks"]]
    return svg(
        "A soak of ten minutes",
        f"Memory of Locust's process, of one without the bridge and of the exporter, in the end {looks[-1].exporter_rss:.0f} MiB, "
        "and the time of a scrape, over ten minutes.",
        [
            Panel(
                "Resident memory, MiB",
                "minutes",
                {
                    "Locust, with the bridge": [(look.at_s / 60, look.rss) for look in looks],
                    "Locust alone": [(look.at_s / 60, look.alone_rss) for look in looks],
                    "the exporter": [(look.at_s / 60, look.exporter_rss) for look in looks],
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


_COSTS: tuple[Column, ...] = (
    ("series", "{series:,}"), ("CPU, ours", "{cpu:.1%}"), ("held up", _cell(_ms, "held_s")),
    ("alone", _cell(_ms, "alone_held_s")), ("memory, ours", "{rss_mib:.1f} MiB"), ("exporter", "{exporter_cpu:.0%}"),
    ("its memory", "{exporter_rss_mib:.0f} MiB"), ("scrape", _cell(_ms, "scrape_s")),
    ("longest", _cell(_ms, "scrape_worst_s")),
)  # fmt: skip
_SIZES: tuple[Column, ...] = (
    ("series", "{series:,}"), ("samples", "{samples:,}"), ("text", _cell(_kb, "text_bytes")),
    ("gzip", _cell(_kb, "gzip_bytes")), ("protobuf, gzip", _cell(_kb, "protobuf_bytes")),
    ("OTLP push", _cell(_kb, "push_bytes")),
)  # fmt: skip


def _series(part: Row) -> str:
    rows = part["data"]["series"]
    first, last = rows[0], rows[-1]

    def each(key: str) -> float:
        grown: float = last[key] - first[key]
        return grown / float(last["series"] - first["series"])

    return f"""\
## As series grow

A series is a method, name, user class and outcome; a name that succeeds and fails has two. Each row is a run with 2,000
requests a second over that many series, with everything switched on, less one without the bridge. What Locust's process pays
follows the requests; what the exporter pays follows the series: **{each("text_bytes") / 1e3:.1f} kB of text, {
        each("gzip_bytes"):.0f} bytes as they are sent,
{each("exporter_rss_mib") * 1024:.0f} KiB of its memory for each more, and {
        each("rss_mib") * 1024:.1f} KiB of Locust's**.

![Times, bytes and memory against series](performance-series.svg)

*In words: from {first["series"]:,} to {last["series"]:,} series our share of Locust's process goes from {
        first["cpu"]:.1%} to {last["cpu"]:.1%} of a core, a scrape from
{_ms(first["scrape_s"])} to {_ms(last["scrape_s"])}, the exporter from {first["exporter_cpu"]:.0%} to {
        last["exporter_cpu"]:.0%} of a core and from {first["exporter_rss_mib"]:.0f} to {
        last["exporter_rss_mib"]:.0f} MiB.*

{_columns(rows, *_COSTS)}
{_columns(rows, *_SIZES)}
CPU is a share of a core. *Held up* is the longest time in which a user was, full garbage collections included, beside the
same in Locust alone. Bytes of a push are as they were sent, and of its largest message where it had several.

{_made(part)}"""


def _series_picture(rows: Sequence[Row]) -> str:
    def line(key: str, factor: float) -> list[tuple[float, float]]:
        return [(row["series"], max(row[key] * factor, 0.01)) for row in rows]

    return svg(
        "Cost against series",
        f"Logarithmic axes. A scrape takes {_ms(rows[-1]['scrape_s'])} at {rows[-1]['series']:,} series.",
        [
            Panel(
                "CPU, % of a core",
                "request series",
                {"Locust's process, ours": line("cpu", 100), "the exporter": line("exporter_cpu", 100)},
                is_log=True,
            ),
            Panel(
                "Time, ms",
                "request series",
                {
                    "a scrape": line("scrape_s", 1e3),
                    "a user held up": line("held_s", 1e3),
                    "the same, Locust alone": line("alone_held_s", 1e3),
                },
                is_log=True,
            ),
            Panel(
                "Size",
                "request series",
                {
                    "text, kB": line("text_bytes", 1e-3),
                    "gzip, kB": line("gzip_bytes", 1e-3),
                    "exporter, MiB": line("exporter_rss_mib", 1),
                    "Locust, ours, MiB": line("rss_mib", 1),
                },
                is_log=True,
            ),
        ],
    )


_REPORTS: tuple[Column, ...] = (
    ("workers", "{workers}"), ("master's CPU, ours", "{cpu:.3%}"), ("Locust's", "{locust_cpu:.2%}"),
    ("reports, ours", lambda row: f"{row['bytes_per_s'] / 1e3:,.1f} kB/s"),
    ("Locust's", lambda row: f"{row['locust_bytes_per_s'] / 1e3:,.1f} kB/s"),
)  # fmt: skip


def _workers(part: Row) -> str:
    rows = part["data"]["workers"]
    first, last = rows[0], rows[-1]
    return f"""\
## As workers grow

Simulated workers with 500 requests a second each, of 100 names, report every three seconds. One master decodes and merges
Locust's part of the reports; ours it hands to its exporter as bytes. The fifth to eighth report of each are looked at.
**{last["cpu"] / last["workers"] * 100:.4f} % of a core and {
        last["bytes_per_s"] / last["workers"] / 1e3:.1f} kB/s for each worker; Locust's own part costs the master {
        last["locust_cpu"] / last["cpu"]:.0f} times the CPU and
{last["locust_bytes_per_s"] / last["bytes_per_s"]:.1f} times the bytes.**

![The master's CPU and the bytes of reports against workers](performance-workers.svg)

*In words: from {first["workers"]} to {last["workers"]} workers our part of the master's CPU goes from {
        first["cpu"]:.3%} to {last["cpu"]:.2%} of a core, Locust's from
{first["locust_cpu"]:.2%} to {last["locust_cpu"]:.1%}.*

{_columns(rows, *_REPORTS)}
CPU is that of listeners, msgpack and the write to the exporter; ZeroMQ, which both share, is not part of it.

{_made(part)}"""


def _workers_picture(rows: Sequence[Row]) -> str:
    def line(key: str, factor: float) -> list[tuple[float, float]]:
        return [(row["workers"], row[key] * factor) for row in rows]

    return svg(
        "Cost against workers",
        "Logarithmic axes. The master's CPU and the bytes of reports rise in proportion to the workers; our part lies far below "
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


_STEPS: tuple[Column, ...] = (
    ("users", "{users}"), ("requests/s", "{per_second:.0f}"),
    ("shop says", lambda step: f"{step['shop_s'] * 1e3:.1f} ms"),
    ("Locust says", lambda step: f"{step['locust_s'] * 1e3:.1f} ms"), ("error", "{error:.0%}"), ("CPU", "{cpu:.2f}"),
    ("loop late by", lambda step: f"{step['lag_s'] * 1e3:.1f} ms"), ("`locust_run_valid`", "{was_valid:d}"),
)  # fmt: skip


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

{_columns(steps, *_STEPS)}
The users are `HttpUser`. Shop and Locust share the machine: what the shop says grows too.

{_made(part)}"""


def _paper(known: Mapping[str, Any]) -> str:
    rows = [*known["busy"]["data"], *known["bench"]["data"]]
    workers, series = known["scaling"]["data"]["workers"], known["scaling"]["data"]["series"]
    request_us = _number(rows, "with its tally and its report", r"([\d.]+) µs a request")
    rate = _number(rows, "by the process's CPU", r"off ([\d,]+)")
    crowd = known["crowd"]["data"]
    last = soak.Look(**crowd["looks"][-1])
    four = next(row for row in workers if row["workers"] == 4)
    most = workers[-1]
    few, thousand = (next(row for row in series if row["series"] == count) for count in (300, 1_000))
    many = series[-1]
    per_worker = (most["cpu"] + most["locust_cpu"]) / most["workers"]
    http_rate = max(step["per_second"] for step in known["calibration"]["data"])
    users_s = 10.0
    asked = 10_000 / users_s
    return f"""\
## Scale on paper, and by simulation

What follows is arithmetic on the tables above; no run of 40,000 users against a service was made.

**40,000 users on 4 workers**, each with a request every {users_s:.0f} seconds: {
        asked:,.0f} requests a second and worker, {4 * asked:,.0f} in all, in 200
series of 100 names (the row of 300 is taken).

- Worker: {request_us:.2f} µs of CPU a request, {request_us * asked / 1e6:.2%} of a core, and some {
        few["rss_mib"]:.0f} MiB for series; nothing for a user.
- Master: {four["cpu"]:.3%} of a core and {four["bytes_per_s"] / 1e3:.0f} kB/s for reports, beside {
        four["locust_cpu"]:.2%} and {four["locust_bytes_per_s"] / 1e3:.0f} kB/s of Locust's.
- Exporter beside the master: {few["exporter_cpu"]:.0%} of a core and {
        few["exporter_rss_mib"]:.0f} MiB, with two scrapes a second.
- Prometheus: {few["samples"]:,} samples a scrape, {_kb(few["gzip_bytes"])} of gzip. A Collector instead: {
        _kb(few["push_bytes"])
    } a push.

A worker's users cost the bridge nothing by their number: it has counts by series, and no state of a user. To see that,
{crowd["users"]:,} users in one process made {
        last.requests:,} requests in a minute, with everything on and scraped, beside the same without
the bridge: Locust's process had {last.rss:.0f} MiB, {last.added_rss:.1f} MiB more than alone, and used {
        last.cpu_s:.1f} s of CPU, alone {last.alone_cpu_s:.1f} s.

{_made(known["crowd"])}
Where the first limit lies:

1. **The worker's own requests, always first.** By the median a process made {
        rate:,.0f} requests for each second of its CPU here,
   `FastHttpUser` without a pause against a server that answers at once; with {1 - CALM:.0%} of it left free ({
        rate * CALM:,.0f} a second), and with
   a request every {users_s:.0f} seconds it is enough for {rate * CALM * users_s:,.0f} users. `HttpUser` made {
        http_rate:,.0f} a second at the most in the calibration
   above, and parsing and checks cost more: *users per worker = {
        CALM:g} × requests for a CPU second × seconds between two
   requests of a user*. Ours is {request_us * rate / 1e6:.1%} of it.
   `locust_run_valid` and `locust_worker_cpu_utilization_ratio` say when it is reached. **Then: more workers.**
2. **The master's reports.** {per_worker:.2%} of a core for each worker, nearly all of it Locust's: a master is {
        CALM:.0%} busy with about
   {int(CALM / per_worker):,} workers of 100 names, by a straight line through {
        most["workers"]
    }, the most that was measured. **Then: fewer names
   (`name=`)**, or two runs with a master each, whose counters Prometheus adds up.
3. **The exporter.** {thousand["exporter_cpu"]:.0%} of a core at 1,000 busy series and {many["exporter_cpu"]:.0%} at {
        many["series"]:,}, with two scrapers that ask once a second. Where it
   needs more than there is, scrapes take longer and the load does not notice. `--max-request-names` (200) keeps a run without
   dynamic names far below. **Then: a longer `scrape_interval`; names without ids; `--export-from workers`.**
4. **Prometheus.** {
        thousand[
            "samples"
        ]:,} samples a scrape at 1,000 series; each run has series of its own, since they carry its `run_id`,
   so what counts is series a run times runs kept. **Then: native histograms** (protobuf: one series for each
   histogram), or a store behind remote write ([distributed.md](distributed.md)).
"""


def _number(rows: Sequence[Row], what: str, pattern: str) -> float:
    """Return the number that a pattern finds in the note of the first row of that name."""
    note = next(row["note"] for row in rows if row["what"].strip() == what)
    found = re.search(pattern, note)
    assert found is not None, note
    return float(found[1].replace(",", ""))
