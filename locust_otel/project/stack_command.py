"""`locust-otel stack`: runs Prometheus, Alertmanager and Grafana with the files of a project, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from locust_otel.core.errors import ConfigurationError, ExitCode, writing
from locust_otel.core.options import DEFAULT_PORT, port

PORTS = {"prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
"""By server; the ports of Prometheus' configuration, the compose file, and the links in alerts."""

_PAGES = {
    "prometheus": ("", "/-/ready"),
    "alertmanager": ("", "/-/ready"),
    "grafana": ("/d/locust-otel-live", "/api/health"),
}
"""By server: its page for people, and the path that answers with success once it is ready."""

_FILES = ("prometheus.yml", "alertmanager.yml")
_TICK_S = 0.2


class _Interrupted(Exception):  # noqa: N818  # Ctrl-C is not an error
    """A signal has come."""


def add_to(commands: Any) -> None:
    """Add the command."""
    stack = commands.add_parser(
        "stack",
        help="start Prometheus, Alertmanager and Grafana with the files of a project",
        description="Start the Prometheus and the Alertmanager of this machine, and Grafana if it is installed, on "
        "127.0.0.1 with the files of `locust-otel init`. Ctrl-C ends them.",
    )
    stack.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="(default: here)")
    for name, default in PORTS.items():
        stack.add_argument(f"--{name}-port", type=port, default=default, metavar="PORT", help="(default %(default)s)")
    stack.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Start the servers, print their URLs, and wait for a signal."""
    from locust_otel.project.servers import find, started  # noqa: PLC0415  # no other command needs it

    folder: Path = options.folder.absolute()
    ports = {name: getattr(options, f"{name}_port") for name in PORTS}
    binaries = find("stack")
    _check(folder, {name: ports[name] for name in binaries})
    data = _data_folder(folder)
    environment = _grafana_environment(folder, data, ports)
    with ExitStack() as ends:
        pause = _interruptible(ends)
        try:
            running = [
                ends.enter_context(started(name, command, data, environment))
                for name, command in _commands(folder, binaries, data, ports).items()
            ]
            for server in running:
                url, (page, ready) = f"http://127.0.0.1:{ports[server.name]}", _PAGES[server.name]
                server.wait_ready(f"{url}{ready}", pause)
                _print(server.name, f"{url}{page}")
            if "grafana" not in binaries:
                _print("grafana", f"not found; each run has a live page: http://127.0.0.1:{DEFAULT_PORT}/")
            _print("data, logs", str(data))
            _print("Ctrl-C", "ends all of them")
            while True:
                for server in running:
                    server.check()
                pause(_TICK_S)
        except _Interrupted:
            _print("ends", ", ".join(binaries))
            return ExitCode.OK


def _interruptible(ends: ExitStack) -> Callable[[float], None]:
    """Return a `sleep` that raises `_Interrupted` after a signal; `ends` restores the handlers.

    A handler that raises could interrupt the start of a server before the code that ends it.
    """
    signals: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        signals.append(number)

    def pause(seconds: float) -> None:
        time.sleep(seconds)
        if signals:
            raise _Interrupted

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:  # nohup
            continue
        ends.callback(signal.signal, number, signal.signal(number, note))
    return pause


def _commands(
    folder: Path, binaries: Mapping[str, Path], data: Path, ports: Mapping[str, int]
) -> dict[str, Sequence[str]]:
    from locust_otel.project import servers  # noqa: PLC0415  # likewise

    address = {name: f"127.0.0.1:{number}" for name, number in ports.items()}
    alertmanager = folder / "alertmanager.yml"
    prometheus = _prometheus_file(folder / "prometheus.yml", data, address["alertmanager"])
    commands: dict[str, Sequence[str]] = {
        "prometheus": servers.prometheus(binaries["prometheus"], prometheus, data, address["prometheus"]),
        "alertmanager": servers.alertmanager(binaries["alertmanager"], alertmanager, data, address["alertmanager"]),
    }
    if "grafana" in binaries:
        commands["grafana"] = servers.grafana(binaries["grafana"])
    return commands


def _print(name: str, text: str) -> None:
    print(f"{name:13} {text}", flush=True)  # noqa: T201


def _check(folder: Path, ports: Mapping[str, int]) -> None:
    """Raise a ConfigurationError if a file is missing or a port is taken."""
    problems = []
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        found = f"{' and '.join(missing)} not found in {folder}."
        problems.append(ConfigurationError("stack", found, "Write them with `locust-otel init`.", slug="stack-files"))
    with ExitStack() as held:
        for name, number in ports.items():
            try:
                held.enter_context(socket.create_server(("127.0.0.1", number)))
            except OSError as error:
                found = f"Port {number} of 127.0.0.1 cannot be used: {os.strerror(error.errno or 0)}."
                remedy = "Stop the program that uses it, or give a free port."
                problems.append(ConfigurationError(f"--{name}-port", found, remedy, slug="stack-port-taken"))
    if problems:
        raise ConfigurationError.of(problems)


def _data_folder(folder: Path) -> Path:
    """Return the folder for data and logs, which is created, and ignored by git."""
    data = folder / ".locust-otel"
    with writing("stack", data, "Name a folder that can be written to.", slug="stack-folder"):
        data.mkdir(exist_ok=True)
        (data / ".gitignore").write_text("*\n")
    return data


def _prometheus_file(file: Path, data: Path, alertmanager: str) -> Path:
    """Return the configuration; if Alertmanager has another port than usual, a copy with that port."""
    usual = f"127.0.0.1:{PORTS['alertmanager']}"
    if alertmanager == usual:
        return file
    import yaml  # noqa: PLC0415  # only a copy needs it

    try:
        config = yaml.safe_load(file.read_text("utf-8"))
        for group in config["alerting"]["alertmanagers"]:
            for targets in group["static_configs"]:
                targets["targets"] = [alertmanager if target == usual else target for target in targets["targets"]]
        config["rule_files"] = [str(file.parent / name) for name in config["rule_files"]]
    except (yaml.YAMLError, LookupError, TypeError, ValueError):
        return file  # changed by the user: Prometheus reports errors
    copy = data / "prometheus.yml"
    copy.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return copy


def _grafana_environment(folder: Path, data: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """Return Grafana's settings: files of the project, no login, this machine only."""
    return {
        "GF_PATHS_DATA": str(data / "grafana"),
        "GF_PATHS_LOGS": str(data / "grafana"),
        "GF_PATHS_PLUGINS": str(data / "grafana" / "plugins"),
        "GF_PATHS_PROVISIONING": str(folder / "provisioning"),
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(ports["grafana"]),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "DASHBOARDS": str(folder / "dashboards"),
        "PROMETHEUS_URL": f"http://127.0.0.1:{ports['prometheus']}",
        "ALERTMANAGER_URL": f"http://127.0.0.1:{ports['alertmanager']}",
    }
