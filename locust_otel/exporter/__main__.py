"""`python -m locust_otel.exporter`, which the plugin starts beside Locust with a socket and four open files."""

from __future__ import annotations

import gc
import os
import signal
import socket
import stat
import sys

SOCKET, CHECKPOINTS, COUNTS = 3, (4, 5), (6, 7)
"""Descriptors that the plugin leaves open."""


def main() -> int:
    """Run the exporter, and return its exit code."""
    gc.disable()  # loading modules takes a fifth longer with it
    # Ctrl-C and SIGTERM may go to the whole process group, but Locust decides when the exporter ends: by a message, or
    # by closing the socket. The plugin starts this process with these signals blocked.
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ignored)
    try:
        is_socket = stat.S_ISSOCK(os.fstat(SOCKET).st_mode)
    except OSError:
        is_socket = False
    if not is_socket:
        sys.stderr.write("locust-otel: do not start the exporter by hand; the plugin in Locust's process starts it.\n")
        return 2
    from locust_otel.exporter import slo_file  # noqa: PLC0415  # not before signals are ignored
    from locust_otel.exporter.checkpoint import Checkpoint  # noqa: PLC0415  # likewise
    from locust_otel.exporter.connection import Plugin  # noqa: PLC0415  # likewise

    connection = socket.socket(fileno=SOCKET)
    connection.setblocking(True)  # the plugin's end of the pair does not block, and both ends share that flag
    plugin = Plugin(connection)
    settings = plugin.settings()
    if settings is None:
        return 1
    if (slo := settings["values"]["slo"]) and not settings["is_worker"]:
        slo_file.begin(slo)  # a child reads the file while the imports below take as long
    from locust_otel.exporter.process import Exporter  # noqa: PLC0415  # see above

    nice_if_alone()
    # Most objects here are numbers and texts without cycles: default collections take a third of the exporter's time.
    gc.enable()
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.001)  # seconds: a scrape waits for the interpreter some dozen times
    return Exporter(plugin, Checkpoint(CHECKPOINTS), Checkpoint(COUNTS)).main(settings)


def nice_if_alone() -> None:
    """Lower the priority of this process where it shares the only core with Locust."""
    affinity = getattr(os, "sched_getaffinity", None)
    if (len(affinity(0)) if affinity is not None else os.cpu_count()) == 1:
        os.nice(5)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of libraries that wait for a sink that does not answer must not keep the process alive
