"""The settings of the exporter: the flags, and what the files and environment variables behind them say.

Everything is read before anything starts, and every problem is told at once.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from locust_otel.core.errors import ConfigurationError
from locust_otel.core.settings import Flags, Reader, Values, duration
from locust_otel.exporter.otlp.settings import OtlpSettings
from locust_otel.exporter.otlp.settings import resolve as resolve_otlp
from locust_otel.slo.objectives import Slo

if TYPE_CHECKING:
    from locust_otel.exporter.endpoint.access import WebConfig

DEFAULT_SLOW_S = 5.0
MIN_OTLP_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Flags):
    """What the user asked for.

    Attributes:
        slow_s: Seconds above which a request is slow.
        web_config: TLS, users and headers of `/metrics`.
        otlp: What is pushed where; None for nothing.
        slo: The objectives; None without an SLO file, and on workers, whose master judges.
        run_record: Folder for the record of each run; None for no record, and on workers, whose master writes it.
    """

    slow_s: float = DEFAULT_SLOW_S
    web_config: WebConfig | None = None
    otlp: OtlpSettings | None = None
    slo: Slo | None = None
    run_record: str | None = None


def resolve(values: Values, *, is_worker: bool = False) -> Settings:
    """Return the settings.

    Args:
        values: As `core.settings.values_of` returns them.
        is_worker: Whether a master decides about objectives; the SLO file need not be here then.

    Raises:
        ConfigurationError: Something cannot be used; it tells of all problems at once.
    """
    reader = Reader(values)
    flags, problems = reader.flags(), reader.problems
    slo = reader.read("slo", _slo, None) if not is_worker else None
    slow_s = flags.slow_s or (float(slo.slow_s) if slo is not None else DEFAULT_SLOW_S)
    settings = Settings(
        **{field.name: getattr(flags, field.name) for field in fields(Flags)} | {"slow_s": slow_s},
        web_config=reader.read("prometheus_web_config", _web_config, None),
        otlp=_otlp(reader, values),
        slo=slo,
        run_record=reader.read("run_record", _writable_folder, None) if not is_worker else None,
    )
    if settings.slo_abort and not reader.is_given("slo") and not is_worker:
        problems.append(
            ConfigurationError(
                "--slo-abort",
                "there is no SLO file to abort for.",
                "Give one with --slo.",
                slug="contradictory-flags",
            )
        )
    if settings.port is None:
        needing = {"--prometheus-web-config": settings.web_config, "--export-from workers": settings.from_workers}
        problems += [
            ConfigurationError(
                flag,
                "needs /metrics, which --prometheus-port off disables.",
                f"Leave out {flag}, or give a port.",
                slug="contradictory-flags",
            )
            for flag, asked in needing.items()
            if asked
        ]
    if problems:
        raise ConfigurationError.of(problems)
    return settings


def _otlp(reader: Reader, values: Values) -> OtlpSettings | None:
    endpoint = values["otlp_endpoint"] or None
    if endpoint and "@" in str(endpoint).partition("//")[2].partition("/")[0]:
        reader.problems.append(
            ConfigurationError(
                "--otlp-endpoint",
                "there is a password in the URL, and Locust sends its options to every worker.",
                "Put it into the environment variable OTEL_EXPORTER_OTLP_HEADERS.",
                slug="otlp-endpoint-secret",
            )
        )
        return None
    try:
        return resolve_otlp(endpoint, values["otlp_protocol"] or None, reader.read("otlp_interval", _interval, None))
    except ConfigurationError as problem:
        reader.problems.append(problem)
        return None


def _interval(value: object) -> float:
    seconds = duration(value, "--otlp-interval")
    if seconds < MIN_OTLP_INTERVAL_S:
        raise ConfigurationError(
            "--otlp-interval",
            f"{value!r} is too short.",
            f"Give {MIN_OTLP_INTERVAL_S:g}s or more.",
            slug="otlp-interval",
        )
    return seconds


def _web_config(value: object) -> WebConfig:
    from locust_otel.exporter.endpoint.web_config import load  # noqa: PLC0415  # TLS and YAML where there is no file

    return load(str(value))


def _slo(value: object) -> Slo:
    from locust_otel.slo.file import load  # noqa: PLC0415  # 0.1 s and 10 MiB of validation where there is no file

    return load(str(value))


def _writable_folder(value: object) -> str:
    folder = Path(str(value))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigurationError(
            "--run-record",
            f"{str(value)!r} cannot be written to: {reason}.",
            "Name a folder that can be.",
            slug="run-record-unwritable",
        ) from None
    return str(folder)
