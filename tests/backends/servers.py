"""Real servers on loopback: start, queries, end.

Every server gets a free port on 127.0.0.1 and a temporary folder of its own, and is ended by its process id. Its output
is kept in `log`, and shown when the start fails.

    with Prometheus(["127.0.0.1:9646"]) as prometheus:
        prometheus.wait_until("locust_requests_total")

Prometheus takes up new targets every 5 s only (a constant of its discovery), so the first scrape comes 5 to 6 s after
the start, and after `set_targets` too. A *slot* avoids that: a port that one server for the whole session scrapes from
its start. Take one, listen there, and the scrape comes within the interval.
"""

import fcntl
import json
import os
import random
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from types import TracebackType
from typing import Any, Literal, Self

from tests.backends import fetch

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

Sample = tuple[dict[str, str], float]
Series = tuple[dict[str, str], list[tuple[float, float]]]

# Without the proxy of the environment, which does not know loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class BackendMissing(Exception):  # noqa: N818  # it is no error of the test
    """A server is missing; the message says how to get it."""


class ServerFailed(Exception):  # noqa: N818
    """A server did not start; the message has its last output."""


def find(name: str) -> Path:
    """Return the binary `name` from `.backends/bin`, else from PATH.

    Raises:
        BackendMissing: It is in neither place, or the one on PATH is too old.
    """
    linked = fetch.backends_folder() / "bin" / name
    if linked.is_file():
        return linked
    for tool in fetch.TOOLS.values():
        if name in tool.binaries and (found := fetch.on_path(tool)):
            return found[name]
    raise BackendMissing(f"{name} is neither in {linked.parent} nor, recent enough, on PATH: run `make backends`")


def free_port(count: int = 1) -> int:
    """Return the first of `count` ports in a row on 127.0.0.1 that are free, and stay this process's own until it ends.

    They are below the kernel's range of outgoing ports, where a scraper that tries a port without a server can get that
    very port for itself.
    """
    for first in random.sample(range(20_000, 32_000), 2_000):
        if all(_is_held(port) for port in range(first, first + count)):
            return first
    raise ServerFailed("no free port on 127.0.0.1 between 20000 and 32000")


def _is_held(port: int) -> bool:
    """Lock a port against other test processes; return whether that was possible and no server has it."""
    folder = Path(tempfile.gettempdir(), f"locust-otel-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR)  # closed, and so unlocked, when the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        os.close(lock)
        return False
    return True


def http(url: str, *, form: Mapping[str, str] | None = None, body: bytes | None = None, method: str = "") -> bytes:
    """Send a request to a server on loopback and return the body; `form` or JSON `body` make it a POST.

    Raises:
        urllib.error.HTTPError: The answer is 4xx or 5xx; its message contains the body.
    """
    data = urllib.parse.urlencode(form).encode() if form is not None else body
    request = urllib.request.Request(url, data=data, method=method or ("GET" if data is None else "POST"))
    if body is not None:
        request.add_header("Content-Type", "application/json")
    try:
        with _OPENER.open(request, timeout=30) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            answer_body = error.read().decode(errors="replace")
        raise urllib.error.HTTPError(url, error.code, f"{error.reason}: {answer_body}", error.headers, None) from None
    return content


def promtool(*args: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool to its end; the caller checks the return code."""
    return subprocess.run(
        [find("promtool"), *args], input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


class Server:
    """One process with a port, a temporary folder and a log, from construction to `stop()`."""

    name = ""
    ready_path = "/-/ready"

    def __init__(self) -> None:
        self.binary = find(self.name)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.name}-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id; 0 when stopped."""
        return self._process.pid if self._process else 0

    def start(self, argv: Sequence[str | Path]) -> None:
        """Start the process and wait until it is ready.

        Raises:
            ServerFailed: It ended, or was not ready within 30 s; the message shows the end of its log.
        """
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerFailed(f"{self.name} ended with code {process.returncode}:\n{self.log_tail()}")
            if self._ready():
                return
            time.sleep(0.05)
        raise ServerFailed(f"{self.name} was not ready within {START_TIMEOUT_S:.0f} s:\n{self.log_tail()}")

    def _ready(self) -> bool:
        try:
            http(self.url + self.ready_path)
        except OSError:  # not listening yet, or 503: URLError and HTTPError are OSErrors
            return False
        return True

    def log_tail(self, lines: int = 20) -> str:
        """Return the end of the server's output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the process and remove its folder; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._temporary.cleanup()


class QueryServer(Server):
    """A server with the query API of Prometheus."""

    def api(self, path: str, **form: str) -> Any:
        """Return `data` of the answer of `/api/v1/PATH`."""
        return json.loads(http(f"{self.url}/api/v1/{path}", form=form or None))["data"]

    def query(self, promql: str, at: float | None = None) -> list[Sample]:
        """Return labels (with `__name__`) and value of each sample at a Unix time, by default now.

        A scalar has no labels. `[]` if nothing matches.

        Raises:
            ValueError: A sample is a native histogram, which is no number: query `histogram_count(…)`.
        """
        form = {"query": promql} if at is None else {"query": promql, "time": repr(at)}
        data = self.api("query", **form)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        if any("value" not in sample for sample in data["result"]):
            raise ValueError(f"{promql}: answers with native histograms or ranges, not with one number a series")
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def value(self, promql: str, at: float | None = None) -> float:
        """Return the one value the query must have.

        Raises:
            AssertionError: There is no sample or more than one.
        """
        samples = self.query(promql, at)
        assert len(samples) == 1, f"{promql}: {len(samples)} samples instead of one: {samples}"
        return samples[0][1]

    def query_range(self, promql: str, start: float, end: float, step: str = "1s") -> list[Series]:
        """Return labels and (Unix time, value) pairs of each series between two Unix times."""
        data = self.api("query_range", query=promql, start=repr(start), end=repr(end), step=step)
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series.get("values", [])])
            for series in data["result"]
        ]

    def wait_until(
        self, promql: str, predicate: Callable[[list[Sample]], bool] = bool, timeout: float = 20.0
    ) -> list[Sample]:
        """Query until the answer satisfies the predicate (by default: has a sample), and return it.

        Raises:
            TimeoutError: It does not within `timeout` seconds; the message shows the last answer.
        """
        deadline = time.monotonic() + timeout
        while True:
            samples = self.query(promql)
            if predicate(samples):
                return samples
            if time.monotonic() > deadline:
                raise TimeoutError(f"{promql}: not as expected within {timeout:g} s, last answer: {samples}")
            time.sleep(0.1)


class Prometheus(QueryServer):
    """A Prometheus on given targets, slots and rule files.

    `targets` ("127.0.0.1:9646") can be changed with `set_targets`. `scrape_configs` are further entries, YAML
    list items at any indent, for TLS, basic auth and relabelling. `config` replaces the whole configuration.
    `slots` ports are scraped from the start, see `take_slot`; their `up` is 0 until a server listens.
    `rule_files` are evaluated at the scrape interval. `flags` are further ones of the command line.
    """

    name = "prometheus"

    def __init__(
        self,
        targets: Sequence[str] = (),
        *,
        scrape_interval: str = "1s",
        native_histograms: bool = False,
        rule_files: Sequence[str | Path] = (),
        alertmanagers: Sequence[str] = (),
        scrape_configs: str = "",
        config: str | None = None,
        slots: int = 0,
        flags: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._slots = [free_port() for _ in range(slots)]
        self._config = self.folder / "prometheus.yml"
        self._targets_file = self.folder / "targets.json"
        self.set_targets(targets)
        if config is None:
            config = self._configuration(scrape_interval, rule_files, alertmanagers, scrape_configs)
        self._config.write_text(config)
        features = "exemplar-storage" + (",native-histograms" if native_histograms else "")
        self.start(
            [
                self.binary,
                f"--config.file={self._config}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                "--web.enable-lifecycle",
                f"--enable-feature={features}",
                # An alert fired before Alertmanager was discovered is lost; it is sent again after this time.
                "--rules.alert.resend-delay=5s",
                "--scrape.discovery-reload-interval=100ms",  # hidden; 5 s otherwise, on top
                *flags,
            ]
        )

    def _configuration(
        self,
        interval: str,
        rule_files: Sequence[str | Path],
        alertmanagers: Sequence[str],
        scrape_configs: str,
    ) -> str:
        # JSON is YAML, without its rules for quoting.
        discovery = [{"files": [str(self._targets_file)], "refresh_interval": "1s"}]
        lines = [
            "global:",
            f"  scrape_interval: {interval}",
            f"  scrape_timeout: {interval}",
            f"  evaluation_interval: {interval}",
            f"rule_files: {json.dumps([str(Path(path).absolute()) for path in rule_files])}",
            "alerting:",
            f"  alertmanagers: {json.dumps([{'static_configs': [{'targets': list(alertmanagers)}]}])}",
            "scrape_configs:",
            "- job_name: locust",
            f"  file_sd_configs: {json.dumps(discovery)}",
            "- job_name: slots",
            f"  static_configs: {json.dumps([{'targets': [f'127.0.0.1:{port}' for port in self._slots]}])}",
        ]
        return "\n".join(lines) + "\n" + dedent(scrape_configs).strip() + "\n"

    def set_targets(self, targets: Sequence[str], labels: Mapping[str, str] | None = None) -> None:
        """Scrape these targets of job `locust` instead of the former ones, from 6 s on at the latest."""
        fresh = self._targets_file.with_suffix(".new")
        fresh.write_text(json.dumps([{"targets": list(targets), "labels": dict(labels or {})}]))
        fresh.replace(self._targets_file)

    def take_slot(self) -> int:
        """Return an unused port of job `slots`; a server that listens there is scraped at once."""
        if not self._slots:
            raise ServerFailed("every slot is taken: ask for more with Prometheus(slots=…)")
        return self._slots.pop()

    def reload(self, config: str | None = None) -> None:
        """Read configuration and rule files again, or a whole new configuration.

        Raises:
            urllib.error.HTTPError: Prometheus refuses it; the message says why.
        """
        if config is not None:
            self._config.write_text(config)
        http(f"{self.url}/-/reload", method="POST")

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets: `scrapeUrl`, `health` (up, down, unknown), `lastError`, `labels`."""
        active: list[dict[str, Any]] = self.api("targets")["activeTargets"]
        return active

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing: `labels`, `annotations`, `state`."""
        alerts: list[dict[str, Any]] = self.api("alerts")["alerts"]
        return alerts


class VictoriaMetrics(QueryServer):
    """A VictoriaMetrics, which takes OTLP/HTTP protobuf at `otlp_url` and uses Prometheus' names."""

    name = "victoria-metrics"
    ready_path = "/health"

    def __init__(self) -> None:
        super().__init__()
        self.otlp_url = f"{self.url}/opentelemetry/v1/metrics"
        self.start(
            [
                self.binary,
                f"-httpListenAddr=127.0.0.1:{self.port}",
                f"-storageDataPath={self.folder / 'data'}",
                "-search.latencyOffset=0s",  # 30 s otherwise, during which a new sample is not shown
                "-opentelemetry.usePrometheusNaming",
            ]
        )

    def flush(self) -> None:
        """Make all samples so far readable; a query of *now* may still miss the current second."""
        http(f"{self.url}/internal/force_flush")


class Alertmanager(Server):
    """An Alertmanager, which sends every alert at once to the webhooks; `config` replaces the whole configuration."""

    name = "alertmanager"

    def __init__(self, *webhooks: str, config: str | None = None) -> None:
        super().__init__()
        self.address = f"127.0.0.1:{self.port}"
        if config is None:
            hooks = [{"url": url, "send_resolved": True} for url in webhooks]
            route = {"receiver": "test", "group_by": ["..."], "group_wait": "100ms", "group_interval": "1s"}
            config = json.dumps({"route": route, "receivers": [{"name": "test", "webhook_configs": hooks}]})
        file = self.folder / "alertmanager.yml"
        file.write_text(config)
        try:
            self.start(
                [
                    self.binary,
                    f"--config.file={file}",
                    f"--storage.path={self.folder / 'data'}",
                    f"--web.listen-address={self.address}",
                    "--cluster.listen-address=",  # else it opens 0.0.0.0:9094
                ]
            )
        except ServerFailed as failed:
            if "no mount namespace" in str(failed):
                raise BackendMissing(str(failed)) from None
            raise

    def alerts(self) -> list[dict[str, Any]]:
        """Return its alerts: `labels`, `annotations`, `status`."""
        alerts: list[dict[str, Any]] = json.loads(http(f"{self.url}/api/v2/alerts"))
        return alerts


class Collector(Server):
    """An OpenTelemetry Collector, which takes metrics and logs by OTLP over HTTP and over gRPC.

    All data is printed into the log and kept for `received`; metrics are sent on to the URL `remote_write` (of a
    Prometheus: `prometheus.url + "/api/v1/write"`) under Prometheus' names: `locust.request.duration` in `s` is
    `locust_request_duration_seconds`. Of the resource's attributes only `job` and `instance` become labels. `config` is
    further YAML, laid over ours: maps are merged, lists replaced.
    """

    name = "otelcol"

    def __init__(self, *, remote_write: str | None = None, config: str = "") -> None:
        super().__init__()
        self.http_url = self.url
        self.grpc_port = free_port()
        self.grpc_url = f"http://127.0.0.1:{self.grpc_port}"
        ours, theirs = self.folder / "otelcol.yaml", self.folder / "further.yaml"
        ours.write_text(json.dumps(self._configuration(remote_write)))
        theirs.write_text(dedent(config) or "{}")
        self.start([self.binary, f"--config={ours}", f"--config={theirs}"])

    def _configuration(self, remote_write: str | None) -> dict[str, Any]:
        listen = {
            "http": {"endpoint": f"127.0.0.1:{self.port}"},
            "grpc": {"endpoint": f"127.0.0.1:{self.grpc_port}"},
        }
        exporters: dict[str, Any] = {"debug": {"verbosity": "detailed"}}
        pipelines: dict[str, Any] = {}
        for signal in ("metrics", "logs"):
            exporters[f"file/{signal}"] = {"path": str(self._file(signal)), "flush_interval": "50ms"}
            pipelines[signal] = {"receivers": ["otlp"], "exporters": ["debug", f"file/{signal}"]}
        if remote_write:
            exporters["prometheus_remote_write"] = {"endpoint": remote_write}
            pipelines["metrics"]["exporters"].append("prometheus_remote_write")
        return {
            "receivers": {"otlp": {"protocols": listen}},
            "exporters": exporters,
            # It would serve its own metrics on the fixed port 8888.
            "service": {"telemetry": {"metrics": {"level": "none"}}, "pipelines": pipelines},
        }

    def _file(self, signal: str) -> Path:
        return self.folder / f"{signal}.jsonl"

    def _ready(self) -> bool:
        return "Everything is ready" in self.log.read_text(errors="replace")

    def received(self, signal: Literal["metrics", "logs"]) -> list[dict[str, Any]]:
        """Return each metric or log record received so far, in OTLP's JSON.

        `attributes` and `body` of a record are plain values; `resource` (its attributes) and `scope` (its name)
        are added. Numbers of 64 bits are strings in OTLP's JSON: `"timeUnixNano": "1"`.
        """
        kind, items = ("Metrics", "metrics") if signal == "metrics" else ("Logs", "logRecords")
        received: list[dict[str, Any]] = []
        file = self._file(signal)
        written = file.read_bytes() if file.exists() else b""
        for line in written.splitlines(keepends=True):
            if not line.endswith(b"\n"):  # still being written
                continue
            for resource in json.loads(line)[f"resource{kind}"]:
                about = _attributes(resource.get("resource", {}))
                for scope in resource[f"scope{kind}"]:
                    context = {"resource": about, "scope": scope.get("scope", {}).get("name", "")}
                    received += [_plain(item) | context for item in scope[items]]
        return received

    def wait_received(
        self,
        signal: Literal["metrics", "logs"],
        predicate: Callable[[dict[str, Any]], bool],
        timeout: float = 20.0,
    ) -> list[dict[str, Any]]:
        """Wait until an item satisfies the predicate, and return all items that do.

        Raises:
            TimeoutError: No item does within `timeout` seconds; the message shows the last items.
        """
        deadline = time.monotonic() + timeout
        while True:
            received = self.received(signal)
            if matching := [item for item in received if predicate(item)]:
                return matching
            if time.monotonic() > deadline:
                last = received[-3:]
                raise TimeoutError(f"not as expected within {timeout:g} s, {len(received)} {signal}, the last: {last}")
            time.sleep(0.05)


def _value(value: Mapping[str, Any]) -> Any:
    """Return an OTLP value (`{"intValue": "7"}`) as a Python value."""
    for kind, content in value.items():
        if kind == "intValue":
            return int(content)
        if kind == "arrayValue":
            return [_value(item) for item in content.get("values", [])]
        if kind == "kvlistValue":
            return {pair["key"]: _value(pair["value"]) for pair in content.get("values", [])}
        return content
    return None


def _attributes(item: Mapping[str, Any]) -> dict[str, Any]:
    return {pair["key"]: _value(pair["value"]) for pair in item.get("attributes", [])}


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    plain = {**item, "attributes": _attributes(item)}
    if "body" in plain:
        plain["body"] = _value(plain["body"])
    return plain
