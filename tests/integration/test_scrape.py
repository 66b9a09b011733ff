"""A real Prometheus has every request of Locust, the last ones too, in every way to run Locust."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest
import trustme

from tests.backends.servers import Prometheus, free_port
from tests.e2e.harness import (
    CALM,
    SHOP_FAULTS,
    Distributed,
    Outcome,
    Scenario,
    Stage,
    Stages,
    forking,
    free_ports,
    load,
    played,
)
from tests.e2e.pages import Totals, total

PASSWORD = "scrape me"
LAST = "max_over_time({}[5m])"
"""Of a run that is over; its target is gone, and an instant query would be empty."""


class Ports:
    """The ports of the scenarios, known before Prometheus starts: it takes up new targets after 6 s only."""

    def __init__(self) -> None:
        self.local, self.forked, self.distributed, self.terminated, self.tls = (free_port() for _ in range(5))
        self.workers = free_ports(3)

    @property
    def plain(self) -> list[str]:
        """Targets without TLS."""
        ports = (self.local, self.forked, self.distributed, self.terminated)
        return [f"127.0.0.1:{port}" for port in (*ports, *range(self.workers, self.workers + 3))]


PORTS = Ports()
RUN_TIME = "6s"


def _outcome(stage: Stage, code: int, log: str) -> Outcome:
    locust, untimed = stage.totals()
    return Outcome(code=code, log=log, locust=locust, untimed=untimed)


def _one_process(stage: Stage, port: int, run_id: str, *more: str) -> Outcome:
    shop = stage.shop(*SHOP_FAULTS)
    process = stage.start(
        *("locust-otel", "run", *load(shop.url, run_time=RUN_TIME)),
        *("--prometheus-port", str(port), "--run-id", run_id, *more),
    )
    return _outcome(stage, process.wait(), process.log)


def local(stage: Stage) -> Outcome:
    """One process."""
    return _one_process(stage, PORTS.local, "local")


def forked(stage: Stage) -> Outcome:
    """`--processes 2`."""
    return _one_process(stage, PORTS.forked, "forked", *forking())


def distributed(stage: Stage) -> Outcome:
    """A master and two workers."""
    shop = stage.shop(*SHOP_FAULTS)
    flags = ["--prometheus-port", str(PORTS.distributed), "--run-id", "distributed"]
    processes = Distributed(stage, *load(shop.url, run_time=RUN_TIME), *flags)
    return _outcome(stage, processes.wait(), processes.master.log)


def terminated(stage: Stage) -> Outcome:
    """One process, ended by SIGTERM in the middle."""
    shop = stage.shop(*SHOP_FAULTS)
    process = stage.start(
        *("locust-otel", "run", *load(shop.url, run_time="50s")),
        *("--prometheus-port", str(PORTS.terminated), "--run-id", "terminated"),
    )
    stage.scrape(PORTS.terminated, agent="another").wait_for(lambda page: page.requests > 500, "500 requests")
    process.send(signal.SIGTERM)
    return _outcome(stage, process.wait(), process.log)


def workers(stage: Stage) -> Outcome:
    """`--export-from workers`: Prometheus scrapes the master and each worker."""
    shop = stage.shop(*SHOP_FAULTS)
    flags = ["--export-from", "workers", "--prometheus-port", str(PORTS.workers), "--run-id", "workers"]
    processes = Distributed(stage, *load(shop.url, run_time=RUN_TIME), everywhere=flags)
    return _outcome(stage, processes.wait(), processes.master.log)


def tls(stage: Stage) -> Outcome:
    """TLS and basic auth."""
    shop = stage.shop()
    folder = Path(stage.folder).parent / "certificates"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "web.yml").write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
        f"basic_auth_users: {{prometheus: '{hashed}'}}\n"
    )
    process = stage.start(
        *("locust-otel", "run", *load(shop.url, file=CALM, users=5, run_time=RUN_TIME)),
        *("--prometheus-port", str(PORTS.tls), "--run-id", "tls", "--prometheus-web-config", str(folder / "web.yml")),
    )
    return _outcome(stage, process.wait(), process.log)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 and return its folder, in which `ca.pem` is whom to trust."""
    folder = tmp_path_factory.getbasetemp() / "certificates"
    folder.mkdir()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = ca.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(str(folder / "server.pem"), append=True)
    (folder / "server.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def scraping(backend: Callable[[str], None], certificates: Path) -> Iterator[Prometheus]:
    """Give a Prometheus that scrapes all ports every second, once it does."""
    backend("prometheus")
    guarded = f"""
        - job_name: guarded
          scheme: https
          basic_auth: {{username: prometheus, password: "{PASSWORD}"}}
          tls_config: {{ca_file: "{certificates / "ca.pem"}"}}
          static_configs: [{{targets: ["127.0.0.1:{PORTS.tls}"]}}]
    """
    with Prometheus(PORTS.plain, scrape_configs=guarded) as server:
        server.wait_until("count(up)", lambda answer: bool(answer) and answer[0][1] == len(PORTS.plain) + 1)
        yield server


@pytest.fixture(scope="module")
def stages(scraping: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Play all scenarios, three at a time."""
    yield from Stages(tmp_path_factory.mktemp, at_once=3).play(SCENARIOS)


@pytest.fixture
def outcome(request: pytest.FixtureRequest, stages: Stages) -> Outcome:
    """Give the outcome of the scenario this test is parametrized with."""
    return stages.of(request.param)


SCENARIOS: tuple[Scenario, ...] = (distributed, forked, local, terminated, workers, tls)


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    """Give the run id of the scenario, which is its name."""
    name: str = request.node.callspec.id
    return name


def totals(prometheus: Prometheus, run_id: str) -> Totals:
    """Return what Prometheus has of a run, by method and name."""
    counts: dict[tuple[str, str, str], float] = {}
    for labels, value in prometheus.query(LAST.format(f'locust_requests_total{{run_id="{run_id}"}}')):
        key = (labels["method"], labels.get("name", ""), labels["outcome"])
        counts[key] = counts.get(key, 0) + value
    return {
        (method, name): (
            int(counts[method, name, "success"] + counts[method, name, "failure"]),
            int(counts[method, name, "failure"]),
        )
        for method, name, _ in counts
    }


@played(*SCENARIOS)
def test_prometheus_has_every_request(outcome: Outcome, run_id: str, scraping: Prometheus) -> None:
    """Requests and failures of each method and name are Locust's own, though the target is gone."""
    assert totals(scraping, run_id) == outcome.locust
    assert total(outcome.locust) > 50
    account = outcome.account
    assert account.locust == account.recorded == total(outcome.locust)
    assert account.last_scrape == (None if run_id == "workers" else account.recorded)
    assert scraping.value(f'last_over_time(locust_run_active{{run_id="{run_id}"}}[5m])') == 0
    # Health has no run id; each target served one run only.
    ports = {"workers": range(PORTS.workers, PORTS.workers + 3)}.get(run_id) or [getattr(PORTS, run_id)]
    for port in ports:
        instance = f'instance="127.0.0.1:{port}"'
        assert scraping.value(f"last_over_time(locust_otel_unreconciled_requests{{{instance}}}[5m])") == 0


@played(*SCENARIOS)
def test_histograms_have_every_request_with_a_time(outcome: Outcome, run_id: str, scraping: Prometheus) -> None:
    """The classic histogram counts what has a time, and its last bucket is its count."""
    selector = f'{{run_id="{run_id}"}}'
    count = scraping.value(f"sum({LAST.format(f'locust_request_duration_seconds_count{selector}')})")
    assert count == total(outcome.locust) - outcome.untimed
    infinite = f'locust_request_duration_seconds_bucket{{run_id="{run_id}", le="+Inf"}}'
    assert scraping.value(f"sum({LAST.format(infinite)})") == count


@played(*SCENARIOS)
def test_prometheus_takes_every_page(outcome: Outcome, run_id: str, scraping: Prometheus) -> None:
    """No sample was refused, out of order or a duplicate: what was scraped was stored."""
    for refused in ("out_of_order", "duplicate_timestamp", "out_of_bounds"):
        name = f"prometheus_target_scrapes_sample_{refused}_total"
        assert all(value == 0 for _, value in scraping.query(name))


@played(tls)
def test_nobody_gets_in_without_the_password(outcome: Outcome, run_id: str, scraping: Prometheus) -> None:
    """The scrapes that succeeded were those with TLS and password: the log shows the address as https."""
    assert f"https://127.0.0.1:{PORTS.tls}/metrics" in outcome.log
    assert PASSWORD not in outcome.log
