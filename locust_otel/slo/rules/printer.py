"""Rule files for Prometheus, from an SLO file: the same text each time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import yaml

from locust_otel.slo.objectives import Slo, span
from locust_otel.slo.rules.alerting_rules import Links, run_alerts, slo_alerts
from locust_otel.slo.rules.recording_rules import recording_rules

RUN_FILE = "locust.yaml"
"""The file with the alerts of any run; of the SLO file it takes the scrape interval and lengths of windows only."""


def rule_files(slo: Slo, links: Links | None = None) -> dict[str, str]:
    """Return the rule files of an SLO file: name and content."""
    own, any_run = _groups(slo, links)
    service = re.sub(r"[^A-Za-z0-9._-]+", "-", slo.service)
    return {
        f"locust-slo-{service}.yaml": _file({"groups": [own]}, f"`locust-otel rules {slo.source}`."),
        RUN_FILE: _file({"groups": [any_run]}, "`locust-otel rules`: alerts of any run, with objectives or without."),
    }


def rule_text(slo: Slo, links: Links | None = None) -> str:
    """Return all of them as one file."""
    return _file({"groups": _groups(slo, links)}, f"`locust-otel rules {slo.source}`.")


def prometheus_rule(slo: Slo, links: Links | None = None) -> str:
    """Return all of them as a PrometheusRule, the Prometheus Operator's resource."""
    service = re.sub(r"[^a-z0-9-]+", "-", slo.service.lower()).strip("-")
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": f"locust-slo-{service}", "labels": {"app.kubernetes.io/name": "locust-otel"}},
        "spec": {"groups": _groups(slo, links)},
    }
    return _file(resource, f"`locust-otel rules --format prometheusrule {slo.source}`.")


def _groups(slo: Slo, links: Links | None) -> list[dict[str, Any]]:
    interval, links = span(slo.scrape_interval_s), links or Links()
    # The rules of the file are in one group: each rule sees what those before it have just recorded.
    own = [*recording_rules(slo), *slo_alerts(slo, links)]
    return [
        {"name": f"locust-slo-{slo.service}", "interval": interval, "rules": own},
        {"name": "locust-run", "interval": interval, "rules": list(run_alerts(slo, links))},
    ]


def _file(values: Mapping[str, Any], maker: str) -> str:
    note = f"# Made by {maker}\n# Change the SLO file and make it again; what is changed here is lost.\n"
    return note + dump(values)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and never an alias."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002  # likewise
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _number(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float" if value % 1 else "tag:yaml.org,2002:int", f"{value:f}")


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Decimal, _number)


def dump(values: Mapping[str, Any]) -> str:
    """Return values as YAML for people."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
