"""`locust-otel gameday`: plays a game day, judges a finished one, or undoes the faults that one has left."""

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

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError, writing
from locust_otel.core.settings import duration, new_run_id
from locust_otel.gameday import preflight, scoreboard
from locust_otel.gameday.alertmanager import Alertmanager, Notice, Notices, Webhook
from locust_otel.gameday.conductor import Conductor, GameDayFailed
from locust_otel.gameday.history import History, StoredMark, observed, recorded, start_of
from locust_otel.gameday.injection import Faults, Journal
from locust_otel.gameday.judge import InjectedFault
from locust_otel.gameday.load import end
from locust_otel.gameday.mark_client import FAULT_END, FAULT_START, TIMEOUT_S
from locust_otel.gameday.observer import Observer
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
    done: tuple[InjectedFault, ...]
    aborted: str
    has_told: bool  # `sees_notices` of the judge
    notices: tuple[Notice, ...]
    silences: tuple[tuple[float, float], ...] = ()  # as in `Observer`; older files have none
    load_output: tuple[str, ...] = ()  # as in `Played`; older files have none


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
            raise _flag("--record", "A record is of a finished run.", "Add --score-only.")
        return _score(day, options)
    if options.prometheus is None:
        remedy = "Name the Prometheus that scrapes the run: --prometheus http://127.0.0.1:9090."
        raise _flag("--prometheus", "It is required here.", remedy)
    if options.run_id is None and (day.load is None or options.score_only):
        remedy = "Name a run: --run-id ID." if options.score_only else "Add load to the file, or name a run."
        raise _flag("--run-id", "It is required here.", remedy)
    return _score(day, options) if options.score_only else _play(day, options)


def _flag(flag: str, found: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(flag, found, remedy, slug="gameday-flag")


def _print(text: object) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def _undo(source: Path) -> int:
    """Undo the faults that a game day has left, and end its load."""
    journal = Journal(source)
    if not journal.read():
        _print("There is nothing to undo: there is no journal.")
        return ExitCode.OK
    journal.refuse_running("End it: it undoes its faults itself.")
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


def _play(day: GameDay, options: Namespace) -> int:
    server = Prometheus.of_environment(options.prometheus, timeout_s=TIMEOUT_S)
    run_id = options.run_id or new_run_id()
    alertmanager = Alertmanager(options.alertmanager) if options.alertmanager else None
    stop_after_s = None if options.stop_after is None else float(duration(options.stop_after, "--stop-after"))
    notices = Notices(is_counted=lambda labels: day.counts(labels, run_id))
    sees_notices = alertmanager is not None or options.webhook_port is not None
    console = Console(stderr=True)
    with ExitStack() as stack:
        webhook = None if options.webhook_port is None else _webhook(options.webhook_port, notices)
        if webhook is not None:
            stack.callback(webhook.close)
        folder = options.output
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="locust-otel-gameday-"))
        with _writing(folder) as path:
            pass  # an error now, not when the game day is over
        view = stack.enter_context(GameDayView(console, day, notices))
        conductor = Conductor(
            day=day, server=server, journal=Journal(day.source), run_id=run_id, folder=path,
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
            run_id=run_id, begin=begin, done=played.faults, aborted=played.aborted, has_told=sees_notices,
            notices=notices.all(), silences=played.silences, load_output=played.load_output,
        )  # fmt: skip
        with _writing(options.output) as output:
            (output / _EVENTS).write_text(events.model_dump_json(indent=1) + "\n", encoding="utf-8")
    now = time.time()
    try:
        history = conductor.answer(lambda: observed(server, run_id, begin, now, day.own_alerts), TIMEOUT_S)
    except LocustOtelError as error:
        history = History(begin, now, sees_alerts=False)
        played = replace(played, notes=(*played.notes, f"there is no data of the run: {error}"))
    return _conclude(scorecard(day, played, history, notices.all(), sees_notices=sees_notices), options)


def _webhook(address: str, notices: Notices) -> Webhook:
    """Return a webhook at `PORT`, of 127.0.0.1, or at `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    try:
        return Webhook(notices.add_notified, host or "127.0.0.1", int(port))
    except (OSError, ValueError, OverflowError) as error:
        found = f"{address!r}: {getattr(error, 'strerror', None) or 'this is not a port'}."
        raise ConfigurationError("--webhook-port", found, "Give a free port: 9095.", slug="gameday-webhook") from None


def _score(day: GameDay, options: Namespace) -> int:
    """Judge a finished game day by the data of Prometheus, by the record of its run, or by both.

    Without a record, the times of the faults are those of the events in the output folder, if there are any, and else
    those of the marks of the run.
    """
    record = None if options.record is None else read_record(options.record)
    run_id = options.run_id if record is None else record.run_id
    history = None
    if options.prometheus is not None:
        server = Prometheus.of_environment(options.prometheus, timeout_s=TIMEOUT_S)
        try:
            begin = start_of(server, run_id) if record is None else record.start_time
            if begin is None:
                raise LocustOtelError(f"Prometheus has no run {run_id} in the last 7 days.")
            until = min(begin + float(day.end_s) + 120, time.time())
            history = observed(server, run_id, begin, until, day.own_alerts)
        except LocustOtelError as error:
            _print(f"locust-otel: {error}")
    if record is not None:
        history = recorded(record, history)
    if history is None:
        return ExitCode.UNDECIDED
    events = _read_events(options.output, run_id)
    if events is not None and record is None:
        played = Played(run_id, events.done, events.aborted, silences=events.silences, load_output=events.load_output)
    else:
        played = Played(run_id, tuple(_marked_faults(day, history.marks)))
    notices, sees_notices = ((), False) if events is None else (events.notices, events.has_told)
    return _conclude(scorecard(day, played, history, notices, sees_notices=sees_notices), options)


def _marked_faults(day: GameDay, marks: Sequence[StoredMark]) -> Iterator[InjectedFault]:
    """Yield the faults by the marks of a run."""
    for step in day.steps:
        name = " ".join(step.fault.name.split())
        at = {mark.kind: mark.at for mark in marks if mark.name == name}
        if FAULT_START in at:
            yield InjectedFault(step.fault.name, at[FAULT_START], at.get(FAULT_END))


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
        with _writing(options.output) as output:
            for suffix, form in (("txt", scoreboard.text), ("json", scoreboard.document), ("md", scoreboard.markdown)):
                (output / f"scorecard.{suffix}").write_text(form(card), encoding="utf-8")
    if options.format == "text":
        console = Console()
        scoreboard.show(card, console if console.is_terminal else Console(width=scoreboard.WIDTH))
    else:
        sys.stdout.write(scoreboard.FORMATS[options.format](card))
    if options.output is not None:
        _print(f"scorecard, logs and run record: {options.output}")
    return int(card.code)


@contextmanager
def _writing(folder: str) -> Iterator[Path]:
    """Create a folder and return its path; OSErrors in the context are those of --output."""
    with writing("--output", folder, "Name a folder.", slug="gameday-output"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        yield Path(folder)
