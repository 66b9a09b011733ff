"""The real servers start, answer and end; every other integration test relies on it."""

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

import psutil
import pytest

from tests.backends import fetch
from tests.backends.servers import (
    Alertmanager,
    BackendMissing,
    Collector,
    Prometheus,
    Server,
    ServerFailed,
    VictoriaMetrics,
    find,
    free_port,
    http,
    promtool,
)
from tests.deploy import DEPLOY
from tests.e2e.pages import wait_until

GOOD = """\
# HELP shop_orders_total Orders taken.
# TYPE shop_orders_total counter
shop_orders_total{shop="a"} 41
"""


class _Page(BaseHTTPRequestHandler):
    body = GOOD

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def _page(port: int) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", port), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_prometheus_scrapes_a_slot_within_the_interval(prometheus: Prometheus) -> None:
    """Prometheus scrapes a slot before a server listens, and then stores the value of its page."""
    prometheus.wait_until('up{job="slots"}', lambda up: len(up) == 32)
    port = prometheus.take_slot()
    selector = f'shop_orders_total{{instance="127.0.0.1:{port}"}}'
    assert prometheus.query(selector) == []
    assert prometheus.value(f'up{{instance="127.0.0.1:{port}"}}') == 0
    with _page(port):
        prometheus.wait_until(selector)
        labels = {
            "__name__": "shop_orders_total",
            "instance": f"127.0.0.1:{port}",
            "job": "slots",
            "shop": "a",
        }
        assert prometheus.query(selector) == [(labels, 41.0)]
        assert prometheus.value(f"sum({selector})") == 41.0
        now = time.time()
        ((_, points),) = prometheus.query_range(selector, now - 10, now)
        assert {value for _, value in points} == {41.0}
        health = {target["labels"]["instance"]: target["health"] for target in prometheus.targets()}
        assert health[f"127.0.0.1:{port}"] == "up"


def test_prometheus_takes_new_targets_while_it_runs(prometheus: Prometheus) -> None:
    """Prometheus scrapes itself after a change of its targets, without a restart."""
    target = f"127.0.0.1:{prometheus.port}"
    prometheus.set_targets([target], {"added": "later"})
    samples = prometheus.wait_until('up{added="later"}', lambda up: [value for _, value in up] == [1.0])
    assert samples[0][0] == {"__name__": "up", "instance": target, "job": "locust", "added": "later"}
    prometheus.set_targets([])


def test_wait_until_shows_the_last_answer(prometheus: Prometheus) -> None:
    """The error of a wait that times out has the last answer."""
    with pytest.raises(TimeoutError, match=r"vector\(7\).*7\.0"):
        prometheus.wait_until("vector(7)", lambda samples: samples[0][1] == 8, timeout=0.2)


def test_an_alert_arrives_at_alertmanager(alertmanager: Alertmanager, tmp_path: Path) -> None:
    """A rule file is evaluated at the scrape interval, and what fires arrives at Alertmanager."""
    rules = tmp_path / "rules.yml"
    rules.write_text("groups: [{name: g, rules: [{record: seven, expr: vector(7)}, {alert: Fired, expr: seven > 6}]}]")
    with Prometheus(rule_files=[rules], alertmanagers=[alertmanager.address]) as prometheus:
        assert prometheus.wait_until("seven")[0][1] == 7.0
        prometheus.wait_until('ALERTS{alertstate="firing"}')
        assert [alert["state"] for alert in prometheus.alerts()] == ["firing"]
        wait_until(lambda: "Fired" in {alert["labels"]["alertname"] for alert in alertmanager.alerts()}, "the alert")


def test_prometheus_takes_further_scrape_configs_and_refuses_a_broken_file(
    backend: Callable[[str], None],
) -> None:
    """Raw scrape configuration is used; a faulty reload names the error and changes nothing."""
    backend("prometheus")
    raw = """
        - job_name: guarded
          basic_auth: {username: me, password: secret}
          static_configs: [{targets: ["127.0.0.1:1"]}]
    """
    with Prometheus(scrape_configs=raw) as prometheus:
        assert "username: me" in prometheus.api("status/config")["yaml"]
        with pytest.raises(HTTPError, match="couldn't load configuration"):
            prometheus.reload("no_such_key: 1")
        assert "username: me" in prometheus.api("status/config")["yaml"]


def test_a_server_that_cannot_start_shows_its_log_and_leaves_nothing(backend: Callable[[str], None]) -> None:
    """With a broken configuration the error has the server's own message."""
    backend("prometheus")
    with pytest.raises(ServerFailed, match="no_such_key"):
        Prometheus(config="no_such_key: 1")


def test_a_stopped_server_is_gone(backend: Callable[[str], None]) -> None:
    """After the with block the process, its port and its folder are gone."""
    backend("prometheus")
    with Prometheus() as prometheus:
        pid, folder = prometheus.pid, prometheus.folder
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not folder.exists()
    with pytest.raises(OSError, match="refused"):
        http(prometheus.url)


def test_promtool_lints_the_exposition(backend: Callable[[str], None]) -> None:
    """Promtool prints nothing about a good page, and names the fault planted in a bad one."""
    backend("promtool")
    good = promtool("check", "metrics", stdin=GOOD)
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    bad = promtool("check", "metrics", stdin=GOOD.replace("_total", ""))
    assert bad.returncode != 0
    assert 'counter metrics should have "_total" suffix' in bad.stdout + bad.stderr


def _listening(server: Server) -> set[tuple[object, ...]]:
    connections = psutil.Process(server.pid).net_connections()
    return {tuple(connection.laddr) for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_alertmanager_listens_on_loopback_only(alertmanager: Alertmanager) -> None:
    """The process has one listening socket, on 127.0.0.1: no cluster port."""
    assert _listening(alertmanager) == {("127.0.0.1", alertmanager.port)}


class Documented(Server):
    """A server started by the command in the head of a file of `deploy/`, with a place for its data and a free port."""

    def __init__(self, name: str, storage: str) -> None:
        self.name = name
        super().__init__()
        text = (DEPLOY / name / f"{name}.yml").read_text()
        (line,) = re.findall(rf"^#   {name} (.+)$", text, re.M)
        flags = [flag.replace("=deploy/", f"={DEPLOY}/") for flag in line.split()]
        data = f"{storage}={self.folder / 'data'}"
        self.start([self.binary, *flags, data, f"--web.listen-address=127.0.0.1:{self.port}"])


@pytest.mark.parametrize(
    ("name", "storage"), [("prometheus", "--storage.tsdb.path"), ("alertmanager", "--storage.path")]
)
def test_a_fetched_server_starts_with_the_documented_command(
    backend: Callable[[str], None], name: str, storage: str
) -> None:
    """The binary in `.backends/bin` needs no other files, and is the process that was started."""
    backend(name)
    with Documented(name, storage) as server:
        running = Path(f"/proc/{server.pid}/exe").resolve().name
        assert running in (name, f"prometheus-{name}")


def test_an_unpacked_alertmanager_gets_a_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If its templates are only beside it, there is a script instead of the link, which names what is missing."""
    monkeypatch.setenv("LOCUST_OTEL_BACKENDS", str(tmp_path / "backends"))
    monkeypatch.setattr(fetch, "TEMPLATES", Path("locust-otel-tests/default.tmpl"))
    usr = tmp_path / "it's/usr"
    target, template = usr / "bin/alertmanager", usr / "share/locust-otel-tests/default.tmpl"
    for file in (target, template, tmp_path / "unshare"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\nexit 1\n")
        file.chmod(0o755)
    fetch._link({"alertmanager": target, "amtool": target})
    folder = tmp_path / "backends" / "bin"
    assert (folder / "amtool").readlink() == target
    assert not (folder / "alertmanager").is_symlink()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}  # with an `unshare` that always fails
    started = subprocess.run(
        [folder / "alertmanager", "--version"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert started.returncode == 1
    assert "install the Debian package prometheus-alertmanager" in started.stderr
    fetch._link({"alertmanager": folder / "alertmanager"})  # found by way of PATH
    assert not (folder / "alertmanager").is_symlink()
    template.unlink()
    fetch._link({"alertmanager": target})
    assert (folder / "alertmanager").readlink() == target


def test_victoria_metrics_answers_what_was_written(victoria_metrics: VictoriaMetrics) -> None:
    """A sample written in the text format is returned after a flush."""
    http(f"{victoria_metrics.url}/api/v1/import/prometheus", body=GOOD.encode())
    victoria_metrics.flush()
    samples = victoria_metrics.wait_until("shop_orders_total")
    assert samples == [({"__name__": "shop_orders_total", "shop": "a"}, 41.0)]


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_the_collector_writes_metrics_into_prometheus(
    collector: Collector, prometheus: Prometheus, grpc_gevent: None, transport: str
) -> None:
    """Prometheus has the data of the official exporter under its Prometheus name, with its value and labels."""
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    exporter: MetricExporter
    if transport == "http":
        exporter = HttpExporter(endpoint=f"{collector.http_url}/v1/metrics")
    else:
        exporter = GrpcExporter(endpoint=collector.grpc_url)
    about = {"service.name": "shop", "service.instance.id": transport, "deployment.environment.name": "test"}
    # Without an interval it has no thread. It would start the thread again in each process forked later, between fork
    # and exec, where gevent then runs other greenlets of this process.
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    provider = MeterProvider([reader], Resource(about))
    try:
        meter = provider.get_meter("tests")
        meter.create_histogram("locust.request.duration", "s").record(1.5, {"http.request.method": "GET"})
        assert provider.force_flush()
        selector = f'{{job="shop",instance="{transport}"}}'
        samples = prometheus.wait_until(f"locust_request_duration_seconds_sum{selector}")
        labels = {"job": "shop", "instance": transport, "http_request_method": "GET", "otel_scope_name": "tests"}
        assert samples == [({"__name__": "locust_request_duration_seconds_sum", **labels}, 1.5)]
        assert prometheus.value(f"locust_request_duration_seconds_count{selector}") == 1.0
        (metric,) = collector.wait_received("metrics", lambda item: item["resource"] | about == item["resource"])
        assert (metric["name"], metric["unit"], metric["scope"]) == ("locust.request.duration", "s", "tests")
    finally:
        provider.shutdown()


def test_the_collector_shows_a_log_record(collector: Collector) -> None:
    """The collector prints a log record into its log, and `received` returns it with plain values."""
    record = {
        "timeUnixNano": str(time.time_ns()),
        "eventName": "shop.opened",
        "body": {"stringValue": "open"},
        "attributes": [{"key": "shop.number", "value": {"intValue": "7"}}],
    }
    about = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    logs = {"resourceLogs": [{"resource": about, "scopeLogs": [{"logRecords": [record]}]}]}
    http(f"{collector.http_url}/v1/logs", body=json.dumps(logs).encode())
    found = collector.wait_received("logs", lambda record: record.get("eventName") == "shop.opened")
    plain = {"body": "open", "attributes": {"shop.number": 7}, "resource": {"service.name": "shop"}, "scope": ""}
    assert found == [{**record, **plain}]
    assert "EventName: shop.opened" in collector.log_tail(50)
    assert "shop.number: Int(7)" in collector.log_tail(50)


@pytest.mark.collector
def test_the_collector_listens_on_loopback_only_and_takes_further_configuration(
    backend: Callable[[str], None],
) -> None:
    """Its only ports are its own two and the one of the exporter in the further configuration."""
    backend("otelcol")
    port = free_port()
    further = f"""
        exporters: {{prometheus: {{endpoint: "127.0.0.1:{port}"}}}}
        service: {{pipelines: {{metrics: {{exporters: [prometheus]}}}}}}
    """
    with Collector(config=further) as collector:
        assert _listening(collector) == {("127.0.0.1", own) for own in (port, collector.port, collector.grpc_port)}
        gauge = {"name": "shop.open", "gauge": {"dataPoints": [{"timeUnixNano": str(time.time_ns()), "asInt": "1"}]}}
        metrics = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [gauge]}]}]}
        http(f"{collector.http_url}/v1/metrics", body=json.dumps(metrics).encode())
        assert b"\nshop_open{" in http(f"http://127.0.0.1:{port}/metrics")
        assert collector.received("metrics") == []


def test_the_collector_is_built_from_one_version() -> None:
    """Every module of the manifest has the version of the builder."""
    version = fetch.TOOLS["otelcol"].package.rpartition("@")[2]
    lines = [line.split() for line in fetch.MANIFEST.read_text().splitlines() if "gomod:" in line]
    assert {line[-1] for line in lines} == {version}


@pytest.mark.parametrize(
    ("case", "code"), [(("", ""), 0), (("true", ""), 1), (("", "otelcol"), 1)], ids=["plain", "ci", "named"]
)
def test_without_go_the_rest_is_fetched_except_in_ci(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, str],
    code: int,
) -> None:
    """One line says what to install; it is a failure only in CI, or if the collector was requested by name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCUST_OTEL_BACKENDS", str(tmp_path / "backends"))
    monkeypatch.setenv("PATH", str(tmp_path))
    ci, only = case
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(fetch, "DEFAULT", ["otelcol"])
    assert fetch.main(["--only", only] if only else []) == code
    output = capsys.readouterr()
    (line,) = (output.err if code else output.out).splitlines()
    assert "install Go 1.25 or newer" in line


def test_a_failed_build_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error has the message of Go, and the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCUST_OTEL_BACKENDS", str(tmp_path / "backends"))
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\n[ "$1" = env ] && echo go1.26.0 && exit\necho "no module $GOFLAGS"\nexit 1\n')
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(fetch, "on_path", lambda _: {})
    assert fetch.main(["--only", "otelcol"]) == 1
    assert "the build of otelcol failed: no module -mod=mod -e" in capsys.readouterr().err
    assert [path.name for path in fetch.cache_folder().iterdir()] == [".lock-go"]


def test_a_missing_backend_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a binary the error names it and the command that fetches it."""
    monkeypatch.setenv("LOCUST_OTEL_BACKENDS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendMissing, match=r"prometheus is neither in .*make backends"):
        find("prometheus")


@pytest.mark.parametrize(("version", "is_used"), [("2.42.0", False), ("3.0.1", True)])
def test_path_is_used_when_recent_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, is_used: bool
) -> None:
    """A Prometheus on PATH is used from 3.0 on."""
    binary = tmp_path / "prometheus"
    binary.write_text(f"#!/bin/sh\necho 'prometheus, version {version}+ds1 (branch: x)'\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    expected = {"prometheus": binary.resolve()} if is_used else {}
    assert fetch.on_path(fetch.TOOLS["prometheus"]) == expected


def test_the_mirror_is_read_from_both_formats() -> None:
    """Debian's archive is found in old and new apt sources; security and disabled sources are left out."""
    one_line = """
# deb http://commented.invalid/debian bookworm main
deb [arch=amd64 signed-by=/x.gpg] http://one.invalid/debian bookworm main contrib
deb-src http://source.invalid/debian bookworm main
deb http://security.invalid/debian-security bookworm-security main
deb http://other.invalid/tool bookworm stable
"""
    deb822 = """\
Types: deb deb-src
# a comment
URIs: http://likely.invalid/packages
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://unlikely.invalid/tool
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://disabled.invalid/debian
Suites: bookworm
Components: main
"""
    assert fetch.mirrors([one_line], [deb822]) == [
        "http://one.invalid/debian",
        "http://likely.invalid/packages",
        "http://unlikely.invalid/tool",
    ]


def test_the_error_without_a_debian_archive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If apt has no Debian archive, one sentence says so and what to do, with exit code 1."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCUST_OTEL_BACKENDS", str(tmp_path / "backends"))
    monkeypatch.setattr(fetch, "APT", tmp_path)
    monkeypatch.setattr(fetch, "KEYRING", Path(__file__))
    monkeypatch.setattr(fetch, "on_path", lambda _: {})
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert fetch.main(["--only", "prometheus"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "name no Debian archive" in line
    assert "prometheus >= 3.0 on PATH" in line


def test_free_ports_are_held() -> None:
    """Each port is returned once, to one process, and none is from the range of outgoing connections."""
    ports = [port for first in (free_port(3) for _ in range(20)) for port in range(first, first + 3)]
    assert len(set(ports)) == 60
    assert max(ports) < 32_768
    held = "from tests.backends.servers import _is_held; print(*map(_is_held, {}))"
    other = subprocess.run([sys.executable, "-c", held.format(ports)], capture_output=True, text=True, check=True)
    assert set(other.stdout.split()) == {"False"}
