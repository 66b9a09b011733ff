"""The wiring into Locust: from its events to a `Bridge`."""

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

_MAX_EARLY = 100_000  # requests before `init` is over; what is beyond shows as unreconciled

_registered: WeakSet[Events] = WeakSet()
_bridges: WeakKeyDictionary[Environment, Bridge] = WeakKeyDictionary()
_lives: WeakKeyDictionary[Environment, Life] = WeakKeyDictionary()
_early: WeakKeyDictionary[Environment, _Early] = WeakKeyDictionary()


def register() -> None:
    """Add our options to Locust's, and a bridge to each environment that Locust initialises; twice is harmless.

    The first line of a locustfile after its imports is the place for it: listeners are called in the order in which
    they were added, and a request in a `test_start` listener of the user's belongs to the run already.
    """
    events = locust.events
    if events in _registered:
        return
    _registered.add(events)
    events.init_command_line_parser.add_listener(_on_init_command_line_parser)
    events.init.add_listener(_on_init)
    events.test_start.add_listener(_on_test_start)


def attach(environment: Environment, **settings: object) -> Bridge:
    """Add a bridge to one environment, for Locust used as a library; after its runner was created.

    Args:
        environment: Its runner may be local, a master, a worker, or none yet (which is taken as local).
        settings: By the names of the options, `prometheus_port=9700`, `run_id="nightly"`; they win over environment
            variables.

    Returns:
        The bridge; the one that is there already if this environment has one. Call its `close` at the end, unless
        Locust's `quit` event is fired.

    Raises:
        ConfigurationError: The settings cannot be used, or the endpoint cannot be had.
    """
    bridge = _bridges.get(environment)
    if bridge is None:
        if environment.events not in _registered:
            _registered.add(environment.events)
            environment.events.test_start.add_listener(_on_test_start)
        bridge = _attach(environment, settings)
    return bridge


def mark(text: str, kind: str = DEFAULT_KIND) -> bool:
    """Mark something in the run of each bridge of this process: a fault, a deployment.

    On a worker it travels to the master. See `Bridge.mark` for the arguments.

    Returns:
        Whether a run goes on; without one nothing is marked.

    Raises:
        MarkError: The text is empty, or the kind is no word of at most 30 small letters, digits, `_` and `-`.
    """
    cleaned(text, kind)  # told of without a run too
    told = [bridge.mark(text, kind) for bridge in list(_bridges.values())]  # all of them, before any is looked at
    return any(told)


def _attach(environment: Environment, given: dict[str, object]) -> Bridge:
    runner: Any = environment.runner
    events = environment.events
    is_master, is_worker = isinstance(runner, MasterRunner), isinstance(runner, WorkerRunner)
    if is_master and environment.parsed_options is None:
        # Locust hands settings to its workers in its options only; these are its own defaults.
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
    # Fired in reverse: the first of the list is called last, when listeners of the user's have set their exit codes,
    # and that must hold where the locustfile was loaded before us too.
    events.quitting.add_listener(life.on_verdict)
    events.quitting._handlers.insert(0, events.quitting._handlers.pop())
    events.quit.add_listener(bridge.close)
    return bridge


def _say(text: str, *, has_file: bool) -> None:
    """Write how a run has ended to standard output, and to the log where that is a file."""
    with contextlib.suppress(OSError):
        print(text, flush=True)  # noqa: T201  # whatever the level of the log
    if has_file:
        logger.info("%s", text)


def _plain(value: object) -> object:
    """Return a value of an option as the wire carries it: a path, for one, as its text."""
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
        # The parent of a worker that `--processes` has forked says it.
        if not (has_processes and isinstance(environment.runner, WorkerRunner) and os.getppid() > 1):
            for problem in error.problems:
                sys.stderr.write(f"locust-otel: {problem}\n")
        logger.debug("Refused", exc_info=True)
        sys.stderr.flush()
        if has_processes and isinstance(environment.runner, MasterRunner):
            _end_forked_workers()
        sys.exit(ExitCode.BAD_CONFIGURATION)


def _end_forked_workers() -> None:
    """End the workers that `--processes` has forked, which would look for their master for minutes."""
    own = psutil.Process()
    for child in own.children():
        with contextlib.suppress(psutil.Error):
            if child.cmdline() == own.cmdline():  # not what the locustfile may have started
                child.terminate()


def _on_test_start(environment: Environment, **_: object) -> None:
    life = _lives.get(environment)
    if life is not None:
        life.on_test_start()
    elif environment not in _early:  # its `init` is not over
        _early[environment] = _Early(environment.events)


class _Early:
    """Keeps the requests of a run that has begun before `init`.

    A worker is told to spawn users as soon as it has connected, which may be before Locust has made its runner, or
    while another listener of `init` takes its time.
    """

    def __init__(self, events: Events) -> None:
        self._requests: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._event = events.request
        self._event.add_listener(self._keep)

    def replay(self, recorder: Recorder) -> None:
        """Record what was kept, each from a greenlet with the arguments of its own: the first is the user."""
        self._event.remove_listener(self._keep)

        def record(*_: Any, request: dict[str, Any]) -> None:
            recorder.on_request(**request)

        gevent.joinall([gevent.spawn(record, *args, request=request) for args, request in self._requests])

    def _keep(self, **request: Any) -> None:
        if len(self._requests) < _MAX_EARLY:
            self._requests.append((tuple(getattr(getcurrent(), "args", ())), request))
