"""`python -m locust_otel.exporter`: what the plugin starts beside Locust, with a socket and two files open."""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import sys

SOCKET, CHECKPOINTS, COUNTS = 3, (4, 5), (6, 7)
"""Descriptors that the plugin has left open."""


def main() -> int:
    """Run the exporter, and return its exit code."""
    gc.disable()  # while modules are loaded, which takes a fifth longer with it
    # Ctrl-C and SIGTERM may go to the whole group. Locust decides when it ends, and says so, or its end of the socket
    # is closed; until here these signals were blocked.
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ignored)
    try:
        is_socket = stat.S_ISSOCK(os.fstat(SOCKET).st_mode)
    except OSError:
        is_socket = False
    if not is_socket:
        sys.stderr.write("locust-otel: the exporter is started by the plugin in Locust's process, not by hand.\n")
        return 2
    from locust_otel.exporter import slo_file  # noqa: PLC0415  # not before signals are ignored
    from locust_otel.exporter.checkpoint import Checkpoint  # noqa: PLC0415  # likewise
    from locust_otel.exporter.connection import Plugin  # noqa: PLC0415  # likewise

    connection = socket.socket(fileno=SOCKET)
    connection.setblocking(True)  # the sockets of the plugin do not block, and a pair shares that
    plugin = Plugin(connection)
    settings = plugin.settings()
    if settings is None:
        return 1
    if (slo := settings["values"]["slo"]) and not settings["is_worker"]:
        slo_file.begin(slo)  # while the imports below take as long
    from locust_otel.exporter.process import Exporter  # noqa: PLC0415  # see above

    nice_if_alone()
    # Most of what is made here is numbers and texts in no cycle: collections by default take a third of its time.
    gc.enable()
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.001)  # seconds: a scrape asks for its turn some dozen times
    return Exporter(plugin, Checkpoint(CHECKPOINTS), Checkpoint(COUNTS)).main(settings)


def nice_if_alone() -> None:
    """Step back behind Locust where both share the only core."""
    affinity = getattr(os, "sched_getaffinity", None)
    if (len(affinity(0)) if affinity is not None else os.cpu_count()) == 1:
        os.nice(5)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of libraries that wait for a dead sink must not keep the process
