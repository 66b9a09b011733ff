"""What cannot be used is refused before the first user, in one sentence, with exit code 78."""

from __future__ import annotations

import socket

import pytest

from locust_otel.demo.shop import ShopProcess
from tests.backends.servers import free_port
from tests.e2e.harness import CALM, Distributed, Outcome, Scenario, Stage, forking, load, played
from tests.e2e.pages import wait_until

REFUSED = 78


def _run(stage: Stage, *more: str) -> Outcome:
    shop: ShopProcess = stage.shop()
    arguments = load(shop.url, file=CALM, users=3, run_time="3s")
    process = stage.start("locust-otel", "run", *arguments, *more)
    code = process.wait()
    wait_until(lambda: not process.children(), f"its children {process.children()} have ended", timeout_s=15)
    return Outcome(code=code, log=process.log, shop=shop.stats()["total"])


def port_taken(stage: Stage) -> Outcome:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", free_port())) as other:
        return _run(stage, "--prometheus-port", str(other.getsockname()[1]))


def port_taken_forked(stage: Stage) -> Outcome:
    """The same with two forked workers."""
    with socket.create_server(("127.0.0.1", free_port())) as other:
        return _run(stage, *forking(), "--prometheus-port", str(other.getsockname()[1]))


def refused(name: str, *arguments: str) -> Scenario:
    """Return a scenario that runs with these arguments."""

    def scenario(stage: Stage) -> Outcome:
        return _run(stage, *arguments)

    scenario.__name__ = name
    return scenario


bad_label = refused("bad_label", "--run-label", "no equals sign")
reserved_label = refused("reserved_label", "--run-label", "job=nightly")
label_twice = refused("label_twice", "--run-label", "a=1", "--run-label", "a=2")
bad_id = refused("bad_id", "--run-id", "two words")
bad_port = refused("bad_port", "--prometheus-port", "99999")
bad_host = refused("bad_host", "--prometheus-host", "192.0.2.1")
bad_linger = refused("bad_linger", "--prometheus-linger", "soon")
bad_slow = refused("bad_slow", "--slow-request", "0")
bad_names = refused("bad_names", "--max-request-names", "many")
bad_source = refused("bad_source", "--export-from", "everywhere")
no_web_config = refused("no_web_config", "--prometheus-web-config", "nothing.yml")
contradiction = refused("contradiction", "--prometheus-port", "off", "--export-from", "workers")
bad_id_forked = refused("bad_id_forked", *forking(), "--run-id", "two words")
several = refused("several", "--run-id", "two words", "--run-label", "job=nightly", "--slow-request", "0")

SLUGS = {
    port_taken: "prometheus-port-taken",
    port_taken_forked: "prometheus-port-taken",
    bad_label: "run-label",
    reserved_label: "run-label-reserved",
    label_twice: "run-label-twice",
    bad_id: "run-id",
    bad_port: "prometheus-port",
    bad_host: "prometheus-host",
    bad_linger: "time",
    bad_slow: "slow-request",
    bad_names: "max-request-names",
    bad_source: "export-from",
    no_web_config: "web-config-unreadable",
    contradiction: "contradictory-flags",
    bad_id_forked: "run-id",
}


def sentences(outcome: Outcome) -> list[str]:
    """Return what we have said."""
    return [line for line in outcome.log.splitlines() if line.startswith("locust-otel:")]


def assert_refused(outcome: Outcome) -> None:
    """Check that nothing was started, and that nobody was bothered with a traceback."""
    assert outcome.code == REFUSED, outcome.log
    assert outcome.shop == 0
    assert "Traceback" not in outcome.log
    assert "users spawned" not in outcome.log


@pytest.mark.parametrize(
    ("outcome", "slug"),
    list(SLUGS.items()),
    ids=[scenario.__name__ for scenario in SLUGS],
    indirect=["outcome"],
)
def test_bad_input_is_refused_in_one_sentence(outcome: Outcome, slug: str) -> None:
    """Exit code 78, one line with its slug, no user, no traceback; forked workers do not repeat it."""
    assert_refused(outcome)
    (sentence,) = sentences(outcome)
    assert sentence.endswith(f"({slug})")


@played(several)
def test_all_problems_are_told_at_once(outcome: Outcome) -> None:
    """Three mistakes, three lines."""
    assert_refused(outcome)
    slugs = [sentence.rpartition("(")[2].rstrip(")") for sentence in sentences(outcome)]
    assert sorted(slugs) == ["run-id", "run-label-reserved", "slow-request"]


def web_config_is_no_yaml(stage: Stage) -> Outcome:
    """A web configuration with an unknown key and a password that is no hash."""
    (stage.folder / "web.yml").write_text("basic_auth_users: {me: secret}\nno_such_key: 1\n")
    return _run(stage, "--prometheus-web-config", "web.yml")


@played(web_config_is_no_yaml)
def test_a_web_configuration_is_refused_without_its_secrets(outcome: Outcome) -> None:
    """Its problems are told, and what might be a password is not."""
    assert_refused(outcome)
    assert sentences(outcome)
    assert "secret" not in "".join(sentences(outcome))


def worker_port_taken(stage: Stage) -> Outcome:
    """A worker that exports for itself, whose port is taken."""
    shop = stage.shop()
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + 1))
        other.listen()
        processes = Distributed(
            stage,
            *load(shop.url, file=CALM, users=3, run_time="3s"),
            *("--expect-workers-max-wait", "4"),
            workers=1,
            everywhere=["--export-from", "workers", "--prometheus-port", str(port)],
        )
        code = processes.workers[0].wait()
        log = processes.workers[0].log
        processes.master.wait()
    return Outcome(code=code, log=log, shop=shop.stats()["total"])


@played(worker_port_taken)
def test_a_worker_says_itself_that_its_port_is_taken(outcome: Outcome) -> None:
    """The worker ends with 78 and its sentence, which has the number of its own port."""
    assert_refused(outcome)
    (sentence,) = sentences(outcome)
    assert sentence.endswith("(prometheus-port-taken)")


def default_port_taken(stage: Stage) -> Outcome:
    """No port is given, and somebody has the default one already."""
    try:
        other: socket.socket | None = socket.create_server(("127.0.0.1", 9646))
    except OSError:
        other = None  # somebody else has it
    try:
        return _run(stage)
    finally:
        if other is not None:
            other.close()


@played(default_port_taken)
def test_where_the_default_port_is_taken_the_next_is_used_and_told(outcome: Outcome) -> None:
    """The run takes place, and the log says where its metrics are."""
    assert outcome.code == 0
    assert outcome.shop > 0
    (line,) = [line for line in outcome.log.splitlines() if "Metrics for Prometheus at" in line]
    port = int(line.rpartition(":")[2].removesuffix("/metrics"))
    assert 9647 <= port <= 9655
