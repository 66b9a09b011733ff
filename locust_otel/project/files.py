"""The files of a project: templates and shipped configurations with the user's answers, rules, dashboards, schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from locust_otel.slo.objectives import Slo, span
from locust_otel.slo.rules.dashboards_command import files as dashboards
from locust_otel.slo.rules.printer import dump, rule_files
from locust_otel.slo.schema import json_schema

_RULES = """\
  # Made from slo.yaml; after a change of it:  locust-otel rules slo.yaml -o rules
  - rules/*.yaml
"""
_SPARE_MINUTES = 30
"""Minutes of a CI job in addition to those of its run."""


class Answers(NamedTuple):
    """Answers to the questions of `locust-otel init`; the run time is in whole seconds, and the host a URL."""

    service: str
    locustfile: str
    host: str
    users: int
    run_time_s: int


def shipped(name: str) -> Path:
    """Return a file of `deploy/` or `locustfiles/`: in an installed package in `shipped/`, in a checkout at the top."""
    installed = Path(__file__).with_name("shipped") / name
    return installed if installed.exists() else Path(__file__).parents[2] / name


def slo_file(answers: Answers) -> str:
    """Return `slo.yaml`; its period is the run."""
    period = span(Decimal(answers.run_time_s))
    return _filled(_template("slo.yaml"), {"service": answers.service, "period": period})


def project_files(answers: Answers, slo: Slo) -> dict[str, str]:
    """Return the files beside the SLO file: path in the project and content."""
    interval = span(slo.scrape_interval_s)
    return {
        "slo.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "prometheus.yml": _prometheus(interval),
        # The shipped configuration with receivers to fill in, instead of the webhooks of the demo.
        "alertmanager.yml": _deployed("alertmanager/alertmanager.yml").partition("receivers:\n")[0]
        + _template("receivers.yml"),
        **{f"rules/{name}": text for name, text in rule_files(slo).items()},
        **{f"dashboards/{path.name}": path.read_text("utf-8") for path in dashboards()},
        "provisioning/dashboards/locust-otel.yaml": _provisioning("dashboards", {"path": "${DASHBOARDS}"}),
        "provisioning/datasources/locust-otel.yaml": _provisioning("datasources", {"timeInterval": interval}),
        "compose.yaml": _template("compose.yaml"),
        ".github/workflows/load-test.yml": _workflow(answers),
    }


def _prometheus(interval: str) -> str:
    text = _deployed("prometheus/prometheus.yml")
    text = re.sub(r"(?<=^rule_files:\n)(?: .*\n)+", _RULES, text, flags=re.M)
    return _filled(text, {"scrape_interval": interval, "evaluation_interval": interval})


def _provisioning(kind: str, values: Mapping[str, str]) -> str:
    return _filled(_deployed(f"grafana/provisioning/{kind}/locust-otel.yaml"), values)


def _workflow(answers: Answers) -> str:
    run_time = span(Decimal(answers.run_time_s))
    values: dict[str, str | int] = {
        "LOCUSTFILE": answers.locustfile,
        "TARGET": answers.host,
        "USERS": str(answers.users),
        "RUN_TIME": f"{answers.run_time_s}s" if "d" in run_time else run_time,  # Locust knows no days
        "timeout-minutes": answers.run_time_s // 60 + _SPARE_MINUTES,
    }
    text = _deployed("ci/github-actions.yml").replace("Copy it to .github/workflows/ and change", "Change")
    return _filled(text, values)


def _deployed(name: str) -> str:
    """Return a file of `deploy/` without that folder in its paths."""
    return shipped(f"deploy/{name}").read_text("utf-8").replace(f"deploy/{name}", Path(name).name)


def _template(name: str) -> str:
    return (Path(__file__).with_name("templates") / name).read_text("utf-8")


def _filled(text: str, values: Mapping[str, str | int]) -> str:
    """Return YAML with other values of these keys, and unchanged comments."""
    for key, value in values.items():
        line = dump({key: value}).rstrip().replace("\\", r"\\")
        text = re.sub(rf"^( *){key}: \S+", rf"\g<1>{line}", text, flags=re.M)
    return text
