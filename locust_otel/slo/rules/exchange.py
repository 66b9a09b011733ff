"""Objectives in the formats of others, and what of a file those cannot say.

OpenSLO v1: https://github.com/OpenSLO/OpenSLO/blob/main/README.md
Sloth: https://sloth.dev/specs/default/
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Any

from locust_otel.core import catalogue
from locust_otel.slo.objectives import Objective, Slo, Window, plain, span
from locust_otel.slo.rules.printer import dump
from locust_otel.slo.rules.promql import of

_TARGET = "alertmanager"
"""Who is told: the specification asks for a target; who that is, is for the tool that reads the file."""

_COMMON = {
    "warmup": "the counters begin after it, so it is kept where they are used",
    "min_requests": "an alert can fire on few requests",
    "slow_request": "there is no place for it",
}


def open_slo(slo: Slo) -> tuple[str, list[str]]:
    """Return a file as OpenSLO v1, and what it loses."""
    lost = _lost(slo)
    documents = [_document("Service", slo.service, description=f"{slo.service} under load")]
    policies = [_policy(slo, window) for window in slo.windows]
    if slo.windows:
        documents.append(_document("AlertNotificationTarget", _TARGET, target=_TARGET))
    documents += (document for policy in policies for document in policy)
    names = [policy[-1]["metadata"]["name"] for policy in policies]
    own = _names(slo)
    for objective in slo.objectives:
        if objective.target is not None:
            documents.append(_open_objective(slo, objective, own[objective.name], names))
    if slo.windows:
        lost.append(
            "windows: a condition has one window; the short one of each pair is left out, and a minute passes before "
            "an alert."
        )
    if slo.period_s % 60 or any(window.long_s % 60 for window in slo.windows):
        lost.append("durations: OpenSLO knows no seconds; they are rounded up to minutes.")
    return "---\n".join(map(dump, documents)), lost


def sloth(slo: Slo) -> tuple[str, list[str]]:
    """Return a file in Sloth's format, and what it loses."""
    lost = _lost(slo)
    lost.append(f"period: {span(slo.period_s)}; Sloth is told its period by --default-slo-period, in days.")
    if slo.windows:
        lost.append("windows: Sloth makes its own, for its period.")
    own = _names(slo)
    slos = [
        {
            "name": own[objective.name],
            "objective": plain(objective.target * 100),
            "description": objective.sentence,
            "sli": {
                "events": {
                    "error_query": f"sum(rate({_events(slo, objective, outcome='bad')}[{{{{.window}}}}]))",
                    "total_query": f"sum(rate({_events(slo, objective)}[{{{{.window}}}}]))",
                }
            },
            "alerting": {
                "name": "LocustSLOBudgetBurn",
                "page_alert": {"labels": {"severity": "critical"}},
                "ticket_alert": {"labels": {"severity": "warning"}},
            },
        }
        for objective in slo.objectives
        if objective.target is not None
    ]
    return dump({"version": "prometheus/v1", "service": _name(slo.service), "slos": slos}), lost


def _lost(slo: Slo) -> list[str]:
    means = (
        f"objectives.{objective.name}: a mean is no ratio of events; left out."
        for objective in slo.objectives
        if objective.target is None
    )
    return [*means, *(f"{key}: {why}." for key, why in _COMMON.items())]


def _document(kind: str, name: str, **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "openslo/v1",
        "kind": kind,
        "metadata": {"name": _name(name), "displayName": name},
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
        service=_name(slo.service),
        indicator={"metadata": {"name": _name(name)}, "spec": {"ratioMetric": counters}},
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
        "alertAfter": "1m",  # the specification asks for one, and for a positive number
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


def _name(text: str) -> str:
    """Return a name of the characters that Kubernetes and both formats allow."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-") or "x"


def _names(slo: Slo) -> dict[str, str]:
    """Return such a name for each objective, no two the same."""
    names: dict[str, str] = {}
    for objective in slo.objectives:
        name, number = _name(objective.name), 2
        while name in names.values():
            name, number = f"{_name(objective.name)}-{number}", number + 1
        names[objective.name] = name
    return names


FORMATS: dict[str, Any] = {"openslo": open_slo, "sloth": sloth}
"""By name on the command line."""
