"""`locust-otel init`: writes the files of a project, from answers or flags; it overwrites no file."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locust_otel.core.errors import ConfigurationError, ExitCode, writing
from locust_otel.core.options import number

if TYPE_CHECKING:
    from locust_otel.project.files import Answers
    from locust_otel.slo.objectives import Slo

_HOST = "https://staging.example.com"


def add_to(commands: Any) -> None:
    """Add the command."""
    init = commands.add_parser(
        "init",
        help="write the files of a project: objectives, rules, dashboards, servers, CI",
        description="Write an SLO file with its schema, configurations of Prometheus, Alertmanager and Grafana, rules, "
        "dashboards, a compose file and a CI workflow. Existing files are kept. In a terminal the command asks for the "
        "values of missing flags.",
    )
    add = init.add_argument
    add("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="where to write them (default: here)")
    add("--service", metavar="NAME", help="the service under test (default: the name of the folder)")
    add("--locustfile", metavar="FILE", help="the locustfile, from FOLDER (default locustfile.py)")
    add("--host", metavar="URL", help=f"URL of the service, for the load in CI (default {_HOST})")
    add("--users", type=number, default=50, metavar="N", help="simulated users in CI (default %(default)s)")
    add("--run-time", default="30m", metavar="TIME", help="length of a run: 90s, 30m (default %(default)s)")
    add("--yes", action="store_true", help="ask nothing")
    init.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Write the files and print the next commands."""
    from locust_otel.project.files import project_files, slo_file  # noqa: PLC0415  # no other command needs it
    from locust_otel.slo.file import load  # noqa: PLC0415  # likewise

    folder: Path = options.folder
    is_new = not (folder / "slo.yaml").exists()
    try:
        answers = _answers(options, asks_service=is_new)
    except KeyboardInterrupt:
        print()  # noqa: T201
        return 130
    slo = _parsed(slo_file(answers)) if is_new else load(str(folder / "slo.yaml"))
    written = set()
    for name, text in {"slo.yaml": slo.text, **project_files(answers, slo)}.items():
        is_written = _write(folder, name, text)
        written |= {name} if is_written else set()
        print(f"{'written' if is_written else 'kept':8} {folder / name}", flush=True)  # noqa: T201
    print()  # noqa: T201
    if not (folder / answers.locustfile).exists():
        print(f"{answers.locustfile} does not exist yet: https://docs.locust.io/en/stable/quickstart.html")  # noqa: T201
    if "alertmanager.yml" in written:
        print("alertmanager.yml sends nothing yet: fill in its receivers.")  # noqa: T201
    if ".github/workflows/load-test.yml" in written:
        print("load-test.yml: check its env and its steps before it runs.")  # noqa: T201
    locustfile, host = shlex.quote(answers.locustfile), shlex.quote(answers.host)
    print(  # noqa: T201
        f"Next{'' if folder == Path() else f', in {folder}'}:\n"
        f"  locust-otel run -f {locustfile} --slo slo.yaml --open --host {host}\n"
        "  locust-otel stack"
    )
    return ExitCode.OK


def _answers(options: argparse.Namespace, *, asks_service: bool) -> Answers:
    """Return the answers: from flags, else in a terminal from the user, else the defaults."""
    from locust_otel.core import web  # noqa: PLC0415  # likewise
    from locust_otel.core.settings import duration  # noqa: PLC0415  # likewise
    from locust_otel.project.files import Answers  # noqa: PLC0415  # likewise

    is_asking = sys.stdin.isatty() and not options.yes

    def answer(given: str | None, question: str, default: str, *, is_asked: bool = True) -> str:
        if given is None and is_asking and is_asked:
            try:
                given = input(f"{question} [{default}]: ").strip()
            except EOFError:
                given = ""
        return given or default

    folder_name = re.sub(r"[^A-Za-z0-9._-]+", "-", options.folder.resolve().name)[:50].strip("._-")
    service = answer(options.service, "Name of the service under test", folder_name or "service", is_asked=asks_service)
    locustfile = answer(options.locustfile, "Locustfile", "locustfile.py")
    host = answer(options.host, "Address of the service", _HOST)
    if not locustfile.isprintable():
        raise ConfigurationError("--locustfile", f"{locustfile!r} is no file.", "Name a file.", slug="init-locustfile")
    if not web.is_server(host) or not host.isprintable() or " " in host:
        raise ConfigurationError("--host", f"{host!r} is not the URL of a server.", f"Write {_HOST}.", slug="init-host")
    run_time_s = duration(options.run_time, "--run-time")
    if run_time_s < 1 or run_time_s % 1:
        found = f"{options.run_time!r} is not a time of whole seconds."
        raise ConfigurationError("--run-time", found, "Write 90s, 30m.", slug="init-run-time")
    return Answers(service, locustfile, host, options.users, int(run_time_s))


def _parsed(text: str) -> Slo:
    """Return the SLO file that will be written; its errors name the flag of the wrong answer."""
    from locust_otel.slo.file import parse  # noqa: PLC0415  # likewise

    try:
        return parse(text.encode(), "slo.yaml")
    except ConfigurationError as error:
        where = "--run-time" if error.where.endswith("period") else "--service"
        raise ConfigurationError(where, error.found, error.remedy, slug=error.slug) from None


def _write(folder: Path, name: str, text: str) -> bool:
    """Write a file unless it exists; return whether it was written."""
    path = folder / name
    with writing("FOLDER", path, "Name a folder that can be written to.", slug="init-folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            return False
    return True
