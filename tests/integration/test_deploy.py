"""The files of `deploy/`, checked by the tools that read them, and the compose file's commands as local processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests import deploy
from tests.backends.servers import find, free_port, http, promtool
from tests.deploy import DEPLOY, TOP
from tests.e2e.harness import BIN
from tests.e2e.pages import wait_until

pytestmark = pytest.mark.slow

COLLECTOR = sorted((DEPLOY / "otel-collector").glob("*.yaml"))
DASHBOARDS = {path.stem for path in (TOP / "dashboards").glob("*.json")}


def test_prometheus_accepts_the_configurations(backend: Callable[[str], None]) -> None:
    """`promtool check config` accepts both configurations with all their rules."""
    backend("promtool")
    for name in ("prometheus.yml", "compose.yml"):
        checked = promtool("check", "config", DEPLOY / "prometheus" / name)
        assert checked.returncode == 0, checked.stderr
        assert "2 rule files found" in checked.stdout


def test_alertmanager_accepts_its_configuration(backend: Callable[[str], None]) -> None:
    """`amtool check-config` accepts it."""
    backend("amtool")
    checked = subprocess.run(
        [find("amtool"), "check-config", DEPLOY / "alertmanager" / "alertmanager.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert "3 inhibit rules" in checked.stdout


def test_prometheus_accepts_the_rules_of_the_operator(backend: Callable[[str], None], tmp_path: Path) -> None:
    """`promtool check rules` accepts the groups of the PrometheusRule."""
    backend("promtool")
    (rule,) = [document for _, document in deploy.kubernetes() if document["kind"] == "PrometheusRule"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    checked = promtool("check", "rules", tmp_path / "rules.yaml")
    assert checked.returncode == 0, checked.stderr
    assert "34 rules found" in checked.stdout


@pytest.mark.collector
@pytest.mark.parametrize("path", COLLECTOR, ids=lambda path: path.stem)
def test_the_collector_accepts_its_configurations(backend: Callable[[str], None], path: Path) -> None:
    """`otelcol validate` accepts each of them, and refuses a planted fault."""
    backend("otelcol")
    environment = {**os.environ, "REMOTE_WRITE_URL": "http://127.0.0.1:9090/api/v1/write"}
    command = [str(find("otelcol")), "validate", f"--config={path}"]
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    planted = [*command, "--config=yaml:service::pipelines::metrics::exporters: [nowhere]"]
    assert subprocess.run(planted, env=environment, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("overlay", ["prometheus-operator", "headless"])
def test_kustomize_builds_the_overlays(overlay: str, tmp_path: Path) -> None:
    """`kubectl kustomize` accepts each overlay, and all references in the result exist."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        # The tests do not fetch kubectl. Unit tests check the files without it; this test adds kubectl's own checks.
        pytest.skip("kubectl is not on PATH; tests/unit/test_deploy_files.py checks the same files without it")
    for folder in ("deploy", "locustfiles", "dashboards"):
        shutil.copytree(TOP / folder, tmp_path / folder)
    root = str(tmp_path / "deploy" / "kubernetes" / "overlays" / overlay)
    built = subprocess.run([kubectl, "kustomize", root], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    documents = list(yaml.safe_load_all(built.stdout))
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    kind = "Job" if overlay == "headless" else "Deployment"
    other = "Deployment" if overlay == "headless" else "Job"
    assert {(kind, "locust-master"), (kind, "locust-worker"), ("Deployment", "shop")} <= set(names)
    assert not {(other, "locust-master"), (other, "locust-worker")} & set(names)
    assert {document["metadata"]["namespace"] for document in documents} == {"load-tests"}
    maps = {name for kind, name in names if kind == "ConfigMap"}
    assert maps >= DASHBOARDS
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            spec = document["spec"]["template"]["spec"]
            assert spec["containers"][0]["image"] == "locust-otel:0.2.0"
            assert {v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v} <= maps
            assert {e["configMapRef"]["name"] for e in spec["containers"][0].get("envFrom", ())} <= maps
        if document["apiVersion"] == "monitoring.coreos.com/v1":
            assert document["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    locustfiles = next(document for document in documents if document["metadata"]["name"].startswith("locustfiles-"))
    assert locustfiles["data"]["slo.yaml"] == (TOP / "locustfiles" / "slo.yaml").read_text()
    assert locustfiles["data"]["webshop.py"] == (TOP / "locustfiles" / "webshop.py").read_text()


def test_the_wheel_of_the_image_has_all_files(tmp_path: Path) -> None:
    """The wheel, built from only the files that the Dockerfile copies, has the examples and configurations."""
    allowed = [line[1:] for line in (TOP / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in allowed:
        target = tmp_path / "src" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(TOP / name, target, ignore=ignore) if (TOP / name).is_dir() else shutil.copy(TOP / name, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "src")], check=True, timeout=150)
    (wheel,) = tmp_path.glob("locust_otel-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    project = "locust_otel/project"
    assert {
        *(f"{project}/shipped/locustfiles/{name}" for name in ("webshop.py", "slo.yaml")),
        *(f"{project}/templates/{name}" for name in ("slo.yaml", "receivers.yml", "compose.yaml")),
        f"{project}/shipped/deploy/prometheus/prometheus.yml",
        f"{project}/shipped/deploy/alertmanager/alertmanager.yml",
        f"{project}/shipped/deploy/ci/github-actions.yml",
        f"{project}/shipped/deploy/grafana/provisioning/dashboards/locust-otel.yaml",
        f"{project}/shipped/deploy/grafana/provisioning/datasources/locust-otel.yaml",
        *(f"locust_otel/slo/rules/json/{path.name}" for path in TOP.glob("dashboards/*.json")),
    } <= names
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    assert initialised(tmp_path / "installed", tmp_path / "one") == initialised(TOP, tmp_path / "other")


def initialised(package: Path, folder: Path) -> dict[str, bytes]:
    """Return the files that `locust-otel init` of a checkout, or of an unpacked wheel, writes into a new folder."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from locust_otel.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, str(package), "init", str(folder), "--service", "shop", "--yes"]
    subprocess.run(command, cwd=folder.parent, check=True, capture_output=True, timeout=60)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Composed:
    """Shop, master, workers and Prometheus, started by the commands of the compose file."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self._folder = folder
        self._ends = ends
        self._ports = {name: free_port() for name in ("shop", "web", "workers", "metrics", "prometheus")}
        variables = {"LOCUST_USERS": "20", "LOCUST_RUN_TIME": "15s", "LOCUST_HOST": self.url("shop")}
        self.services = deploy.compose(variables)["services"]

    def url(self, name: str) -> str:
        """Return the URL of a service on this machine."""
        return f"http://127.0.0.1:{self._ports[name]}"

    def start(self, service: str, *more: str) -> subprocess.Popen[bytes]:
        """Start a service of our image; `more` repeats flags for addresses with those of this machine."""
        definition = self.services[service]
        program, *arguments = deploy.command(definition)
        environment = {**os.environ, **deploy.image_environment()}
        environment |= {name: str(value) for name, value in definition.get("environment", {}).items()}
        environment |= {
            "LOCUST_OTEL_PROMETHEUS_PORT": str(self._ports["metrics"]),
            "LOCUST_OTEL_PROMETHEUS_HOST": "127.0.0.1",
            "HOME": str(self._folder),
        }
        environment["LOCUST_OTEL_OTLP_ENDPOINT"] = ""
        for name, value in environment.items():
            if name.startswith("LOCUST") and value.startswith("/locust/"):
                environment[name] = value.replace("/locust/", f"{TOP / 'locustfiles'}/")
        log = self._folder / f"{service}-{len(list(self._folder.glob('*.log')))}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [BIN / program, *arguments, *more], env=environment, stdout=file, stderr=subprocess.STDOUT
            )
        self._ends.callback(_end, process)
        return process

    def play(self) -> tuple[subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]:
        """Start all services; return master and workers."""
        self.start("shop", "--host", "127.0.0.1", "--port", str(self._ports["shop"]))
        wait_for(lambda: http(f"{self.url('shop')}/healthz"))
        self.start_prometheus()
        web, workers = str(self._ports["web"]), str(self._ports["workers"])
        master = self.start("master", "--web-port", web, "--web-host", "127.0.0.1", "--master-bind-port", workers)
        wait_for(lambda: http(f"{self.url('metrics')}/-/healthy"))
        address = ("--master-host", "127.0.0.1", "--master-port", workers)
        replicas = int(self.services["worker"]["deploy"]["replicas"])
        return master, [self.start("worker", *address) for _ in range(replicas)]

    def start_prometheus(self) -> None:
        """Start Prometheus with flags and configuration of the compose file, and the target on this machine."""
        folder = self._folder / "prometheus"
        shutil.copytree(DEPLOY / "prometheus", folder)
        config = folder / "compose.yml"
        config.write_text(config.read_text().replace("master:9646", f"127.0.0.1:{self._ports['metrics']}"))
        flags = [
            flag.replace("/etc/prometheus", str(folder)).replace("=/prometheus", f"={folder / 'data'}")
            for flag in self.services["prometheus"]["command"]
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [find("prometheus"), *flags, f"--web.listen-address=127.0.0.1:{self._ports['prometheus']}"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._ends.callback(_end, process)
        wait_for(lambda: http(f"{self.url('prometheus')}/-/ready"))

    def ask(self, query: str) -> float | None:
        """Return the value of a query, None without a sample."""
        answer = json.loads(http(f"{self.url('prometheus')}/api/v1/query", form={"query": query}))
        result = answer["data"]["result"]
        return float(result[0]["value"][1]) if result else None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until the condition holds and raises no OSError."""

    def holds() -> object:
        with contextlib.suppress(OSError):
            return condition()
        return False

    wait_until(holds, "not as expected", timeout_s)


@pytest.fixture
def composed(backend: Callable[[str], None], tmp_path: Path) -> Iterator[Composed]:
    """Give the stack, and end each of its processes."""
    backend("prometheus")
    with ExitStack() as ends:
        yield Composed(tmp_path, ends)


def test_the_stack_counts_what_the_shop_counts(composed: Composed) -> None:
    """By the compose file's own commands a run on four workers starts by itself, and Prometheus has every request."""
    master, workers = composed.play()
    assert len(workers) == 4
    # On a busy machine Locust can lose a worker for a while: there are fewer than 20 users then.
    wait_for(lambda: (composed.ask("max_over_time(sum(locust_users)[2m:1s])") or 0) > 0, 90)
    assert composed.ask("max(locust_workers_expected)") == 4
    wait_for(lambda: composed.ask("max(locust_run_active)") == 0, 90)
    # For a second after a stop Locust has no list of workers, and would not tell them to quit.
    wait_for(lambda: composed.ask('sum(locust_workers{state="ready"}) + sum(locust_workers{state="missing"})') == 4)
    master.send_signal(signal.SIGTERM)
    code = master.wait(30)
    served = json.loads(http(f"{composed.url('shop')}/_stats"))
    total = composed.ask("sum(max_over_time(locust_requests_total[5m]))")
    assert total is not None
    # Locust loses requests that a worker reports later than 0.5 s after the end: the shop has up to one a user more.
    assert 0 <= served["total"] - total <= 20
    assert total > 50
    judged = composed.ask('sum(max_over_time(locust_slo_events_total{slo="availability"}[5m]))')
    assert judged is not None
    assert code in ((4, 5) if judged < 100 else (0, 5))  # 5: the generator was late
    assert composed.ask('max(ALERTS{alertname=~"LocustSLO.+"})') is None
    log = next(composed._folder.glob("master-*.log")).read_text()
    counts = re.search(r"requests: Locust ([\d,]+) · recorded ([\d,]+) · last scrape ([\d,]+)", log)
    assert counts is not None, log
    assert {int(count.replace(",", "")) for count in counts.groups()} == {total}
