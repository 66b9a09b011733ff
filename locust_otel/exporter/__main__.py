"""`python -m locust_otel.exporter`: what the plugin starts beside Locust, with a socket and two files open."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys

SOCKET, CHECKPOINTS, COUNTS = 3, (4, 5), (6, 7)
"""Descriptors that the plugin has left open."""


def main() -> int:
    """Run the exporter, and return its exit code."""
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
    from locust_otel.exporter.checkpoint import Checkpoint  # noqa: PLC0415  # not before signals are ignored
    from locust_otel.exporter.process import Exporter, nice_if_alone  # noqa: PLC0415  # likewise

    connection = socket.socket(fileno=SOCKET)
    connection.setblocking(True)  # it was made by gevent, whose sockets do not block, and so are their other ends
    nice_if_alone()
    return Exporter(connection, Checkpoint(CHECKPOINTS), Checkpoint(COUNTS)).main()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of libraries that wait for a dead sink must not keep the process
