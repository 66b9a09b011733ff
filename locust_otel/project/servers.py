"""Prometheus, Alertmanager and Grafana as processes: finds, starts and ends them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from locust_otel.core import web
from locust_otel.core.errors import ConfigurationError, LocustOtelError

_NAMES = {
    "prometheus": ("prometheus",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "grafana": ("grafana", "grafana-server"),
}
_START_TIMEOUT_S = 60.0  # Grafana's first start makes its database
_STOP_TIMEOUT_S = 10.0
_LAST_LINES = 5


class ServerError(LocustOtelError):
    """A server did not start, or has ended by itself."""


def find(where: str) -> dict[str, Path]:
    """Return the servers on PATH or in the folder of `make backends`, by name; Grafana is optional.

    Raises:
        ConfigurationError: Prometheus or Alertmanager is in neither place (`stack-missing`); it names `where`.
    """
    fetched = [folder / ".backends" / "bin" for folder in (Path.cwd(), Path(__file__).parents[2])]
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, fetched)])
    servers = {
        server: Path(path)
        for server, names in _NAMES.items()
        if (path := next(filter(None, (shutil.which(name, path=search) for name in names)), None))
    }
    if missing := [server for server in _NAMES if server not in servers and server != "grafana"]:
        raise ConfigurationError(
            where,
            f"{' and '.join(missing)} not found on PATH or in .backends/bin.",
            "In a checkout run `make backends`; else install them: https://prometheus.io/download/.",
            slug="stack-missing",
        )
    return servers


def prometheus(binary: Path, config: Path, data: Path, address: str) -> list[str]:
    """Return the command that runs Prometheus on an address with its data below the folder `data`."""
    return [
        str(binary),
        f"--config.file={config}",
        f"--storage.tsdb.path={data / 'prometheus'}",
        f"--web.listen-address={address}",
        "--web.enable-lifecycle",  # for new rules without a restart: POST /-/reload
        "--enable-feature=native-histograms,exemplar-storage",  # newer versions do not need it, and log a warning
    ]


def alertmanager(binary: Path, config: Path, data: Path, address: str) -> list[str]:
    """Return the command that runs Alertmanager on an address with its data below the folder `data`."""
    return [
        str(binary),
        f"--config.file={config}",
        f"--storage.path={data / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",  # the default is 0.0.0.0:9094
    ]


def grafana(binary: Path) -> list[str]:
    """Return the command that runs Grafana; its settings are environment variables."""
    prefix = binary.resolve().parents[1]
    homes = (prefix, prefix / "share" / "grafana", Path("/usr/share/grafana"))
    home = next((home for home in homes if (home / "conf" / "defaults.ini").is_file()), prefix)
    # The commands of a Linux package are scripts that add the configuration of its system service.
    program = next((path for path in (home / "bin" / "grafana", binary) if path.is_file()), binary)
    return [str(program), *(["server"] if program.name == "grafana" else []), f"--homepath={home}"]


class ServerProcess(NamedTuple):
    """A started server, and the file with its output."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Check that the server is running.

        Raises:
            ServerError: It has ended.
        """
        code = self.process.poll()
        if code is not None:
            raise self._error(f"ended with exit code {code}")

    def wait_ready(self, url: str, pause: Callable[[float], object] = time.sleep) -> None:
        """Wait until the server answers a URL with success.

        Raises:
            ServerError: It has ended, or is not ready within 60 s.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _is_ready(url):
            self.check()
            if time.monotonic() > deadline:
                raise self._error(f"was not ready within {_START_TIMEOUT_S:.0f} s")
            pause(0.05)

    def _error(self, problem: str) -> ServerError:
        last = "\n".join(self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        return ServerError(f"{self.name} {problem}; its last output:\n{last}")


@contextmanager
def started(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Run a server during the context; its output is in `NAME.log` of the folder.

    `environment` is added to that of this process.
    """
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        # In a session of its own, it does not get the Ctrl-C of a terminal: the last scrape is still to come.
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    try:
        yield ServerProcess(name, process, path)
    finally:
        end(process, _STOP_TIMEOUT_S)


def end(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Terminate a process, kill it after the timeout, and return its exit code."""
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _is_ready(url: str) -> bool:
    try:
        return web.send(url, timeout_s=2, uses_proxy=False).is_success
    except web.UnreachableError:
        return False
