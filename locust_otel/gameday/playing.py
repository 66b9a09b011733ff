"""`locust-otel gameday`: play a game day, judge one that was played, or mend what one has left."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError
from locust_otel.core.settings import duration, new_run_id
from locust_otel.gameday import notices, scoreboard
from locust_otel.gameday.api import TIMEOUT_S, Alertmanager
from locust_otel.gameday.conductor import Conductor, GameDayFailed, Stage
from locust_otel.gameday.from_record import history_of
from locust_otel.gameday.history import History, StoredMark, observed, start_of
from locust_otel.gameday.injection import Faults, Log
from locust_otel.gameday.journal import Journal
from locust_otel.gameday.load import end_leftover
from locust_otel.gameday.notices import Notice, Notices, Webhook
from locust_otel.gameday.observer import Observer
from locust_otel.gameday.plan import FAULT_END, FAULT_START, GameDay
from locust_otel.gameday.reading import load
from locust_otel.gameday.score import Done, Played, Scorecard, scorecard
from locust_otel.gameday.view import GameDayView
from locust_otel.review.prometheus import Prometheus
from locust_otel.review.record.reader import load as read_record

_EVENTS = "events.json"
_AFTER_S = 2.0
"""For the evaluation that shows an alert's end to be stored."""


def run(options: Namespace) -> int:
    """Do what the flags say, and return the exit code."""
    if options.undo:
        return _undo(Path(options.file))
    day = load(options.file)
    if options.run_id is not None:
        day = day.attached()
    if options.dry_run:
        sys.stdout.write(scoreboard.plan(day))
        return ExitCode.OK
    if options.record is not None and not options.score_only:
        raise ConfigurationError(
            "--record", "A record is of a run that is over.", "Add --score-only.", slug="gameday-flag"
        )
    if options.score_only and options.record is not None:
        return _score_record(day, options)
    if options.prometheus is None:
        raise _missing("--prometheus", "Name the Prometheus that scrapes the run: --prometheus http://127.0.0.1:9090.")
    if day.load is None and options.run_id is None:
        raise _missing("--run-id", "Give load in the file, or --run-id of a run that goes on.")
    server = Prometheus.of_environment(options.prometheus, timeout_s=TIMEOUT_S)
    if options.score_only:
        return _score_only(day, server, options)
    return _play(day, server, options)


def _missing(flag: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(flag, "It is needed here.", remedy, slug="gameday-flag")


def _undo(source: Path) -> int:
    """Mend what a game day has left broken, and end its load."""
    journal = Journal(source)
    if not journal.read():
        print("Nothing is left: there is no journal.", file=sys.stderr)  # noqa: T201
        return ExitCode.OK
    if journal.runner is not None and journal.runner.running() is not None:
        raise ConfigurationError(
            str(journal.path), f"The game day goes on, as process {journal.runner.pid}.", "End it; it mends by itself.",
            slug="gameday-running",
        )  # fmt: skip
    active = list(journal.active)
    with tempfile.TemporaryFile() as file:
        run_id = next((each.run_id for each in journal.active.values()), "")
        left = Faults(source.absolute().parent, journal, Log(file), run_id).mend_all()
        file.seek(0)
        sys.stderr.write(file.read().decode(errors="replace"))
    for name in active:
        print(f"undo {name} FAILED" if name in left else f"undone {name}")  # noqa: T201
    if journal.load is not None and end_leftover(journal.load):
        print("the load has ended")  # noqa: T201
    journal.close()
    return 1 if left else ExitCode.OK


def _play(day: GameDay, server: Prometheus, options: Namespace) -> int:
    run_id = options.run_id or new_run_id()
    alertmanager = Alertmanager(options.alertmanager) if options.alertmanager else None
    stop_after_s = None if options.stop_after is None else float(duration(options.stop_after, "--stop-after"))
    told = Notices(has_alertmanager=alertmanager is not None)
    console = Console(stderr=True)
    with ExitStack() as stack:
        if options.webhook_port is not None:
            stack.callback(Webhook(options.webhook_port, told).close)
        folder = stack.enter_context(_folder(options.output))
        observer = Observer(server, alertmanager, told, run_id, day.own_alerts, day.stop_when)
        view = stack.enter_context(GameDayView(console, day, told))
        stage = Stage(
            day=day, server=server, observer=observer, journal=Journal(day.source), view=view, run_id=run_id,
            folder=folder, metrics_url=options.metrics or "", stop_after_s=stop_after_s,
            keeps_record=options.output is not None,
        )  # fmt: skip
        conductor = Conductor(stage)
        try:
            played = conductor.play()
        except GameDayFailed as error:
            console.print(f"locust-otel: {error}", markup=False, highlight=False, soft_wrap=True)
            return ExitCode.UNDECIDED
        time.sleep(_AFTER_S)
        if options.output is not None:
            _write(folder, _EVENTS, _events(played, conductor.begin, told))
    has_told = told.has_webhook or told.has_alertmanager
    card = _card(day, played, server, (conductor.begin, time.time()), told.all(), has_told=has_told)
    return _conclude(card, options)


def _card(  # noqa: PLR0913  # all that is known
    day: GameDay, played: Played, server: Prometheus, times: tuple[float, float], told: list[Notice], *, has_told: bool
) -> Scorecard:
    begin, end = times
    try:
        history = observed(server, played.run_id, begin, end, day.own_alerts)
    except LocustOtelError as error:
        history = History(played.run_id, begin, end)
        played = replace(played, notes=(*played.notes, f"nothing is known: {error}"))
    return scorecard(day, played, history, told, has_told=has_told)


def _score_only(day: GameDay, server: Prometheus, options: Namespace) -> int:
    """Judge a game day that is over, by the marks of its run or by what was written into the folder."""
    if options.run_id is None:
        raise _missing("--run-id", "Say which run: --run-id ID.")
    events = _read(options.output, options.run_id)
    try:
        begin = start_of(server, options.run_id)
        if begin is None:
            raise LocustOtelError(f"Prometheus has no run {options.run_id} in the last 7 days.")
        end = min(begin + float(day.end_s) + 120, time.time())
        history = observed(server, options.run_id, begin, end, day.own_alerts)
    except LocustOtelError as error:
        print(f"locust-otel: {error}", file=sys.stderr)  # noqa: T201
        return ExitCode.UNDECIDED
    told = notices.read(events["notices"]) if events else []
    if events:
        played = Played(options.run_id, tuple(Done(**each) for each in events["done"]), events["aborted"])
    else:
        played = Played(options.run_id, tuple(_done(day, history.marks)))
    has_told = bool(events and events["has_told"])
    return _conclude(scorecard(day, played, history, told, has_told=has_told), options)


def _score_record(day: GameDay, options: Namespace) -> int:
    """Judge a game day by the record of its run; its alerts by Prometheus, where one is named."""
    record = read_record(options.record)
    alerts = None
    if options.prometheus is not None:
        end = min(record.start_time + float(day.end_s) + 120, time.time())
        try:
            server = Prometheus.of_environment(options.prometheus, timeout_s=TIMEOUT_S)
            alerts = observed(server, record.run_id, record.start_time, end, day.own_alerts)
        except LocustOtelError as error:
            print(f"locust-otel: {error}", file=sys.stderr)  # noqa: T201
    history = history_of(record, alerts)
    events = _read(options.output, record.run_id)
    told = notices.read(events["notices"]) if events else []
    played = Played(record.run_id, tuple(_done(day, history.marks)))
    return _conclude(scorecard(day, played, history, told, has_told=bool(events and events["has_told"])), options)


def _done(day: GameDay, marks: Any) -> Iterator[Done]:
    """Yield what the marks of a run say of the faults."""
    found: list[StoredMark] = list(marks)
    for step in day.steps:
        name = " ".join(step.fault.name.split())
        at = {mark.kind: mark.at for mark in found if mark.name == name}
        if FAULT_START in at:
            yield Done(step.fault.name, at[FAULT_START], at.get(FAULT_END))


def _events(played: Played, begin: float, told: Notices) -> str:
    values = {
        "run_id": played.run_id,
        "begin": begin,
        "done": [asdict(done) for done in played.done],
        "aborted": played.aborted,
        "has_told": told.has_webhook or told.has_alertmanager,
        "notices": notices.written(told.all()),
    }
    return json.dumps(values, indent=1) + "\n"


def _read(folder: str | None, run_id: str) -> dict[str, Any] | None:
    """Return what was written of a run into a folder; None where nothing was."""
    if folder is None:
        return None
    try:
        values: dict[str, Any] = json.loads((Path(folder) / _EVENTS).read_bytes())
        return values if values["run_id"] == run_id else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _conclude(card: Scorecard, options: Namespace) -> int:
    if options.output is not None:
        for name, form in (("txt", scoreboard.text), ("json", scoreboard.document), ("md", scoreboard.markdown)):
            _write(Path(options.output), f"scorecard.{name}", form(card))
    if options.format == "text":
        console = Console()
        scoreboard.show(card, console if console.is_terminal else Console(width=150))
    else:
        sys.stdout.write(scoreboard.FORMATS[options.format](card))
    return int(card.code)


@contextmanager
def _folder(output: str | None) -> Iterator[Path]:
    """Give the folder for logs and results: the one asked for, or one that goes again."""
    if output is None:
        with tempfile.TemporaryDirectory(prefix="locust-otel-gameday-") as folder:
            yield Path(folder)
        return
    path = Path(output)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    yield path


def _write(folder: Path, name: str, text: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        "--output", f"{str(folder)!r} cannot be written to: {error.strerror}.", "Name a folder.", slug="gameday-output"
    )
