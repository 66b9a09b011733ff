"""Settings that cannot be used are refused before the first user, in one sentence, with exit code 78."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

import pytest

from tests.backends.servers import free_port
from tests.e2e.harness import CALM, Distributed, Outcome, Scenario, Stage, forking, load, played

REFUSED = 78


def short_run(stage: Stage, *more: str, env: Mapping[str, str] | None = None) -> Outcome:
    """Play a run of three seconds with further arguments and variables."""
    shop = stage.shop()
    arguments = load(shop.url, file=CALM, users=3, run_time="3s")
    return stage.finished(stage.run(*arguments, *more, env=env), shop=shop)


def port_taken(stage: Stage) -> Outcome:
    """A port that another process listens on."""
    with socket.create_server(("127.0.0.1", free_port())) as other:
        return short_run(stage, "--prometheus-port", str(other.getsockname()[1]))


def port_taken_forked(stage: Stage) -> Outcome:
    """The same with two forked workers."""
    with socket.create_server(("127.0.0.1", free_port())) as other:
        return short_run(stage, *forking(), "--prometheus-port", str(other.getsockname()[1]))


def refused(name: str, *arguments: str) -> Scenario:
    """Return a scenario: a run with these arguments."""

    def scenario(stage: Stage) -> Outcome:
        return short_run(stage, *arguments)

    scenario.__name__ = name
    return scenario


CASES: dict[str, tuple[str, ...]] = {
    "run-label": ("--run-label", "no equals sign"),
    "run-label-reserved": ("--run-label", "job=nightly"),
    "run-label-twice": ("--run-label", "a=1", "--run-label", "a=2"),
    "run-id": ("--run-id", "two words"),
    "prometheus-port": ("--prometheus-port", "99999"),
    "prometheus-host": ("--prometheus-host", "192.0.2.1"),
    "time": ("--prometheus-linger", "soon"),
    "slow-request": ("--slow-request", "0"),
    "max-request-names": ("--max-request-names", "many"),
    "export-from": ("--export-from", "everywhere"),
    "web-config-unreadable": ("--prometheus-web-config", "nothing.yml"),
    "contradictory-flags": ("--prometheus-port", "off", "--export-from", "workers"),
}
"""Arguments by the slug of their error."""

SLUGS: dict[Scenario, str] = {
    port_taken: "prometheus-port-taken",
    port_taken_forked: "prometheus-port-taken",
    **{refused(slug, *arguments): slug for slug, arguments in CASES.items()},
    refused("run-id-forked", *forking(), "--run-id", "two words"): "run-id",
}
several = refused("several", "--run-id", "two words", "--run-label", "job=nightly", "--slow-request", "0")


def sentences(outcome: Outcome) -> list[str]:
    """Return our error messages in the log."""
    return [line for line in outcome.log.splitlines() if line.startswith("locust-otel:")]


def assert_refused(outcome: Outcome) -> None:
    """Check that no user was started, and that there is no traceback."""
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
def test_all_errors_are_in_one_answer(outcome: Outcome) -> None:
    """Three mistakes make three lines."""
    assert_refused(outcome)
    slugs = [sentence.rpartition("(")[2].rstrip(")") for sentence in sentences(outcome)]
    assert sorted(slugs) == ["run-id", "run-label-reserved", "slow-request"]


def bad_web_config(stage: Stage) -> Outcome:
    """A web configuration with an unknown key and a password in plain text."""
    (stage.folder / "web.yml").write_text("basic_auth_users: {me: secret}\nno_such_key: 1\n")
    return short_run(stage, "--prometheus-web-config", "web.yml")


@played(bad_web_config)
def test_a_web_configuration_is_refused_without_its_secrets(outcome: Outcome) -> None:
    """The messages do not contain the password."""
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
def test_a_worker_refuses_its_own_port(outcome: Outcome) -> None:
    """The worker itself ends with 78 and one sentence."""
    assert_refused(outcome)
    (sentence,) = sentences(outcome)
    assert sentence.endswith("(prometheus-port-taken)")


def default_port_taken(stage: Stage) -> Outcome:
    """No port is given, and another process has the default one."""
    with contextlib.ExitStack() as exits:
        with contextlib.suppress(OSError):  # it is taken anyway
            exits.enter_context(socket.create_server(("127.0.0.1", 9646)))
        return short_run(stage)


@played(default_port_taken)
def test_if_the_default_port_is_taken_the_next_one_is_used(outcome: Outcome) -> None:
    """The run takes place, and the log has the URL of its metrics."""
    assert outcome.code == 0
    assert outcome.shop > 0
    (line,) = [line for line in outcome.log.splitlines() if "Metrics for Prometheus at" in line]
    port = int(line.rpartition(":")[2].removesuffix("/metrics"))
    assert 9647 <= port <= 9655
