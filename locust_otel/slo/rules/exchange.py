"""Objectives in the formats of other tools, and the parts of an SLO file that each format cannot express.

OpenSLO v1: https://github.com/OpenSLO/OpenSLO/blob/main/README.md
Sloth: https://sloth.dev/specs/default/
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from typing import Any

from locust_otel.core import catalogue
from locust_otel.slo.objectives import Objective, Slo, Window, plain, span
from locust_otel.slo.rules.names import BUDGET_BURN
from locust_otel.slo.rules.printer import dump, kubernetes_name
from locust_otel.slo.rules.promql import of, over

_SLOTH_WINDOW = "{{.window}}"

_TARGET = "alertmanager"
"""Notification target: OpenSLO requires one, and the tool that reads the file decides its meaning."""

_COMMON = (
    "warmup: the counters begin after it, so it applies wherever they are used.",
    "min_requests: an alert can fire on few requests.",
    "slow_request: the format has no place for it.",
)


def open_slo(slo: Slo) -> tuple[str, list[str]]:
    """Return a file as OpenSLO v1, and its parts that are lost."""
    lost = _lost(slo)
    policies = [_policy(slo, window) for window in slo.windows]
    documents = [_document("Service", slo.service, description=f"{slo.service} under load")]
    if slo.windows:
        documents.append(_document("AlertNotificationTarget", _TARGET, target=_TARGET))
        lost.append(
            "windows: a condition has one window, so the short window of each pair is left out; an alert waits for a "
            "minute."
        )
    documents += (document for policy in policies for document in policy)
    policy_names = [policy[-1]["metadata"]["name"] for policy in policies]
    documents += (
        _open_objective(slo, objective, name, policy_names)
        for name, objective in _named(slo)
        if objective.target is not None
    )
    if slo.period_s % 60 or any(window.long_s % 60 for window in slo.windows):
        lost.append("durations: OpenSLO has no seconds; they are rounded up to minutes.")
    return "---\n".join(map(dump, documents)), lost


def sloth(slo: Slo) -> tuple[str, list[str]]:
    """Return a file in Sloth's format, and its parts that are lost."""
    lost = [*_lost(slo), f"period: {span(slo.period_s)}; Sloth takes its period from --default-slo-period, in days."]
    if slo.windows:
        lost.append("windows: Sloth makes its own windows for its period.")
    slos = [
        {
            "name": name,
            "objective": plain(objective.target * 100),
            "description": objective.sentence,
            "sli": {
                "events": {
                    "error_query": f"sum({over('rate', _events(slo, objective, outcome='bad'), _SLOTH_WINDOW)})",
                    "total_query": f"sum({over('rate', _events(slo, objective), _SLOTH_WINDOW)})",
                }
            },
            "alerting": {
                "name": BUDGET_BURN,
                "page_alert": {"labels": {"severity": "critical"}},
                "ticket_alert": {"labels": {"severity": "warning"}},
            },
        }
        for name, objective in _named(slo)
        if objective.target is not None
    ]
    return dump({"version": "prometheus/v1", "service": kubernetes_name(slo.service), "slos": slos}), lost


def _lost(slo: Slo) -> list[str]:
    means = (objective.name for objective in slo.objectives if objective.target is None)
    return [*(f"objectives.{name}: a mean is no ratio of events; it is left out." for name in means), *_COMMON]


def _document(kind: str, name: str, **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "openslo/v1",
        "kind": kind,
        "metadata": {"name": kubernetes_name(name), "displayName": name},
        "spec": spec,
    }


def _open_objective(slo: Slo, objective: Objective, name: str, policies: list[str]) -> dict[str, Any]:
    def metric(query: str) -> dict[str, Any]:
        return {"metricSource": {"type": "Prometheus", "spec": {"query": f"sum({query})"}}}

    name = f"{slo.service}-{name}"
    counters = {
        "counter": True,
        "good": metric(_events(slo, objective, outcome="good")),
        "total": metric(_events(slo, objective)),
    }
    return _document(
        "SLO",
        name,
        description=objective.sentence,
        service=kubernetes_name(slo.service),
        indicator={"metadata": {"name": kubernetes_name(name)}, "spec": {"ratioMetric": counters}},
        timeWindow=[{"duration": _minutes(slo.period_s), "isRolling": True}],
        budgetingMethod="Occurrences",
        objectives=[{"displayName": objective.name, "target": objective.target}],
        **({"alertPolicies": [{"alertPolicyRef": name} for name in policies]} if policies else {}),
    )


def _policy(slo: Slo, window: Window) -> list[dict[str, Any]]:
    name = f"{slo.service}-{window.severity}-{span(window.long_s)}"
    burning = {
        "kind": "burnrate",
        "op": "gt",
        "threshold": window.factor(slo.period_s),
        "lookbackWindow": _minutes(window.long_s),
        "alertAfter": "1m",  # required by the specification, and positive
    }
    condition = _document("AlertCondition", name, severity=window.severity, condition=burning)
    policy = _document(
        "AlertPolicy",
        name,
        alertWhenBreaching=True,
        alertWhenNoData=False,
        alertWhenResolved=True,
        conditions=[{"conditionRef": condition["metadata"]["name"]}],
        notificationTargets=[{"targetRef": _TARGET}],
    )
    return [condition, policy]


def _events(slo: Slo, objective: Objective, **labels: str) -> str:
    return of(catalogue.SLO_EVENTS, slo_service=slo.service, slo=objective.name, **labels)


def _minutes(seconds: Decimal) -> str:
    return f"{(seconds / 60).to_integral_value(ROUND_CEILING):f}m"


def _named(slo: Slo) -> Iterator[tuple[str, Objective]]:
    """Yield the objectives, each with a unique name for Kubernetes."""
    names: set[str] = set()
    for objective in slo.objectives:
        name = stem = kubernetes_name(objective.name)
        number = 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names.add(name)
        yield name, objective


FORMATS: dict[str, Any] = {"openslo": open_slo, "sloth": sloth}
"""Formats by their name on the command line."""
