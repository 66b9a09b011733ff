"""Every way to attach the bridge, and every way to use Locust, which works with the bridge as without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.backends.servers import free_port
from tests.e2e.harness import (
    AUTO,
    CALM,
    EXAMPLES,
    LOCUSTFILES,
    SHOP_FAULTS,
    Account,
    Distributed,
    Outcome,
    Process,
    Stage,
    forking,
    load,
    played,
)
from tests.e2e.pages import Metrics, summed, total

GRACEFUL = ("--stop-timeout", "5")
SETTLED = {"TEST_BUSY_S": "2"}
"""See `SETTLED` of `test_totals`."""


def registered_everywhere(stage: Stage) -> Outcome:
    """By `locust-otel run`, twice by the locustfile and once by `auto.py`, with a load shape."""
    shop, port = stage.shop(), free_port()
    files = f"{LOCUSTFILES / 'shaped.py'},{AUTO}"
    process = stage.run(
        *("-f", files, "--headless", "--host", shop.url, *GRACEFUL, "--json-file", "stats"),
        *("--prometheus-port", str(port)),
        env={"TEST_BUSY_S": "1.5"},
    )
    scraper = stage.scrape(port)
    first = scraper.wait_for(lambda page: page.by("locust_users").get((), 0) == 2, "two users")
    then = scraper.wait_for(lambda page: page.by("locust_users").get((), 0) == 6, "six users")
    return stage.finished(process, scraper, shop=shop, two=first, six=then)


def auto(stage: Stage) -> Outcome:
    """By `auto.py` alone, after a locustfile that does not import us."""
    shop, port = stage.shop(), free_port()
    arguments = load(shop.url, file=f"{CALM},{AUTO}", users=5)
    process = stage.start("locust", *arguments, *GRACEFUL, "--prometheus-port", str(port), env=SETTLED)
    return stage.finished(process, stage.scrape(port), shop=shop)


def environment_variables(stage: Stage) -> Outcome:
    """Every setting by an environment variable, for two forked workers too."""
    shop, port = stage.shop(), free_port()
    env = {
        "LOCUST_OTEL_PROMETHEUS_PORT": str(port),
        "LOCUST_OTEL_PROMETHEUS_HOST": "0.0.0.0",
        "LOCUST_OTEL_RUN_ID": "from-env",
        "LOCUST_OTEL_RUN_LABEL": "[team=payments, git_sha=3f9a2c1]",
        "LOCUST_OTEL_MAX_REQUEST_NAMES": "2",
        "LOCUST_OTEL_SLOW_REQUEST": "1ms",
    }
    arguments = load(shop.url, file=CALM, users=6, run_time="5s")
    del arguments[arguments.index("--slow-request") :]
    process = stage.run(*arguments, *GRACEFUL, *forking(), env=env)
    return stage.finished(process, stage.scrape(port))


def locust_conf(stage: Stage) -> Outcome:
    """Every setting in `locust.conf`."""
    shop, port = stage.shop(), free_port()
    (stage.folder / "locust.conf").write_text(
        f"prometheus-port = {port}\nrun-id = from-conf\nrun-label = [team=payments, git_sha=3f9a2c1]\n"
        "max-request-names = 2\nslow-request = 1ms\nprometheus-linger = 5s\n"
    )
    arguments = load(shop.url, file=CALM, users=5)
    del arguments[arguments.index("--slow-request") :]
    process = stage.run(*arguments, *GRACEFUL)
    return stage.finished(process, stage.scrape(port))


def embedded(stage: Stage) -> Outcome:
    """`attach` in a plain script."""
    shop, port = stage.shop(), free_port()
    process = stage.start("python", LOCUSTFILES / "embedded.py", shop.url, str(port), env={"TEST_BUSY_S": "2"})
    return stage.finished(process, stage.scrape(port), shop=shop)


def webshop(stage: Stage) -> Outcome:
    """The example locustfile of one user class."""
    shop, port = stage.shop(), free_port()
    arguments = load(shop.url, file=EXAMPLES / "webshop.py", users=30, run_time="6s")
    process = stage.start("locust", *arguments, *GRACEFUL, "--prometheus-port", str(port))
    return stage.finished(process, stage.scrape(port), shop=shop, users=30)


def mixed(stage: Stage) -> Outcome:
    """The example locustfile of three user classes, with 100 users."""
    shop, port = stage.shop(), free_port()
    arguments = load(shop.url, file=EXAMPLES / "mixed.py", users=100, run_time="6s")
    process = stage.start("locust", *arguments, *GRACEFUL, "--prometheus-port", str(port))
    scraper = stage.scrape(port)
    full = scraper.wait_for(lambda page: page.by("locust_users").get((), 0) == 100, "100 users")
    return stage.finished(process, scraper, shop=shop, full=full, users=100)


def tags(stage: Stage) -> Outcome:
    """`--tags`, which leaves some tasks out."""
    shop, port = stage.shop(), free_port()
    arguments = [*load(shop.url, file=CALM, users=5), "--tags", "read"]
    process = stage.run(*arguments, *GRACEFUL, "--prometheus-port", str(port), env=SETTLED)
    return stage.finished(process, stage.scrape(port), shop=shop)


WAYS = (registered_everywhere, auto, embedded, webshop, mixed, tags)


@played(*WAYS)
def test_each_request_is_counted_once(outcome: Outcome) -> None:
    """Page, account and shop have each request of Locust once.

    Locust may kill a user that has just sent its next request: the shop has at most one request a user more.
    """
    everything = total(outcome.locust)
    assert outcome.last.totals == outcome.locust
    assert everything > 0
    assert 0 <= outcome.shop - everything <= outcome.more.get("users", 0)
    if "requests: " in outcome.log:  # a script has to set up logging itself
        assert outcome.account == Account(everything, 0, everything, everything)
    assert outcome.last.value("locust_otel_unreconciled_requests") == 0
    assert outcome.tracebacks == 0


def _info(page: Metrics) -> dict[str, str]:
    (labels,) = [labels for name, labels, _ in page.samples if name == "locust_run_info"]
    return labels


@played(registered_everywhere)
def test_a_load_shape_sets_the_users(outcome: Outcome) -> None:
    """Users and their target are first 2, then 6."""
    for page, users in ((outcome.more["two"], 2), (outcome.more["six"], 6)):
        assert page.by("locust_users", "user_class") == {("Calm",): users}
        assert page.by("locust_users_target", "user_class") == {("Calm",): users}


@played(registered_everywhere, auto)
def test_the_run_is_named_after_the_users_locustfile(outcome: Outcome) -> None:
    """The label is not `auto.py`, which comes second."""
    assert _info(outcome.last)["locustfile"] in {"calm.py", "shaped.py"}
    assert outcome.code == 0


@played(environment_variables, locust_conf)
def test_settings_come_from_environment_and_file(outcome: Outcome) -> None:
    """Port, run id, labels, limit of names and threshold of slow requests are those set there."""
    page = outcome.last
    assert page.run_ids in ({"from-env"}, {"from-conf"})
    assert _info(page).items() >= {"team": "payments", "git_sha": "3f9a2c1"}.items()
    assert page.requests == total(outcome.locust) > 0
    assert len(page.totals) == 3
    (folded,) = [requests for (_, name), (requests, _) in page.totals.items() if name == "_OTHER"]
    assert page.value("locust_otel_folded_requests_total") == folded > 0
    assert page.value("locust_slow_requests_total") > 0.9 * page.requests
    assert outcome.code == 0


@played(embedded)
def test_a_script_can_attach_a_bridge(outcome: Outcome) -> None:
    """It has the given id, label and address, and its final values were scraped."""
    assert outcome.code == 0
    assert outcome.last.run_ids == {"embedded"}
    assert _info(outcome.last)["team"] == "a b"
    assert outcome.last.value("locust_run_active") == 0
    assert outcome.log.splitlines()[-1].startswith("embedded http://127.0.0.1:")


@played(mixed)
def test_users_are_counted_by_class(outcome: Outcome) -> None:
    """Of 100 users 30 are API consumers, 10 admins and 60 phones; the targets are the same."""
    page: Metrics = outcome.more["full"]
    expected = {("APIConsumer",): 30, ("AdminUser",): 10, ("MobileUser",): 60}
    assert page.by("locust_users", "user_class") == expected
    assert page.by("locust_users_target", "user_class") == expected
    assert outcome.last.by("locust_requests_total", "user_class", name="/api/v1/data").keys() == {("APIConsumer",)}


@played(tags)
def test_tags_leave_tasks_out(outcome: Outcome) -> None:
    """Only tagged tasks have sent requests."""
    assert {name for _, name in outcome.last.totals} == {"/api/v1/data", "/api/mobile/feed"}


# Workers that export for themselves.


def _from_workers(stage: Stage, start: Callable[[list[str], list[str]], list[Process]]) -> Outcome:
    shop, port = stage.shop(*SHOP_FAULTS), free_port(3)
    flags = ["--export-from", "workers", "--prometheus-port", str(port), "--slow-request", "200ms"]
    processes = start([*load(shop.url, run_time="7s"), *GRACEFUL], flags)
    master, *workers = (stage.scrape(port + offset) for offset in range(3))
    outcome = stage.finished(processes[0], master, *workers, shop=shop)
    assert {process.wait() for process in processes[1:]} <= {0, 1}
    outcome.more["workers"] = [scraper.last for scraper in workers]
    return outcome


def from_workers(stage: Stage) -> Outcome:
    """`--export-from workers`: the master's port, and one for each worker above it."""

    def start(arguments: list[str], everywhere: list[str]) -> list[Process]:
        processes = Distributed(stage, *arguments, everywhere=everywhere, env=SETTLED)
        return [processes.master, *processes.workers]

    return _from_workers(stage, start)


def from_forked_workers(stage: Stage) -> Outcome:
    """The same with `--processes 2`."""
    return _from_workers(stage, lambda arguments, flags: [stage.run(*arguments, *flags, *forking(), env=SETTLED)])


@played(from_workers, from_forked_workers)
def test_workers_export_for_themselves(outcome: Outcome) -> None:
    """The counts of the workers' pages add up to Locust's totals, and every page has the same run."""
    workers: list[Metrics] = outcome.more["workers"]
    assert [page.run_ids for page in workers] == [outcome.last.run_ids] * 2
    assert summed(page.totals for page in workers) == outcome.locust
    assert outcome.shop == outcome.http
    account = outcome.account
    assert (account.locust, account.last_scrape) == (account.recorded, None)
    assert account.recorded == total(outcome.locust)


@played(from_workers, from_forked_workers)
def test_no_page_of_a_worker_has_a_difference(outcome: Outcome) -> None:
    """Locust empties a worker's table with each report; that does not count as a difference."""
    pages: list[Metrics] = [outcome.last, *outcome.more["workers"]]
    assert [page.value("locust_otel_unreconciled_requests") for page in pages] == [0, 0, 0]


@played(from_workers, from_forked_workers)
def test_each_number_has_one_source(outcome: Outcome) -> None:
    """Series of requests and generators are on the workers' pages only, those of the run on the master's only."""
    master = {name for name in outcome.last.names if not name.startswith("locust_otel_")}
    assert not {name for name in master if name.startswith(("locust_request", "locust_worker_", "locust_generator_"))}
    assert {"locust_users", "locust_run_info", "locust_workers"} <= master
    names = []
    for page in outcome.more["workers"]:
        own = {name for name in page.names if not name.startswith("locust_otel_")}
        assert not own & master
        names += list(page.by("locust_worker_memory_bytes", "worker"))
    assert len(set(names)) == 2
    assert {name.rpartition("-")[2] for (name,) in names} == {"0", "1"}


def blanks_in_path(stage: Stage) -> Outcome:
    """A locustfile with blanks in its name, in a folder that is not the current one."""
    shop, port = stage.shop(), free_port()
    copy = stage.folder / "tests of mine" / "my locustfile.py"
    copy.parent.mkdir()
    copy.write_text(Path(CALM).read_text())
    process = stage.start(
        "locust-otel", "run", *load(shop.url, file=copy, users=3, run_time="2s"), "--prometheus-port", str(port)
    )
    return stage.finished(process, stage.scrape(port))


@played(blanks_in_path)
def test_the_name_of_the_locustfile_may_have_blanks(outcome: Outcome) -> None:
    """The label has the name unchanged."""
    assert _info(outcome.last)["locustfile"] == "my locustfile.py"
    assert outcome.last.totals == outcome.locust
