"""A real Prometheus has every request of Locust, including the last ones, in every way to run Locust."""

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
    load,
    played,
)
from tests.e2e.pages import total
from tests.integration.stored import stored_totals

PASSWORD = "scrape me"
LAST = "max_over_time({}[5m])"
"""Query for a run that is over: an instant query would be empty, since the target is gone."""


class Ports:
    """The ports of the scenarios, chosen before Prometheus starts, which takes up new targets after 6 s only."""

    def __init__(self) -> None:
        self.local, self.forked, self.distributed, self.terminated, self.tls = (free_port() for _ in range(5))
        self.workers = free_port(3)

    @property
    def plain(self) -> list[str]:
        """Targets without TLS."""
        ports = (self.local, self.forked, self.distributed, self.terminated)
        return [f"127.0.0.1:{port}" for port in (*ports, *range(self.workers, self.workers + 3))]


PORTS = Ports()
RUN_TIME = "6s"


def _one_process(stage: Stage, port: int, run_id: str, *more: str) -> Outcome:
    shop = stage.shop(*SHOP_FAULTS)
    arguments = load(shop.url, run_time=RUN_TIME)
    return stage.finished(stage.run(*arguments, "--prometheus-port", str(port), "--run-id", run_id, *more))


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
    return stage.finished(Distributed(stage, *load(shop.url, run_time=RUN_TIME), *flags).master)


def terminated(stage: Stage) -> Outcome:
    """One process, ended by SIGTERM in the middle."""
    shop = stage.shop(*SHOP_FAULTS)
    arguments = load(shop.url, run_time="50s")
    process = stage.run(*arguments, "--prometheus-port", str(PORTS.terminated), "--run-id", "terminated")
    stage.scrape(PORTS.terminated, agent="another").wait_for(lambda page: page.requests > 500, "500 requests")
    process.send(signal.SIGTERM)
    return stage.finished(process)


def workers(stage: Stage) -> Outcome:
    """`--export-from workers`: Prometheus scrapes the master and each worker."""
    shop = stage.shop(*SHOP_FAULTS)
    flags = ["--export-from", "workers", "--prometheus-port", str(PORTS.workers), "--run-id", "workers"]
    processes = Distributed(stage, *load(shop.url, run_time=RUN_TIME), everywhere=flags)
    processes.wait()
    return stage.finished(processes.master)


def tls(stage: Stage) -> Outcome:
    """TLS and basic auth."""
    shop = stage.shop()
    folder = Path(stage.folder).parent / "certificates"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "web.yml").write_text(
        "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
        f"basic_auth_users: {{prometheus: '{hashed}'}}\n"
    )
    arguments = load(shop.url, file=CALM, users=5, run_time=RUN_TIME)
    flags = ("--prometheus-port", str(PORTS.tls), "--run-id", "tls", "--prometheus-web-config", folder / "web.yml")
    return stage.finished(stage.run(*arguments, *flags))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 and return its folder; `ca.pem` is the authority to trust."""
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
    """Give a Prometheus that scrapes all ports every second."""
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


SCENARIOS: tuple[Scenario, ...] = (distributed, forked, local, terminated, workers, tls)


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    """Give the run id of the scenario, which is its name."""
    name: str = request.node.callspec.id
    return name


@played(*SCENARIOS)
def test_prometheus_has_every_request(outcome: Outcome, run_id: str, scraping: Prometheus) -> None:
    """Requests and failures of each method and name are Locust's own, though the target is gone."""
    assert stored_totals(scraping, run_id) == outcome.locust
    assert total(outcome.locust) > 50
    account = outcome.account
    assert account.locust == account.recorded == total(outcome.locust)
    assert account.last_scrape == (None if run_id == "workers" else account.recorded)
    assert scraping.value(f'last_over_time(locust_run_active{{run_id="{run_id}"}}[5m])') == 0
    # Metrics of our health have no run id; each target served one run only.
    ports = {"workers": range(PORTS.workers, PORTS.workers + 3)}.get(run_id) or [getattr(PORTS, run_id)]
    for port in ports:
        instance = f'instance="127.0.0.1:{port}"'
        assert scraping.value(f"last_over_time(locust_otel_unreconciled_requests{{{instance}}}[5m])") == 0


@played(*SCENARIOS)
def test_histograms_have_every_request_with_a_time(outcome: Outcome, run_id: str, scraping: Prometheus) -> None:
    """The classic histogram counts the requests with a duration, and its last bucket is its count."""
    selector = f'{{run_id="{run_id}"}}'
    count = scraping.value(f"sum({LAST.format(f'locust_request_duration_seconds_count{selector}')})")
    assert count == total(outcome.locust) - outcome.untimed
    infinite = f'locust_request_duration_seconds_bucket{{run_id="{run_id}", le="+Inf"}}'
    assert scraping.value(f"sum({LAST.format(infinite)})") == count


@played(*SCENARIOS)
def test_prometheus_takes_every_page(outcome: Outcome, run_id: str, scraping: Prometheus) -> None:
    """Prometheus refused no sample, as out of order or as a duplicate."""
    for refused in ("out_of_order", "duplicate_timestamp", "out_of_bounds"):
        name = f"prometheus_target_scrapes_sample_{refused}_total"
        assert all(value == 0 for _, value in scraping.query(name))


@played(tls)
def test_scrapes_with_tls_and_password(outcome: Outcome, run_id: str, scraping: Prometheus) -> None:
    """The log has the https address, and not the password."""
    assert f"https://127.0.0.1:{PORTS.tls}/metrics" in outcome.log
    assert PASSWORD not in outcome.log
