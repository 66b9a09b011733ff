"""Wiring into Locust: it connects the events of an environment to a `Bridge`."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from time import time
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import gevent
import locust
import psutil
from greenlet import getcurrent
from locust import argument_parser
from locust.env import Environment
from locust.event import Events
from locust.runners import MasterRunner, WorkerRunner

from locust_otel.core import options
from locust_otel.core.errors import ConfigurationError, ExitCode
from locust_otel.core.marks import DEFAULT_KIND, cleaned
from locust_otel.core.settings import flags_of, values_of
from locust_otel.plugin import runners, web_page
from locust_otel.plugin.bridge import Bridge
from locust_otel.plugin.distributed import MasterNode, WorkerNode
from locust_otel.plugin.life import Life
from locust_otel.plugin.link import Link
from locust_otel.plugin.local import LocalNode
from locust_otel.plugin.recorder import Recorder
from locust_otel.wire import frames

logger = logging.getLogger(__name__)

_MAX_EARLY = 100_000  # requests kept before `init` is over; further ones are reported as unreconciled

_registered: WeakSet[Events] = WeakSet()
_bridges: WeakKeyDictionary[Environment, Bridge] = WeakKeyDictionary()
_lives: WeakKeyDictionary[Environment, Life] = WeakKeyDictionary()
_early: WeakKeyDictionary[Environment, _Early] = WeakKeyDictionary()


def register() -> None:
    """Add our options to Locust's, and a bridge to each environment that Locust initialises; call it once or more.

    Call it in the first line of a locustfile after its imports: listeners are called in the order in which they were
    added, and a request in the user's own `test_start` listener belongs to the run already.
    """
    events = locust.events
    if events in _registered:
        return
    _registered.add(events)
    events.init_command_line_parser.add_listener(_on_init_command_line_parser)
    events.init.add_listener(_on_init)
    events.test_start.add_listener(_on_test_start)


def attach(environment: Environment, **settings: object) -> Bridge:
    """Add a bridge to one environment, for Locust used as a library; call it after the runner was created.

    Args:
        environment: Its runner may be local, a master or a worker; without a runner it is treated as local.
        settings: Values by name of the option, `prometheus_port=9700`, `run_id="nightly"`; they override environment
            variables.

    Returns:
        The bridge of this environment, a new one only at the first call. Call its `close` at the end, unless Locust's
        `quit` event is fired.

    Raises:
        ConfigurationError: A setting is invalid, or the exporter cannot start or open its port.
    """
    bridge = _bridges.get(environment)
    if bridge is None:
        if environment.events not in _registered:
            _registered.add(environment.events)
            environment.events.test_start.add_listener(_on_test_start)
        bridge = _attach(environment, settings)
    return bridge


def mark(text: str, kind: str = DEFAULT_KIND) -> bool:
    """Mark an event in the active run of each bridge of this process; see `Bridge.mark`.

    Returns:
        Whether any run is active; without one nothing is marked.

    Raises:
        MarkError: The text or the kind is invalid.
    """
    cleaned(text, kind)  # raises without a run, too
    marked = [bridge.mark(text, kind) for bridge in list(_bridges.values())]  # all of them, since `any` stops early
    return any(marked)


def _attach(environment: Environment, given: dict[str, object]) -> Bridge:
    runner: Any = environment.runner
    events = environment.events
    is_master, is_worker = isinstance(runner, MasterRunner), isinstance(runner, WorkerRunner)
    if is_master and environment.parsed_options is None:
        # Locust passes settings to its workers only in its options; these are its own defaults.
        parser = argument_parser.get_empty_argument_parser(default_config_files=[])
        argument_parser.setup_parser_arguments(parser)
        environment.parsed_options = parser.parse_args([])
    values = values_of(environment.parsed_options, given)
    link = Link()
    if not is_worker or values["export_from"] == "workers":
        link.start({
            "values": {name: _plain(value) for name, value in values.items()},
            "log_level": logger.getEffectiveLevel(),
            "name": runners.own_name(runner),
            "is_master": is_master,
            "is_worker": is_worker,
            "port_offset": 1 + max(int(runner.worker_index), 0) if is_worker else 0,
            "start_time": time(),
            "versions": {"version": version("locust-otel"), "python_version": platform.python_version()},
        })  # fmt: skip
    flags = flags_of(values)
    node: LocalNode | MasterNode
    if is_master:
        node = MasterNode(environment, flags, link)
        events.worker_report.add_listener(node.on_worker_report)
        link.commands[frames.NAMES] = node.tell_names
    else:
        if is_worker:
            node = WorkerNode(environment, flags, link)
            events.report_to_master.add_listener(node.on_report_to_master)
        else:
            node = LocalNode(environment, flags, link)
        events.request.add_listener(node.recorder.on_request)
        events.user_error.add_listener(node.on_user_error)
    life = Life(node, freezes=flags.gc_freeze)
    bridge = Bridge(node, life)
    link.commands[frames.ABORT] = life.on_abort
    link.commands[frames.MARKED] = bridge.mark
    link.commands[frames.SAY] = partial(_say, has_file=bool(getattr(environment.parsed_options, "logfile", None)))
    life.start()
    _bridges[environment], _lives[environment] = bridge, life
    if environment.web_ui is not None:
        web_page.install(environment.web_ui, bridge)
    early = _early.pop(environment, None)
    if early is not None and isinstance(node, LocalNode):
        life.on_test_start()
        early.replay(node.recorder)
    events.spawning_complete.add_listener(life.on_spawning_complete)
    events.reset_stats.add_listener(node.on_reset)
    events.test_stop.add_listener(life.on_test_stop)
    events.quitting.add_listener(life.on_quitting)
    # Fired in reverse: the first of the list is called last, after the user's own listeners have set their exit codes.
    # That must also hold if the locustfile was loaded before us.
    events.quitting.add_listener(life.on_verdict)
    events.quitting._handlers.insert(0, events.quitting._handlers.pop())
    events.quit.add_listener(bridge.close)
    return bridge


def _say(text: str, *, has_file: bool) -> None:
    """Write the summary of a run to standard output, and to the log if that is a file."""
    with contextlib.suppress(OSError):
        print(text, flush=True)  # noqa: T201  # at every log level
    if has_file:
        logger.info("%s", text)


def _plain(value: object) -> object:
    """Return a value of an option in types that the wire supports: a path becomes text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _on_init_command_line_parser(parser: Any, **_: object) -> None:
    options.add_arguments(parser)


def _on_init(environment: Environment, **_: object) -> None:
    if environment in _bridges:
        return
    try:
        _attach(environment, {})
    except ConfigurationError as error:
        has_processes = getattr(environment.parsed_options, "processes", None)
        # For a worker that `--processes` has forked, the parent prints it.
        if not (has_processes and isinstance(environment.runner, WorkerRunner) and os.getppid() > 1):
            for problem in error.problems:
                sys.stderr.write(f"locust-otel: {problem}\n")
        logger.debug("Refused", exc_info=True)
        sys.stderr.flush()
        if has_processes and isinstance(environment.runner, MasterRunner):
            _end_forked_workers()
        sys.exit(ExitCode.BAD_CONFIGURATION)


def _end_forked_workers() -> None:
    """End the workers that `--processes` has forked; they would try to reach their master for minutes."""
    process = psutil.Process()
    for child in process.children():
        with contextlib.suppress(psutil.Error):
            if child.cmdline() == process.cmdline():  # not a process that the locustfile has started
                child.terminate()


def _on_test_start(environment: Environment, **_: object) -> None:
    life = _lives.get(environment)
    if life is not None:
        life.on_test_start()
    elif environment not in _early:  # its `init` is not over yet
        _early[environment] = _Early(environment.events)


class _Early:
    """Keeps the requests of a run that has begun before `init`.

    A worker gets the order to spawn users when it has connected. That may be before Locust has created its runner, or
    while another listener of `init` is running.
    """

    def __init__(self, events: Events) -> None:
        self._requests: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._event = events.request
        self._event.add_listener(self._keep)

    def replay(self, recorder: Recorder) -> None:
        """Record the kept requests, each in a greenlet with its original arguments; the first is the user."""
        self._event.remove_listener(self._keep)

        def record(*_: Any, request: dict[str, Any]) -> None:
            recorder.on_request(**request)

        gevent.joinall([gevent.spawn(record, *args, request=request) for args, request in self._requests])

    def _keep(self, **request: Any) -> None:
        if len(self._requests) < _MAX_EARLY:
            self._requests.append((tuple(getattr(getcurrent(), "args", ())), request))
