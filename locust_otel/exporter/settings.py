"""The settings of the exporter: flags, files and environment variables; all problems are reported at once."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locust_otel.core.errors import ConfigurationError, writing
from locust_otel.core.options import DEFAULT_SLOW_S
from locust_otel.core.settings import Flags, Reader, Values, duration
from locust_otel.exporter import slo_file
from locust_otel.exporter.otlp.settings import OtlpSettings
from locust_otel.exporter.otlp.settings import resolve as resolve_otlp
from locust_otel.slo.objectives import Slo

if TYPE_CHECKING:
    from locust_otel.exporter.endpoint.access import WebConfig

_MIN_OTLP_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Flags):
    """Settings of the exporter: the flags, and the contents of the files that they name."""

    slow_s: float = DEFAULT_SLOW_S
    web_config: WebConfig | None = None  # TLS, users and headers of `/metrics`
    otlp: OtlpSettings | None = None  # targets of pushes; None to push nothing
    slo: Slo | None = None  # None without an SLO file, and on workers: the master judges
    run_record: str | None = None  # folder of the run records; None on workers: the master writes them


def resolve(values: Values, *, is_worker: bool = False) -> Settings:
    """Return the settings.

    Args:
        values: As `core.settings.values_of` returns them.
        is_worker: Whether a master judges the run; a worker needs neither SLO file nor run record.

    Raises:
        ConfigurationError: Something cannot be used; it has all problems.
    """
    reader = Reader(values)
    fields = reader.flags()
    slo = None if is_worker else reader.read("slo", slo_file.read, None)
    if fields["slow_s"] is None:
        fields["slow_s"] = DEFAULT_SLOW_S if slo is None else float(slo.slow_s)
    settings = Settings(
        **fields,
        web_config=reader.read("prometheus_web_config", _web_config, None),
        otlp=_otlp(reader, values),
        slo=slo,
        run_record=None if is_worker else reader.read("run_record", _writable_folder, None),
    )
    contradictions = []
    if settings.slo_abort and not reader.is_given("slo") and not is_worker:
        contradictions.append(("--slo-abort", "there is no SLO file to abort for.", "Give one with --slo."))
    need_port = {"--prometheus-web-config": settings.web_config, "--export-from workers": settings.from_workers}
    for flag, value in need_port.items():
        if value and settings.port is None:
            wrong = "needs /metrics, which --prometheus-port off disables."
            contradictions.append((flag, wrong, f"Leave out {flag}, or give a port."))
    reader.problems += [ConfigurationError(*texts, slug="contradictory-flags") for texts in contradictions]
    if reader.problems:
        raise ConfigurationError.of(reader.problems)
    return settings


def _otlp(reader: Reader, values: Values) -> OtlpSettings | None:
    endpoint = reader.read("otlp_endpoint", _without_password, "")
    if reader.is_given("otlp_endpoint") and not endpoint:
        return None
    try:
        return resolve_otlp(endpoint, values["otlp_protocol"], reader.read("otlp_interval", _interval, None))
    except ConfigurationError as problem:
        reader.problems.append(problem)
        return None


def _without_password(value: object) -> str:
    if "@" in str(value).partition("//")[2].partition("/")[0]:
        raise ConfigurationError(
            "--otlp-endpoint",
            "there is a password in the URL, and Locust sends its options to every worker.",
            "Put it into the environment variable OTEL_EXPORTER_OTLP_HEADERS.",
            slug="otlp-endpoint-secret",
        )
    return str(value)


def _interval(value: object) -> float:
    seconds = duration(value, "--otlp-interval")
    if seconds < _MIN_OTLP_INTERVAL_S:
        remedy = f"Give {_MIN_OTLP_INTERVAL_S:g}s or more."
        raise ConfigurationError("--otlp-interval", f"{value!r} is too short.", remedy, slug="otlp-interval")
    return seconds


def _web_config(value: object) -> WebConfig:
    from locust_otel.exporter.endpoint.web_config import load  # noqa: PLC0415  # loads TLS and YAML

    return load(str(value))


def _writable_folder(value: object) -> str:
    folder = Path(str(value))
    remedy = "Name a folder that this user may write to."
    with writing("--run-record", value, remedy, slug="run-record-unwritable"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    return str(folder)
