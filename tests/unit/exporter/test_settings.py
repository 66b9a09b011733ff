"""Tests of the settings of the exporter: the flags, and the files that they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgpack
import pytest

import locust_otel
from locust_otel.core.errors import ConfigurationError
from locust_otel.core.options import OPTIONS
from locust_otel.core.settings import values_of
from locust_otel.exporter import slo_file
from locust_otel.exporter.otlp.settings import OtlpSettings, Target
from locust_otel.exporter.settings import Settings, resolve
from locust_otel.slo.file import load

SLO = str(Path(locust_otel.__file__).parents[1] / "locustfiles" / "slo.yaml")
TARGET = Target(
    "http://127.0.0.1:4317", "grpc", {}, 10.0, "none", certificate=None, client_certificate=None, client_key=None
)
OTLP = OtlpSettings(metrics=TARGET, logs=TARGET, interval_s=2.0, is_exponential=False, is_delta=False)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the environment of this machine, and read the SLO file without a child process."""
    monkeypatch.setattr(slo_file, "read", lambda path: load(str(path)))
    for name in [*(option.env_var for option in OPTIONS), *(name for name in os.environ if name.startswith("OTEL_"))]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def resolved(*, is_worker: bool = False, **given: object) -> Settings:
    """Return settings with these values, sent over the wire."""
    values: dict[str, Any] = msgpack.unpackb(msgpack.packb(values_of(None, given)))
    return resolve(values, is_worker=is_worker)


def problems(**given: Any) -> list[ConfigurationError]:
    """Return the problems of these settings."""
    with pytest.raises(ConfigurationError) as caught:
        resolved(**given)
    return list(caught.value.problems)


def slugs(**given: Any) -> list[str]:
    """Return their slugs."""
    return [problem.slug for problem in problems(**given)]


def test_defaults() -> None:
    """By default nothing is pushed, judged or recorded."""
    assert resolved() == Settings(
        port=9646, port_is_named=False, host="127.0.0.1", linger_s=None, run_id=None, run_labels={}, slow_s=5.0,
        max_names=200, from_workers=False, trace_ratio=None,
    )  # fmt: skip


def test_everything() -> None:
    """Each flag sets its field."""
    assert resolved(
        prometheus_port="9700", prometheus_host="0.0.0.0", prometheus_linger="3s", run_id="nightly",
        run_label=["team=shop"], slow_request="250ms", max_request_names="17", export_from="workers",
        otlp_endpoint="http://127.0.0.1:4317", otlp_protocol="grpc", otlp_interval="2s", propagate_traces="0.1",
        slo=SLO, run_record="runs", slo_abort=True, no_gc_freeze=True, group_names=True,
    ) == Settings(
        port=9700, port_is_named=True, host="0.0.0.0", linger_s=3.0, run_id="nightly",
        run_labels={"team": "shop"}, slow_s=0.25, max_names=17, from_workers=True, trace_ratio=0.1, slo_abort=True,
        gc_freeze=False, group_names=True, otlp=OTLP, slo=load(SLO), run_record="runs",
    )  # fmt: skip


def test_web_config(tmp_path: Path) -> None:
    """The web config is read, and its problems are reported."""
    path = tmp_path / "web.yml"
    path.write_text("http_server_config: {headers: {X-Frame-Options: deny}}", encoding="utf-8")
    web_config = resolved(prometheus_web_config=str(path)).web_config
    assert web_config is not None
    assert web_config.headers == {"X-Frame-Options": "deny"}
    assert len(problems(prometheus_web_config=str(tmp_path / "missing.yml"))) == 1


def test_all_problems_at_once() -> None:
    """Every problem is reported, with its flag and a remedy."""
    given = {
        "prometheus_port": "x", "prometheus_host": "a b", "prometheus_linger": "x", "otlp_endpoint": "x",
        "otlp_interval": "0", "propagate_traces": "2", "run_id": "-", "run_label": ["x"], "slow_request": "0",
        "max_request_names": "0", "export_from": "x", "run_record": "a\0b", "slo": "none.yaml", "slo_abort": "x",
        "no_gc_freeze": "x",
    }  # fmt: skip
    reported = problems(**given)
    assert sorted(problem.slug for problem in reported) == sorted([
        "slo-unreadable", "prometheus-port", "prometheus-host", "time", "otlp-interval", "otlp-endpoint",
        "propagate-traces", "run-id", "run-label", "slow-request", "max-request-names", "export-from", "switch",
        "switch", "run-record-unwritable",
    ])  # fmt: skip
    flags = {f"--{name.replace('_', '-')}" for name in given}
    assert {problem.where if problem.slug != "slo-unreadable" else "--slo" for problem in reported} == flags
    for problem in reported:
        assert problem.found.endswith(".")
        assert problem.remedy.endswith(".")


def test_no_password_in_a_url() -> None:
    """A password in --otlp-endpoint is refused, since Locust sends its options to every worker."""
    assert slugs(otlp_endpoint="https://alice:s3cr3t@collector.test") == ["otlp-endpoint-secret"]


@pytest.mark.parametrize(("text", "slug"), [("0.4s", "otlp-interval"), ("0", "otlp-interval"), ("soon", "time")])
def test_invalid_intervals(text: str, slug: str) -> None:
    """The shortest interval is half a second."""
    assert slugs(otlp_endpoint="http://127.0.0.1:4318", otlp_interval=text) == [slug]
    otlp = resolved(otlp_endpoint="http://127.0.0.1:4318", otlp_interval="0.5").otlp
    assert otlp is not None
    assert otlp.interval_s == 0.5


def test_the_slo_file_of_a_worker(tmp_path: Path) -> None:
    """A missing SLO file is refused, but not on a worker, which does not judge."""
    missing = {"slo": str(tmp_path / "none.yaml"), "slo_abort": "true"}
    assert slugs(**missing) == ["slo-unreadable"]
    settings = resolved(is_worker=True, **missing)
    assert (settings.slo, settings.slow_s) == (None, 5.0)
    assert resolved(is_worker=True, slo_abort=True).slo is None
    assert slugs(slo_abort="true") == ["contradictory-flags"]


def test_the_run_record_of_a_worker(tmp_path: Path) -> None:
    """The folder of the run record is created and must be writable, but not on a worker, which writes none."""
    folder = tmp_path / "deep" / "runs"
    assert resolved(is_worker=True, run_record=str(folder)).run_record is None
    assert not folder.exists()
    assert resolved(run_record=str(folder)).run_record == str(folder)
    assert list(folder.iterdir()) == []
    file = tmp_path / "file"
    file.touch()
    assert slugs(run_record=str(file)) == ["run-record-unwritable"]


def test_slow_requests_of_the_slo_file(tmp_path: Path) -> None:
    """The SLO file sets the threshold of slow requests, unless the flag does."""
    path = tmp_path / "slo.yaml"
    path.write_text("service: a\nslow_request: 1500ms\nobjectives: {a: {sli: mean, within: 1s}}\n", encoding="utf-8")
    assert resolved(slo=str(path)).slow_s == 1.5
    assert resolved(slo=str(path), slow_request="250ms").slow_s == 0.25


def test_contradictions(tmp_path: Path) -> None:
    """Flags that need /metrics are refused without it, each by its name."""
    path = tmp_path / "web.yml"
    path.write_text("", encoding="utf-8")
    reported = problems(prometheus_port="off", prometheus_web_config=str(path), export_from="workers")
    assert [(problem.where, problem.slug) for problem in reported] == [
        ("--prometheus-web-config", "contradictory-flags"),
        ("--export-from workers", "contradictory-flags"),
    ]
    assert resolved(prometheus_port="off").port is None
