"""`locust-otel gameday`: play a game day, judge one that was played, or undo the faults that one has left."""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError
from locust_otel.core.settings import duration, new_run_id
from locust_otel.gameday import preflight, scoreboard
from locust_otel.gameday.conductor import Conductor, GameDayFailed
from locust_otel.gameday.history import History, StoredMark, observed, recorded, start_of
from locust_otel.gameday.injection import Faults, Journal
from locust_otel.gameday.judge import Done
from locust_otel.gameday.load import end
from locust_otel.gameday.mark_client import FAULT_END, FAULT_START, TIMEOUT_S
from locust_otel.gameday.observer import Alertmanager, Notice, Notices, Observer, Webhook
from locust_otel.gameday.plan import GameDay, load
from locust_otel.gameday.score import Played, Scorecard, scorecard
from locust_otel.gameday.view import GameDayView
from locust_otel.review.prometheus import Prometheus
from locust_otel.review.record.reader import load as read_record

_EVENTS = "events.json"
_AFTER_S = 2.0
"""Time for Prometheus to store the evaluation that shows the end of an alert."""


class Events(BaseModel):
    """The content of `events.json`: the faults of a game day and its notifications, for --score-only."""

    run_id: str
    begin: float
    done: tuple[Done, ...]
    aborted: str
    has_told: bool
    notices: list[Notice]
    silences: tuple[tuple[float, float], ...] = ()  # as in `Observer`; older files have none


def run(options: Namespace) -> int:
    """Do what the flags say, and return the exit code."""
    if options.undo:
        return _undo(Path(options.file))
    day = load(options.file)
    if options.run_id is not None:
        day = replace(day, load=None)
    if options.dry_run:
        sys.stdout.write(scoreboard.plan(day))
        return ExitCode.OK
    if options.record is not None:
        if not options.score_only:
            raise _flag("--record", "A record is of a run that is over.", "Add --score-only.")
        return _score_record(day, options)
    if options.prometheus is None:
        remedy = "Name the Prometheus that scrapes the run: --prometheus http://127.0.0.1:9090."
        raise _flag("--prometheus", "It is needed here.", remedy)
    if day.load is None and options.run_id is None:
        raise _flag("--run-id", "It is needed here.", "Give load in the file, or --run-id of a run that goes on.")
    server = Prometheus.of_environment(options.prometheus, timeout_s=TIMEOUT_S)
    return _score_only(day, server, options) if options.score_only else _play(day, server, options)


def _flag(flag: str, found: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(flag, found, remedy, slug="gameday-flag")


def _undo(source: Path) -> int:
    """Undo the faults that a game day has left, and end its load."""
    journal = Journal(source)
    if not journal.read():
        print("Nothing is left: there is no journal.", file=sys.stderr)  # noqa: T201
        return ExitCode.OK
    journal.refuse_running("The game day goes on", "End it; it mends by itself.")
    active = list(journal.active)
    with tempfile.TemporaryFile() as log:
        run_id = next((fault.run_id for fault in journal.active.values()), "")
        left = Faults(source.absolute().parent, journal, log, run_id).undo_all()
        log.seek(0)
        sys.stderr.write(log.read().decode(errors="replace"))
    for name in active:
        print(f"undo {name} FAILED" if name in left else f"undone {name}")  # noqa: T201
    if journal.load is not None and end(journal.load):
        print("the load has ended")  # noqa: T201
    journal.close()
    return 1 if left else ExitCode.OK


def _play(day: GameDay, server: Prometheus, options: Namespace) -> int:
    run_id = options.run_id or new_run_id()
    alertmanager = Alertmanager(options.alertmanager) if options.alertmanager else None
    stop_after_s = None if options.stop_after is None else float(duration(options.stop_after, "--stop-after"))
    notices, has_told = Notices(), alertmanager is not None or options.webhook_port is not None
    console = Console(stderr=True)
    with ExitStack() as stack:
        webhook = None if options.webhook_port is None else Webhook(options.webhook_port, notices)
        if webhook is not None:
            stack.callback(webhook.close)
        folder = options.output
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="locust-otel-gameday-"))
        with _writing(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
        view = stack.enter_context(GameDayView(console, day, notices))
        conductor = Conductor(
            day=day, server=server, journal=Journal(day.source), run_id=run_id, folder=Path(folder),
            observer=Observer(server, alertmanager, notices, run_id, day), view=view,
            metrics_url=options.metrics or "", stop_after_s=stop_after_s, keeps_record=options.output is not None,
        )  # fmt: skip
        try:
            notes = conductor.answer(lambda: preflight.check(day, server, alertmanager, webhook))
            for note in notes:
                view.say(f"note: {note}")
            played = conductor.play()
        except GameDayFailed as error:
            console.print(f"locust-otel: {error}", markup=False, highlight=False, soft_wrap=True)
            return ExitCode.UNDECIDED
        time.sleep(_AFTER_S)
    begin, played = conductor.begin, replace(played, notes=(*notes, *played.notes))
    if options.output is not None:
        events = Events(
            run_id=run_id, begin=begin, done=played.done, aborted=played.aborted, has_told=has_told,
            notices=notices.all(), silences=played.silences,
        )  # fmt: skip
        _write(options.output, _EVENTS, events.model_dump_json(indent=1) + "\n")
    now = time.time()
    try:
        history = conductor.answer(lambda: observed(server, run_id, begin, now, day.own_alerts), TIMEOUT_S)
    except LocustOtelError as error:
        history = History(begin, now, sees_alerts=False)
        played = replace(played, notes=(*played.notes, f"nothing is known: {error}"))
    return _conclude(scorecard(day, played, history, notices.all(), has_told=has_told), options)


def _score_only(day: GameDay, server: Prometheus, options: Namespace) -> int:
    """Judge a game day that is over, by what Prometheus has stored."""
    if options.run_id is None:
        raise _flag("--run-id", "It is needed here.", "Say which run: --run-id ID.")
    try:
        begin = start_of(server, options.run_id)
        if begin is None:
            raise LocustOtelError(f"Prometheus has no run {options.run_id} in the last 7 days.")
        history = _observed(day, server, options.run_id, begin)
    except LocustOtelError as error:
        print(f"locust-otel: {error}", file=sys.stderr)  # noqa: T201
        return ExitCode.UNDECIDED
    return _score_again(day, options.run_id, history, options)


def _score_record(day: GameDay, options: Namespace) -> int:
    """Judge a game day by the record of its run, and its alerts by Prometheus, if one is named."""
    record = read_record(options.record)
    alerts = None
    if options.prometheus is not None:
        try:
            server = Prometheus.of_environment(options.prometheus, timeout_s=TIMEOUT_S)
            alerts = _observed(day, server, record.run_id, record.start_time)
        except LocustOtelError as error:
            print(f"locust-otel: {error}", file=sys.stderr)  # noqa: T201
    return _score_again(day, record.run_id, recorded(record, alerts), options)


def _observed(day: GameDay, server: Prometheus, run_id: str, begin: float) -> History:
    return observed(server, run_id, begin, min(begin + float(day.end_s) + 120, time.time()), day.own_alerts)


def _score_again(day: GameDay, run_id: str, history: History, options: Namespace) -> int:
    """Judge by the events that were written into the folder, if there are any, and else by the marks of the run."""
    events = _read_events(options.output, run_id)
    if events is not None and options.record is None:
        played = Played(run_id, events.done, events.aborted, silences=events.silences)
    else:
        played = Played(run_id, tuple(_done(day, history.marks)))
    notices = [] if events is None else events.notices
    has_told = events is not None and events.has_told
    return _conclude(scorecard(day, played, history, notices, has_told=has_told), options)


def _done(day: GameDay, marks: Sequence[StoredMark]) -> Iterator[Done]:
    """Yield the faults by the marks of a run."""
    for step in day.steps:
        name = " ".join(step.fault.name.split())
        at = {mark.kind: mark.at for mark in marks if mark.name == name}
        if FAULT_START in at:
            yield Done(step.fault.name, at[FAULT_START], at.get(FAULT_END))


def _read_events(folder: str | None, run_id: str) -> Events | None:
    """Return the events of a run in a folder; None if there are none."""
    if folder is None:
        return None
    try:
        events = Events.model_validate_json((Path(folder) / _EVENTS).read_bytes())
    except (OSError, ValueError):
        return None
    return events if events.run_id == run_id else None


def _conclude(card: Scorecard, options: Namespace) -> int:
    """Write and print a scorecard, and return its exit code."""
    if options.output is not None:
        for name, form in (("txt", scoreboard.text), ("json", scoreboard.document), ("md", scoreboard.markdown)):
            _write(options.output, f"scorecard.{name}", form(card))
    if options.format == "text":
        console = Console()
        scoreboard.show(card, console if console.is_terminal else Console(width=scoreboard.WIDTH))
    else:
        sys.stdout.write(scoreboard.FORMATS[options.format](card))
    if options.output is not None:
        print(f"scorecard, logs and run record: {options.output}", file=sys.stderr)  # noqa: T201
    return int(card.code)


@contextmanager
def _writing(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = f"{folder!r} cannot be written to: {error.strerror}."
        raise ConfigurationError("--output", found, "Name a folder.", slug="gameday-output") from None


def _write(output: str, name: str, text: str) -> None:
    with _writing(output):
        folder = Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
