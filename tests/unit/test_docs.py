"""Tests of the documentation against the code: links, lists, numbers, and quoted messages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path

import msgspec
import pytest
import yaml

from locust_otel.cli import COMMANDS
from locust_otel.core import documents, events, marks, options
from locust_otel.core.catalogue import INVALID_REASONS
from locust_otel.core.errors import ExitCode
from locust_otel.core.histogram import QUANTILE_ERROR, SCALE
from locust_otel.demo.faults import FAULTS
from locust_otel.demo.latency import DB_CONNECTIONS, QUEUE_TIMEOUT_S, SERVICES, WEBSHOP_MIX, WORKERS, capacity_rps
from locust_otel.exporter import process, slow_log
from locust_otel.exporter.endpoint import scrapers, server
from locust_otel.exporter.otlp import circuit, encoding, output
from locust_otel.exporter.otlp.settings import DEFAULT_TIMEOUT_S, Signal
from locust_otel.exporter.page import curves
from locust_otel.gameday import injection, mark_client, observer
from locust_otel.gameday.plan import load as load_game_day
from locust_otel.plugin import generator, life, link, shutdown
from locust_otel.project.files import Answers, project_files
from locust_otel.project.stack_command import PORTS
from locust_otel.review.analysis import analyze
from locust_otel.review.analysis.finding import Pattern
from locust_otel.review.check import command as check_command
from locust_otel.slo import burn, schema, validity
from locust_otel.slo.file import load as load_slo
from locust_otel.slo.objectives import TOLERANCE, span
from locust_otel.wire import record

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "locust_otel"
_FOLDERS = (".", "docs", "deploy")
PAGES = sorted(
    {path for folder in _FOLDERS for path in (TOP / folder).glob("*.md")}
    | {*TOP.glob("*/README.md"), TOP / "tests" / "backends" / "README.md"}
)
REPOSITORY = "https://github.com/locust-otel/locust-otel/blob/main/"
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NAME = re.compile(r"`([^`]+)`")


@cache
def text(page: str) -> str:
    """Return a page."""
    return (TOP / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """Return a page with each run of blanks and line breaks as one blank."""
    return " ".join(text(page).split())


@cache
def sources() -> str:
    """Return all modules of the package, with texts over several lines joined."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py")))
    return re.sub(r'"\s*\n\s*f?"', "", code)


def rows(page: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the table with this first line."""
    lines = text(page).partition(f"{heading}\n")[2].splitlines()[1:]
    assert lines, f"{page} has no table {heading}"
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def names(page: str, heading: str, column: int = 0) -> list[str]:
    """Return the names in backticks in a column of a table."""
    return [name for row in rows(page, heading) for name in NAME.findall(row[column])]


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    """Each link within the repository names a file that exists, and a heading in it."""
    targets = [target.replace(REPOSITORY, f"{TOP}/") for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    for target in targets:
        name, _, anchor = target.partition("#")
        if "://" not in target:
            path = (page.parent / name).resolve() if name else page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_paths_exist(page: Path) -> None:
    """Each path of this repository in backticks exists."""
    for name in NAME.findall(page.read_text()):
        if re.fullmatch(r"(?:tests|docs|deploy|dashboards|locust_otel|locustfiles)/[\w./-]+", name):
            assert (TOP / name).exists(), name


def test_the_readme_ends_with_the_comparison() -> None:
    """The order is: the use, a picture, two commands, recipes; other tools come last, in one table."""
    headings = re.findall(r"^## (.+)$", text("README.md"), re.M)
    assert headings[:2] == ["Look first", "From my locustfile to my dashboard and my alert"]
    assert headings[-1] == "Beside other tools"
    assert text("README.md").index("![") < text("README.md").index("## Look first")


def test_flags_has_every_command_and_variable() -> None:
    """`flags.md` has a section for each command, and every environment variable that the package reads."""
    assert re.findall(r"^## `locust-otel (\w+)`$", text("docs/flags.md"), re.M) == list(COMMANDS)
    read = set(re.findall(r'"((?:LOCUST_OTEL|GRAFANA)_[A-Z_]+)"', sources()))
    set_for_commands = {"LOCUST_OTEL_RUN_ID", "LOCUST_OTEL_FAULT"}
    flags = {option.env_var for option in options.OPTIONS}
    listed = {name for name in names("docs/flags.md", "| variable | content |") if not name.endswith("…")}
    assert listed == read - set_for_commands - flags
    assert all(f"`{name}`" in text("docs/game-days.md") for name in set_for_commands)


def test_otlp_lists_the_events() -> None:
    """The table of events has each event, and no other."""
    known = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    listed = [name for name in names("docs/otlp.md", "| event | when |") if name.startswith("locust")]
    assert len(listed) == len(set(listed))
    assert set(listed) == known


def test_otlp_lists_the_variables() -> None:
    """The table has each standard variable that is read, and no other; the variables of one signal are one row."""
    code = (PACKAGE / "exporter/otlp/settings.py").read_text() + (PACKAGE / "exporter/otlp/encoding.py").read_text()
    prefix = "OTEL_EXPORTER_OTLP_"
    read = {f"{prefix}{name}" for name in re.findall(r'names\("([A-Z_]+)"\)', code)}
    read |= {f"{prefix}{name}" for name in re.findall(r'f"\{_PREFIX\}([A-Z_]+)"', code)}
    read |= set(re.findall(r"\bOTEL_[A-Z_]*[A-Z]\b", code)) | {f"OTEL_{signal.name}_EXPORTER" for signal in Signal}
    listed = {name.replace("…_", prefix) for name in names("docs/otlp.md", "| variable | here |") if "_" in name}
    assert len(read) > 15
    assert {name for name in listed if name.startswith("OTEL_")} == read
    assert "OTEL_EXPORTER_OTLP_INSECURE" not in read


@pytest.mark.parametrize("page", ["docs/otlp.md", "docs/security.md"])
def test_the_insecure_variable_is_not_promised(page: str) -> None:
    """Where the variable is named, the page says that it is not read."""
    assert re.findall(r"`OTEL_EXPORTER_OTLP_INSECURE`[^.]*\.", prose(page)) == [
        "`OTEL_EXPORTER_OTLP_INSECURE` is not read."
    ]


def test_limits_of_a_valid_generator() -> None:
    """`how-it-works.md` has the limits of `plugin.generator`, and each reason for an invalid run."""
    recent, half = f"{generator.TICKS_JUDGED} s", f"{generator.TICKS_JUDGED // 2} s"
    cpu, late, lag = generator.MAX_CPU_RATIO, generator.MAX_LATE_SHARE, generator.MAX_LAG_SHARE
    limits = [
        f"it used more than {100 * cpu:.0f} % of its core",
        f"more than {100 * late:.0f} % of the wake-ups were more than {1000 * generator.LATE_S:.0f} ms late",
        f"the mean delay was more than {100 * lag:.0f} % of the mean response time of the last {recent}, and more than "
        f"{1000 * generator.LEAST_LAG_S:.0f} ms; one wake-up counts at most five times this limit",
    ]
    assert list(rows("docs/how-it-works.md", "| reason | over the last | limit |")) == [
        ["`cpu`", recent, limits[0]], ["`lag`", recent, limits[1]], ["`lag`", half, limits[2]],
    ]  # fmt: skip
    section = text("docs/how-it-works.md").partition("## Whether the numbers can be believed")[2]
    assert all(f"`{reason}`" in section for reason in INVALID_REASONS)
    assert round(1 / generator.PROBE_INTERVAL_S) == 20
    assert "twenty times a second" in section


def test_exit_codes() -> None:
    """Each table and list of exit codes has those of the code."""
    codes = {str(int(code)) for code in ExitCode}
    assert {row[0] for row in rows("docs/slo-file.md", "| exit code | with `--slo` |")} == codes
    assert {row[0] for row in rows("docs/ci.md", "| code | verdict |")} == codes
    assert {row[0] for row in rows("docs/game-days.md", "| exit code | meaning |")} == {"0", "1", "3", "4", "78"}
    met, missed, undecided, invalid = ExitCode.OK, ExitCode.MISSED, ExitCode.UNDECIDED, ExitCode.NOT_VALID
    assert f"{met:d} met, {missed:d} missed, {undecided:d} undecided, {invalid:d} invalid" in prose("README.md")


def test_dashboards() -> None:
    """Each page that lists or counts the dashboards has all of them."""
    files = {path.name for path in (TOP / "dashboards").glob("*.json")}
    assert set(names("dashboards/README.md", "| file | what it shows |")) == files
    uids = {name.removesuffix(".json").removeprefix("locust-otel-") for name in files}
    row = next(" ".join(row) for row in rows("docs/deploy.md", "| where | what |") if "Grafana" in row[1])
    assert set(re.findall(r"(?:locust-otel)?-(\w+)[`\]]", row)) == uids
    assert f"{WORDS[len(files)].capitalize()} Grafana dashboards" in text("CHANGELOG.md")
    assert f"all {WORDS[len(files)]} dashboards" in text("CHANGELOG.md")


def test_faults_of_the_shop() -> None:
    """The table has each fault, its parameters and their defaults."""
    listed = {
        NAME.findall(name)[0]: re.findall(r"`(\w+)` \(([^)]*)\)", parameters)
        for name, _, parameters in rows("locustfiles/README.md", "| fault | what it does | parameters (defaults) |")
    }
    assert listed == {
        name: [
            (field.name, f"{field.default:g}" if isinstance(field.default, float | int) else field.default or "all")
            for field in dataclasses.fields(fault)
        ]
        for name, fault in FAULTS.items()
    }


def test_capacity_of_the_shop() -> None:
    """The table of capacities is that of `capacity_rps` for the mixes of the locustfiles, rounded to two digits."""
    empty_carts = {"/api/cart": 1.5}  # half of the orders find an empty cart, and fill it first
    tasks, mix = sum(WEBSHOP_MIX.values()), {**WEBSHOP_MIX, **empty_carts}
    per_shopper = sum(mix.values()) / tasks / 3  # one task each 1 to 5 s
    data = SERVICES["/api/v1/data"]
    per_class = {  # by weight: one request each 0.1 s and its time, each 3 to 10 s, each 2 to 8 s
        "/api/v1/data": 0.3 / (0.1 + data.app_mean_s + data.db_mean_s),
        "/admin/dashboard": 0.1 / 6.5 * 0.75,
        "/admin/reports/monthly": 0.1 / 6.5 * 0.25,
        "/api/mobile/feed": 0.6 / 5,
    }
    heading = "| locustfile | requests/s of the shop | requests/s of a user | users |"
    listed = {
        NAME.findall(name)[0]: [float(cell.replace(",", "")) for cell in cells]
        for name, *cells in rows("locustfiles/README.md", heading)
    }
    for name, requests, routes in (("webshop.py", per_shopper, mix), ("mixed.py", sum(per_class.values()), per_class)):
        capacity, per_user, users = listed[name]
        assert capacity == pytest.approx(capacity_rps(routes), rel=0.02)
        assert per_user == pytest.approx(requests, rel=0.04)
        assert users == pytest.approx(capacity_rps(routes) / requests, rel=0.05)
    assert f"{WORKERS} requests at a time, with {DB_CONNECTIONS} database connections" in prose("locustfiles/README.md")
    assert f"After {QUEUE_TIMEOUT_S:g} s in the queue" in prose("locustfiles/README.md")


def test_files_of_init() -> None:
    """The table of `locust-otel init` has each file and folder that it writes."""
    slo = load_slo(str(TOP / "locustfiles" / "slo.yaml"))
    written = {"slo.yaml", *project_files(Answers("shop", "locustfile.py", "http://shop", 10, 60), slo)}
    folders = {"rules/", "dashboards/", "provisioning/"}
    listed = {name for row in rows("docs/deploy.md", "| file | what it is |") for name in NAME.findall(row[0])}
    assert listed == {next((folder for folder in folders if name.startswith(folder)), name) for name in written}
    ports = text("docs/security.md")
    assert f"{PORTS['prometheus']}, {PORTS['alertmanager']} and {PORTS['grafana']}" in ports


def test_patterns_of_the_analysis() -> None:
    """The table has each pattern, in the order of the code."""
    heading = "| pattern | what it means | how it is detected | fixes to consider |"
    assert names("docs/analysis.md", heading) == [pattern.value for pattern in Pattern]


def test_lines_of_a_record() -> None:
    """The table of the record has each line, and each of its keys."""
    lines: dict[str, type[msgspec.Struct]] = {
        "run": record.RunLine,
        "mark": record.Mark,
        "event": record.RecordedEvent,
        "warm": record.WarmLine,
        "interval": record.IntervalLine,
        "end": record.EndLine,
    }
    listed = {
        row[0]: NAME.findall(re.sub(r"\([^)]*\)", "", row[1]))
        for row in rows("docs/run-record.md", "| type | content |")
    }
    for name, line in lines.items():
        assert sorted(listed[f"`{name}`"]) == sorted(field.encode_name for field in msgspec.structs.fields(line)), name
    assert set(listed) == {f"`{name}`" for name in lines} | {"`series`, `errors`"}


def test_sources_and_formats_of_check() -> None:
    """`ci.md` has each source, each format, and the defaults of the flags."""
    assert {row[0].split()[0].strip("`") for row in rows("docs/ci.md", "| source | what it is | how it decides |")} == {
        "RECORD", "--json-file", "--csv", "--prometheus",
    }  # fmt: skip
    formats = text("docs/ci.md").partition("## Formats")[2]
    assert set(re.findall(r"^- `(\w+)`:", formats, re.M)) == set(check_command.FORMATS)
    flags = text("docs/flags.md")
    for flag, default in re.findall(r"`(--lookback|--max-regression)` \(([\w%]+)\)", text("docs/ci.md")):
        assert re.search(rf"`{flag} [A-Z]+` \|[^|]*\(default {default}\)", flags.partition("locust-otel check")[2])


def test_keys_of_the_json_of_check() -> None:
    """`ci.md` has each key of `--format json`."""
    code = (PACKAGE / "review/check/formats.py").read_text()
    written = set(re.findall(r'^        "(\w+)": ', code.partition("def as_json")[2].partition("_JUNIT")[0], re.M))
    listed = {name.removeprefix("objectives[]").removeprefix(".") for name in names("docs/ci.md", "| key | value |")}
    assert len(written) > 15
    assert listed == written - {"objectives"}


def test_keys_of_the_slo_file() -> None:
    """`slo-file.md` has each key of the file and of an objective, and the defaults."""
    fields = schema.FileShape.fields()
    listed = {NAME.findall(row[0])[0]: row[2] for row in rows("docs/slo-file.md", "| key | what | default |")}
    assert set(listed) == set(fields)
    for name, default in listed.items():
        value = fields[name].default
        if isinstance(value, Decimal):
            assert default == (span(value) if value else "0s"), name
        elif isinstance(value, int):
            assert default == str(value), name
    assert listed["validity"] == f"{TOLERANCE:.0%}"
    keys = {name.partition(":")[0] for name in names("docs/slo-file.md", "| key | what |")}
    assert keys == set(schema.ObjectiveShape.fields())


def test_columns_of_the_scorecard() -> None:
    """`game-days.md` explains each time of the scorecard."""
    code = (PACKAGE / "gameday/scoreboard.py").read_text()
    tables = re.findall(r"_HEADINGS = \(([^)]+)\)", code)
    assert len(tables) == 2
    headings = {heading for table in tables for heading in re.findall(r'"([^"]+)"', table)}
    listed = {
        name
        for row in rows("docs/game-days.md", "| column | what it is | whose clock |")
        for name in row[0].split(", ")
    }
    assert {name.replace("\\", "") for name in listed} == headings - {"fault", "at", "lasted", "alert"}


def test_lengths_of_game_days() -> None:
    """Every page names the same lengths: of the shipped game day, and of the periods of the SLO files."""
    slo = {name: load_slo(str(TOP / "locustfiles" / name)).period_s for name in ("slo.yaml", "slo-game-day.yaml")}
    assert slo == {"slo.yaml": 30 * 60, "slo-game-day.yaml": 4 * 3600}
    day = load_game_day(str(TOP / "locustfiles" / "game-day.yaml"))
    assert day.load is not None
    assert day.load.run_time == 14 * 60
    assert day.slo_path is not None
    assert day.slo_path.name == "slo.yaml"
    assert "takes 14 minutes and is judged by `slo.yaml`, whose budget is for 30 minutes" in prose("docs/game-days.md")
    assert "breaks the demo shop twice in 14 minutes" in prose("locustfiles/README.md")
    assert "a run of 30 min, for a game day of 4 h, and for a prober judged over 7 d" in prose("docs/slo-file.md")
    assert "a run of 30 minutes" in prose("locustfiles/README.md")
    assert "a long game day of 4 hours" in prose("locustfiles/README.md")


def test_memory_has_one_unit() -> None:
    """Figures of memory in `deploy/` and its page are in MiB."""
    for name in ("docs/deploy.md", "deploy/compose.yaml", "deploy/kubernetes/base/master.yaml"):
        assert "MiB" in text(name)
        assert not re.findall(r"\d ?MB\b", text(name))


def test_measuring_takes_one_time() -> None:
    """`make help` and CONTRIBUTING name the same length of `make performance`."""
    assert "in 45 minutes" in text("Makefile")
    assert "# 45 minutes:" in text("CONTRIBUTING.md")


_MIB = 1 << 20
SENTENCES = [
    ("docs/prometheus.md", f"the next free port up to {options.LAST_PORT} is used"),
    ("docs/prometheus.md", f"waits up to {scrapers.PATIENCE} scrape intervals"),
    ("docs/prometheus.md", f"After SIGTERM it waits at most {shutdown.TERMINATION_GRACE_S:g} seconds"),
    ("docs/deploy.md", f"waits at most {shutdown.TERMINATION_GRACE_S:g} of them"),
    ("docs/how-it-works.md", f"within {QUANTILE_ERROR * 100:.1f} % of the true ones"),
    ("docs/how-it-works.md", f"{(2 ** (1 / 2**SCALE) - 1) * 100:.1f} % apart"),
    ("docs/how-it-works.md", f"{WORDS[round(1 / life.TICK_S)].capitalize()} times a second the plugin turns"),
    ("docs/how-it-works.md", f"dies {WORDS[link.MAX_DEATHS]} times within a minute"),
    ("docs/how-it-works.md", "ends within 30 s"),
    ("docs/reliability.md", f"is logged after {WORDS[int(circuit.LATE_S)]} seconds"),
    ("docs/reliability.md", f"`OTEL_EXPORTER_OTLP_TIMEOUT`, {DEFAULT_TIMEOUT_S:g} s"),
    ("docs/reliability.md", f"**The last push** has {output.FLUSH_S} s"),
    ("docs/reliability.md", f"requests of up to {encoding.POINTS_PER_BATCH:,} points"),
    ("docs/reliability.md", f"idle one is closed after {server.IDLE_S:g} s"),
    ("docs/reliability.md", f"an unfinished request after {server.HEAD_S:g} s"),
    ("docs/reliability.md", f"an answer that the client does not read after {server.ANSWER_S:g} s"),
    ("docs/reliability.md", f"more than {server.MAX_HEAD_BYTES // 1024} KiB are refused"),
    ("docs/reliability.md", f"only up to {marks.MAX_BODY_BYTES // 1024} KiB"),
    ("docs/reliability.md", f"froze in the last {link.SILENCE_S:g} s of a run is given {link.SILENCE_S:g} s"),
    ("docs/otlp.md", f"the last push has {output.FLUSH_S} s"),
    ("docs/otlp.md", f"Slow requests: a burst of {WORDS[slow_log.BURST]}, then one a second"),
    ("docs/otlp.md", f"default {DEFAULT_TIMEOUT_S:g} s"),
    ("docs/otlp.md", f"Default {options.DEFAULT_OTLP_INTERVAL_S:g} s"),
    ("docs/security.md", f"`127.0.0.1:{options.DEFAULT_PORT}`, or the next free port up to {options.LAST_PORT}"),
    ("docs/security.md", f"A body has at most {marks.MAX_BODY_BYTES // 1024} KiB"),
    ("docs/security.md", f"arrive within {server.HEAD_S:g} s, the body within {server.ANSWER_S:g} s"),
    ("docs/security.md", f"plain YAML of at most {documents.MAX_BYTES // _MIB} MiB"),
    ("docs/security.md", f"`{marks.TOKEN_VARIABLE}` of the load test"),
    ("docs/marks.md", f"at most {marks.MAX_TEXT} characters"),
    ("docs/marks.md", f"counts {marks.MAX_DISTINCT} different pairs"),
    ("docs/marks.md", f"the first {marks.MAX_SINGLE:,} marks"),
    ("docs/marks.md", f"at most {marks.MAX_BODY_BYTES // 1024} KiB with `mark`"),
    ("docs/marks.md", f"the ports {mark_client.PORTS[0]} to {mark_client.PORTS[-1]}"),
    ("docs/marks.md", f"The default is `{marks.DEFAULT_KIND}`"),
    ("docs/slo-file.md", f"less than {1 - float(TOLERANCE):.0%}".replace("%", " %") + " of the load asked for"),
    ("docs/slo-file.md", f"the {WORDS[int(validity.LOOK_BACK_S)]} seconds before each"),
    ("docs/slo-file.md", f"No window is shorter than {WORDS[burn.MIN_SCRAPES]} scrapes"),
    ("docs/game-days.md", f"tried {WORDS[injection.UNDO_TRIES]} times"),
    ("docs/game-days.md", f"the last query has {mark_client.TIMEOUT_S:g} s"),
    ("docs/game-days.md", "asked twice a second" if observer.POLL_S == 0.5 else "asked at another rate"),
    ("docs/run-record.md", f"version {record.VERSION} does not have"),
    ("CHANGELOG.md", f"charts of the last {curves.MAX_POINTS // 60} minutes"),
    ("docs/analysis.md", f"less than {analyze.LEAST_S:g} s of load, fewer than {analyze.LEAST_REQUESTS} requests"),
]  # fmt: skip


@pytest.mark.parametrize(("page", "sentence"), SENTENCES)
def test_numbers_are_those_of_the_code(page: str, sentence: str) -> None:
    """A sentence has the number of the constant that decides it."""
    assert sentence in prose(page)


def test_a_lost_run_ends_in_time() -> None:
    """The exporter waits for scrapers for less than the documented time, and then ends."""
    assert process.LOST_GRACE_S < 30


QUOTES = [
    ("docs/troubleshooting.md", "Metrics for Prometheus at"),
    ("docs/troubleshooting.md", "is taken; /metrics is on port"),
    ("docs/troubleshooting.md", "workers left without their last report"),
    ("docs/troubleshooting.md", "OTLP never"),
    ("docs/troubleshooting.md", "never scraped"),
    ("docs/how-it-works.md", "never scraped"),
    ("docs/marks.md", "Marked ("),
    ("docs/slo-file.md", "in which the generator kept up"),
]


@pytest.mark.parametrize(("page", "quote"), QUOTES)
def test_quoted_messages_exist(page: str, quote: str) -> None:
    """A message that a page quotes is in the code."""
    assert quote in prose(page)
    assert quote in sources()


def test_the_shipped_commands_are_those_of_cli() -> None:
    """Each command of `locust-otel` that a page names exists."""
    for page in PAGES:
        for name in re.findall(r"`locust-otel ([a-z]+)\b", page.read_text()):
            assert name in {*COMMANDS, "exporter"}, (page.name, name)  # `ps` shows `locust-otel exporter RUN_ID`


def test_grafana_data_source_interval() -> None:
    """The interval that the pages ask for is the one that is provisioned."""
    path = TOP / "deploy/grafana/provisioning/datasources/locust-otel.yaml"
    interval = yaml.safe_load(path.read_text())["datasources"][0]["jsonData"]["timeInterval"]
    for page in ("docs/troubleshooting.md", "dashboards/README.md"):
        assert f"timeInterval: {interval}" in text(page)
