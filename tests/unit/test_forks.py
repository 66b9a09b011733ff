"""Tests of a child that a task forks, in processes of their own: it neither answers scrapes nor pushes."""

from __future__ import annotations

import socket
import subprocess
import sys

import gevent
import pytest

from tests.unit.otlp_sinks import HttpSink, reply

CHILD = """
import locust, gevent, os, sys
from locust_otel.aggregate import Aggregate
from locust_otel.events import EventQueue
from locust_otel.exporters.families import ALL_SCOPES
from locust_otel.exporters.ledger import Ledger
from locust_otel.exporters.otlp.pusher import Pusher
from locust_otel.exporters.otlp.settings import OtlpSettings
from locust_otel.exporters.server import MetricsServer
from tests.unit.otlp_sinks import snapshot, target

aggregate = Aggregate(slow_s=2.0, max_names=5)
server = MetricsServer(lambda: snapshot(aggregate), lambda scrape: None, ALL_SCOPES, None)
server.start("127.0.0.1", 0)
settings = OtlpSettings(target(sys.argv[1]), None, 0.05, is_exponential=False, is_delta=False)
pusher = Pusher(settings, lambda: snapshot(aggregate), ALL_SCOPES, events=EventQueue(), ledger=Ledger(), version="1")
pusher.start()
gevent.sleep(float(sys.argv[2]))
if os.fork() == 0:
    print(server.url.split(":")[2].split("/")[0], flush=True)
    gevent.sleep(4)
    os._exit(0)
gevent.sleep(0.2)
os._exit(0)
"""


def silent(connection: socket.socket) -> None:
    """Let a push wait for its answer."""
    gevent.sleep(60)


@pytest.mark.parametrize("is_silent", [False, True], ids=["between pushes", "in the middle of a push"])
def test_a_child_lets_go(is_silent: bool) -> None:
    """Once the parent has gone nobody listens on its port and nothing is pushed, though a child lives on."""
    with (
        HttpSink(silent if is_silent else reply()) as sink,
        subprocess.Popen([sys.executable, "-c", CHILD, sink.url, "0.3"], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert process.wait(10) == 0
        received, connections = len(sink.received), sink.connections
        assert received >= 1
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        gevent.sleep(0.5)
        assert (len(sink.received), sink.connections) == (received, connections)
