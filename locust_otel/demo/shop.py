"""The process of the demo shop: a small web shop with faults on request and its own counts.

`python -m locust_otel.demo.shop --port 8765` runs it in the foreground; `start()` runs it beside a program:

    with start(port=0, seed=1, faults=["errors:ratio=0.05"]) as shop:
        ...  # load shop.url
        print(shop.stats()["total"])

It is a process of its own: it must not share a loop with the load generator that it checks.
"""

from __future__ import annotations

if __name__ == "__main__":  # before anything else is imported, and only in the shop's own process
    from gevent import monkey

    monkey.patch_all()

import argparse
import json
import os
import resource
import select
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

from locust_otel.core.errors import ConfigurationError, ExitCode, LocustOtelError
from locust_otel.core.options import number
from locust_otel.demo.latency import DB_CONNECTIONS, QUEUE_TIMEOUT_S, WORKERS
from locust_otel.project.servers import end

DEFAULT_PORT = 8765
_READY = "demo shop on "
_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0
_CONTROL_TIMEOUT_S = 10.0
_PARENT_POLL_S = 0.5


class ShopError(LocustOtelError):
    """The demo shop's process did not start."""


class ShopProcess:
    """A running demo shop; a context manager that stops it.

    Its `url` is `http://127.0.0.1:PORT`, without a slash at the end. The methods that call the shop raise OSError if it
    does not answer.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self._process = process
        self.url = url
        self.port = urlsplit(url).port or 0
        self.pid = process.pid

    def stats(self) -> dict[str, Any]:
        """Return `GET /_stats`, parsed: `requests`, `total`, `in_flight`, `refused`, `routes`."""
        return self._call("GET", "/_stats")

    def reset_stats(self) -> None:
        """Count from 0 again."""
        self._call("DELETE", "/_stats")

    def faults(self) -> dict[str, Any]:
        """Return `GET /_faults`, parsed: the lists `active` and `available`."""
        return self._call("GET", "/_faults")

    def inject(self, name: str, **parameters: float | str) -> None:
        """Activate a fault; raises `urllib.error.HTTPError` 400, an OSError, if the fault is unknown."""
        self._call("POST", "/_faults", {"name": name, **parameters})

    def clear_faults(self) -> None:
        """End all faults."""
        self._call("DELETE", "/_faults")

    def stop(self) -> int:
        """End the process and return its exit code, 0 unless it was killed; may be called again."""
        code = end(self._process, _STOP_TIMEOUT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _call(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        body = None if document is None else json.dumps(document).encode()
        # Without the proxy of the environment: the shop is on 127.0.0.1.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.url + path, body, method=method)  # noqa: S310  # our own URL
        with opener.open(request, timeout=_CONTROL_TIMEOUT_S) as response:
            parsed: dict[str, Any] = json.load(response)
        return parsed


def start(*, port: int = 0, faults: Iterable[str] = (), **flags: float) -> ShopProcess:
    """Start the shop as a process of its own and return it once it listens.

    The process ends with `stop()`, or when the calling process is gone. It does not get the Ctrl-C of a terminal: the
    load may still be finishing. `flags` are other flags of the shop's command: `seed`, `workers`, `db_connections`,
    `queue_timeout`, `time_scale`.

    Raises:
        ShopError: The process ended, or did not listen within 20 s; the reason is on its standard error.
    """
    command = [sys.executable, "-m", "locust_otel.demo.shop", f"--parent-pid={os.getpid()}", f"--port={port}"]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    command += [f"--fault={fault}" for fault in faults]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    readable, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT_S)
    line = process.stdout.readline().decode() if readable else ""
    if not line.startswith(_READY):
        code = ShopProcess(process, "").stop()
        raise ShopError(f"The demo shop did not start on port {port} (exit code {code}).")
    return ShopProcess(process, line.removeprefix(_READY).strip())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the shop until SIGTERM, SIGINT or the end of its parent; return the exit code."""
    options = _parser().parse_args(arguments)

    # Only the shop's own process needs gevent; `start` must not load it.
    import gevent  # noqa: PLC0415
    from gevent.event import Event  # noqa: PLC0415

    from locust_otel.demo.faults import parse  # noqa: PLC0415
    from locust_otel.demo.shop_server import Shop, serve  # noqa: PLC0415

    # Each simulated user needs a socket: the usual soft limit of 1,024 files allows for a thousand users.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 65_536)) if hard > 0 else soft, hard))
    shop = Shop(
        seed=options.seed,
        workers=options.workers,
        db_connections=options.db_connections,
        queue_timeout_s=options.queue_timeout,
        time_scale=options.time_scale,
    )
    try:
        for text in options.fault:
            shop.activate(parse(text))
        server = serve(shop, options.port, options.host)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return ExitCode.BAD_CONFIGURATION
    except OSError as error:
        print(f"{options.host}, port {options.port}: {error}. Free it or choose another.", file=sys.stderr)  # noqa: T201
        return ExitCode.BAD_CONFIGURATION
    done = Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(signum, done.set)
    print(f"{_READY}http://{options.host}:{server.server_port}", flush=True)  # noqa: T201
    while not done.wait(_PARENT_POLL_S):
        if options.parent_pid is not None and os.getppid() != options.parent_pid:
            break
    server.stop(timeout=0)
    return ExitCode.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m locust_otel.demo.shop",
        description="A small web shop that counts its requests and has faults on request.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 in a container (default %(default)s)")
    add("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default %(default)s)")
    add("--seed", type=int, default=1, help="seed of service times, faults and tokens (default %(default)s)")
    add("--workers", type=number, default=WORKERS, help="requests served at once (default %(default)s)")
    add("--db-connections", type=number, default=DB_CONNECTIONS, help="database pool (default %(default)s)")
    add("--queue-timeout", type=float, default=QUEUE_TIMEOUT_S, help="s in a queue before a 503 (%(default)s)")
    add("--time-scale", type=float, default=1.0, help="factor on all service times; 0: answer at once")
    add("--fault", action="append", default=[], metavar="NAME[:k=v,...]", help="active from the start; repeatable")
    add("--parent-pid", type=int, help="end when this parent process is gone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
