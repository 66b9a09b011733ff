"""Runs as Prometheus scrapes them, and the alerts that the rules must raise for them.

A `Run` is built phase by phase: `Run().go(600, good=10).go(60, bad=10)` is ten minutes without a failure and a minute
in which half of the requests fail. A `Scenario` has the times at which an alert must fire, and promtool evaluates it
independently of our code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from locust_otel.slo.file import load
from locust_otel.slo.objectives import Slo
from locust_otel.slo.rules.promql import selector
from tests.backends.servers import promtool

TOP = Path(__file__).parents[2]
FILES = {"30m": "slo.yaml", "4h": "slo-game-day.yaml", "7d": "slo-prober.yaml"}
SHIPPED = {period: TOP / "deploy/prometheus/rules" / period for period in FILES}
SLOS: dict[str, Slo] = {period: load(str(TOP / "locustfiles" / name)) for period, name in FILES.items()}
OBJECTIVE = {"slo": "availability", "slo_service": "webshop"}
MEAN = {"slo": "latency-mean", "slo_service": "webshop"}


class Run:
    """The series of one run from one process, a sample each scrape from time 0 on.

    Attributes:
        now_s: Time of the last sample.
    """

    def __init__(
        self,
        run_id: str = "a",
        *,
        interval_s: int = 5,
        start_s: int = 0,
        warmup_s: int = 10,
        service: str = "webshop",
        **target: str,
    ) -> None:
        self.now_s = start_s
        self._run_id = run_id
        self._service = service
        self._interval_s = interval_s
        self._start_s = start_s
        self._warmup_s = warmup_s
        self._target = {"job": "locust", "instance": "127.0.0.1:9646", **target}
        self._series: dict[str, list[str]] = {}
        self._counts: dict[str, float] = {}
        self._now: dict[str, Any] = {
            # Per second.
            "good": 0, "bad": 0, "slow": 0, "folded": 0, "exported": 0, "unexported": 0,
            # Gauges; None is a series that is not there.
            "active": 1, "users": 10, "users_target": 10, "running": 1, "valid": 1, "missing": 0,
            "objective": 0.99, "threshold": 0.5, "min_requests": 100,
            "mean": 0.1,  # seconds a request
        }  # fmt: skip
        self._sample()

    def go(self, seconds: float, **changes: float | None) -> Self:
        """Continue for a time; values without a change stay the same."""
        self._now.update(changes)
        for _ in range(round(seconds / self._interval_s)):
            self.now_s += self._interval_s
            self._count()
            self._sample()
        return self

    def stop(self, seconds: float = 0) -> Self:
        """Stop: active is 0, counters are constant, the target still answers."""
        return self.go(seconds or self._interval_s, active=0, good=0, bad=0, slow=0, users=0, users_target=0, running=0)

    def restart(self) -> Self:
        """Reset all counters to 0, like a new process with the same run id."""
        self._counts.clear()
        self._start_s = self.now_s
        return self

    def silent(self, seconds: float, *, marked: bool = True) -> Self:
        """Continue without samples: a failed scrape marks all series as stale, a missing push marks nothing."""
        count = round(seconds / self._interval_s)
        for values in self._series.values():
            values += ["stale" if marked else "_", *["_"] * (count - 1)]
        for _ in range(count):
            self.now_s += self._interval_s
            self._count()
        return self

    def _count(self) -> None:
        now, step = self._now, self._interval_s
        for name in ("good", "bad", "slow", "folded", "exported", "unexported"):
            self._counts[name] = self._counts.get(name, 0) + now[name] * step
        if now["active"] and self.now_s - self._start_s > self._warmup_s:
            requests = (now["good"] + now["bad"]) * step
            for name, value in (
                ("slo_good", now["good"] * step),
                ("slo_bad", now["bad"] * step),
                ("mean_requests", requests),
                ("mean_seconds", requests * now["mean"]),
            ):
                self._counts[name] = self._counts.get(name, 0) + value

    def _sample(self) -> None:
        now, counts = self._now, self._counts
        run = {"run_id": self._run_id}
        service = {"slo_service": self._service}
        ratio, mean = {**run, **OBJECTIVE, **service}, {**run, **MEAN, **service}
        endpoint = {**run, "method": "GET", "name": "/", "user_class": "Shopper"}
        add = self._add
        add("locust_slo_events_total", {**ratio, "outcome": "good"}, counts.get("slo_good", 0))
        add("locust_slo_events_total", {**ratio, "outcome": "bad"}, counts.get("slo_bad", 0))
        add("locust_slo_objective_ratio", ratio, now["objective"])
        add("locust_slo_min_requests", ratio, now["min_requests"])
        add("locust_slo_mean_requests_total", mean, counts.get("mean_requests", 0))
        add("locust_slo_mean_seconds_total", mean, counts.get("mean_seconds", 0))
        add("locust_slo_threshold_seconds", mean, now["threshold"])
        add("locust_slo_min_requests", mean, now["min_requests"])
        add("locust_requests_total", {**endpoint, "outcome": "success"}, counts.get("good", 0))
        # As in a real run, the first failure creates this series.
        add("locust_requests_total", {**endpoint, "outcome": "failure"}, counts.get("bad") or None)
        add("locust_slow_requests_total", endpoint, counts.get("slow", 0))
        add("locust_run_active", run, now["active"])
        add("locust_run_valid", run, 0 if now["missing"] else now["valid"])
        add("locust_run_invalid", {**run, "reason": "cpu"}, None if now["valid"] is None else 1 - now["valid"])
        add("locust_run_invalid", {**run, "reason": "workers"}, 1 if now["missing"] else 0)
        add("locust_run_elapsed_seconds", run, self.now_s - self._start_s)
        add("locust_run_state", {**run, "state": "running"}, now["running"])
        add("locust_workers", {**run, "state": "missing"}, now["missing"])
        add("locust_users", {**run, "user_class": "Shopper"}, now["users"])
        add("locust_users_target", {**run, "user_class": "Shopper"}, now["users_target"])
        add("locust_otel_folded_requests_total", {}, counts.get("folded", 0))
        add("locust_otel_exports_total", {"exporter": "otlp", "outcome": "success"}, counts.get("exported", 0))
        add("locust_otel_exports_total", {"exporter": "otlp", "outcome": "failure"}, counts.get("unexported", 0))

    def _add(self, name: str, labels: Mapping[str, str], value: float | None) -> None:
        key = selector(name, **labels, **self._target)
        # There are no samples before this series, or before this run.
        at = self.now_s // self._interval_s
        values = self._series.setdefault(key, [])
        values += ["_"] * (at - len(values))
        values.append("_" if value is None else repr(round(value, 9)))

    def input_series(self) -> list[dict[str, str]]:
        """Return the series in promtool's notation."""
        return [{"series": key, "values": " ".join(values)} for key, values in self._series.items()]


@dataclass(frozen=True)
class Scenario:
    """Runs, and the times at which an alert must fire for them.

    Attributes:
        name: What happens, in a few words.
        fires: By time in seconds the labels of the alerts that fire; an empty list if none does.
        where: Only alerts with these labels are checked.
        annotations: Annotations by name when the alert last fires, `{slo}` for that label; None checks nothing.
        values: By time in seconds and expression the expected samples, by labels.
    """

    name: str
    alert: str
    runs: Sequence[Run]
    fires: Mapping[int, Sequence[Mapping[str, str]]] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] | None = None
    values: Mapping[tuple[int, str], Mapping[str, float]] = field(default_factory=dict)
    period: str = "30m"
    interval_s: int = 5

    def __str__(self) -> str:
        """Return what pytest shows."""
        return f"{self.period}-{self.alert}-{self.name}".replace(" ", "-")

    @staticmethod
    def _alert(labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
        slo = labels.get("slo", "")
        return {
            "exp_labels": dict(labels),
            "exp_annotations": {key: text.replace("{slo}", slo) for key, text in annotations.items()},
        }

    def test(self) -> dict[str, Any]:
        """Return it as a test of promtool."""
        firing = selector("ALERTS", alertname=self.alert, alertstate="firing", **self.where)
        checks = [
            {
                "expr": firing,
                "eval_time": f"{at}s",
                "exp_samples": [
                    {"labels": selector("ALERTS", alertname=self.alert, alertstate="firing", **labels), "value": 1}
                    for labels in alerts
                ],
            }
            for at, alerts in self.fires.items()
        ]
        checks += [
            {
                "expr": expression,
                "eval_time": f"{at}s",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for (at, expression), samples in self.values.items()
        ]
        alerts_with_texts = []
        if self.annotations is not None:
            at, alerts = next((at, alerts) for at, alerts in reversed(list(self.fires.items())) if alerts)
            alerts_with_texts = [
                {
                    "eval_time": f"{at}s",
                    "alertname": self.alert,
                    "exp_alerts": [self._alert(labels, self.annotations) for labels in alerts],
                }
            ]
        return {
            "name": str(self),
            "interval": f"{self.interval_s}s",
            "input_series": [series for run in self.runs for series in run.input_series()],
            "promql_expr_test": checks,
            "alert_rule_test": alerts_with_texts,
        }


def rules_of(period: str, alert: str) -> list[dict[str, Any]]:
    """Return the shipped rules of an alert, after the rules that it needs: a tenth of the work of all rules."""
    groups = [
        group
        for path in sorted(SHIPPED[period].glob("*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        if any(rule.get("alert") == alert for rule in group["rules"])
    ]
    assert len(groups) == 1, f"{alert} is in {len(groups)} groups"
    kept: list[dict[str, Any]] = []
    for rule in reversed(groups[0]["rules"]):
        recorded = rule.get("record")
        if rule.get("alert") == alert or (recorded and any(recorded in later["expr"] for later in kept)):
            kept.insert(0, rule)
    return kept


def failed(scenarios: Sequence[Scenario], rules: list[dict[str, Any]], folder: Path) -> str:
    """Return promtool's complaints about scenarios of one interval; may be empty."""
    (folder / "rules.yaml").write_text(json.dumps({"groups": [{"name": "tested", "rules": rules}]}))  # JSON is YAML
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": f"{scenarios[0].interval_s}s",
        "tests": [scenario.test() for scenario in scenarios],
    }
    file = folder / "rules.test.yaml"
    file.write_text(json.dumps(document))
    tested = promtool("test", "rules", file)
    return tested.stdout + tested.stderr if tested.returncode else ""
