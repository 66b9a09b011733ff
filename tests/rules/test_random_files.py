"""SLO files that nobody thought of: rules that Prometheus takes, or an error that says what is wrong."""

from __future__ import annotations

import json
import random
from pathlib import Path

from locust_otel.core.errors import ConfigurationError
from locust_otel.slo.file import parse
from locust_otel.slo.objectives import Slo
from locust_otel.slo.rules.alerting_rules import Links, run_alerts, slo_alerts
from locust_otel.slo.rules.printer import rule_text
from locust_otel.slo.rules.recording_rules import recording_rules
from tests.backends.servers import promtool

MANY = 1000
_LETTERS = "abcXYZ019"
_RUBBISH = [
    "",
    "0",
    "-1",
    "99",
    "NaN",
    "1e9",
    "{}",
    "[]",
    "null",
    "yes",
    "☃",
    "&a",
    "*a",
    "!!str x",
    "5",
    "101%",
    "'",
    "\t",
    "a: b",
]


def a_name(draw: random.Random) -> str:
    """Return a name with every character that one may have."""
    inner = "".join(draw.choices(_LETTERS + "._- ", k=draw.randint(0, 12)))
    return draw.choice(_LETTERS) + inner + draw.choice(_LETTERS)


def an_objective(draw: random.Random) -> str:
    """Return an objective in one line."""
    target = draw.choice(["50%", "90%", "95%", "99%", "0.999", "99.99%", "0.999999", f"{draw.randint(1, 9999) / 100}%"])
    within = draw.choice(["1ms", "250ms", "1.5s", "2s", "1m30s", "1h"])
    keys = {
        "success": f"target: {target}",
        "latency": f"target: {target}, within: {within}",
        "mean": f"within: {within}",
    }
    sli = draw.choice(list(keys))
    match = draw.choice(
        ["", "", ", match: {name: [/a, '/b \"c\" \\d'], method: GET}", ", match: {user_class: Shopper}"]
    )
    only = draw.choice(["", ", only: success"]) if sli == "latency" else ""
    return f"{{sli: {sli}, {keys[sli]}{match}{only}}}"


def a_file(draw: random.Random) -> str:
    """Return an SLO file; most are valid, a few contradict themselves."""
    period = draw.choice([60, 600, 1800, 5400, 14400, 86400, 7 * 86400, 30 * 86400, draw.randint(10, 100_000)])
    interval = draw.choice(["500ms", "1s", "5s", "15s", "30s", "1m"])
    lines = [f"service: '{a_name(draw)}'", f"period: {period}s", f"scrape_interval: {interval}"]
    if draw.random() < 0.5:
        lines.append(f"warmup: {draw.randint(0, period // 2)}s")
        lines.append(f"min_requests: {draw.randint(1, 10**6)}")
    lines.append("objectives:")
    lines += [f"  '{name}': {an_objective(draw)}" for name in {a_name(draw) for _ in range(draw.randint(1, 3))}]
    if draw.random() < 0.5:
        lines.append("windows:")
        for _ in range(draw.randint(1, 2)):
            long_s = draw.randint(8, max(9, period // 2))
            lines.append(
                f"  - {{severity: {draw.choice(['critical', 'warning'])}, long: {long_s}s, "
                f"short: {max(4, long_s // draw.randint(2, 12))}s, budget: {draw.randint(1, 100)}%}}"
            )
    return "\n".join(lines) + "\n"


def slos(draw: random.Random, count: int) -> list[Slo]:
    """Return objectives of valid files."""
    found: list[Slo] = []
    while len(found) < count:
        try:
            found.append(parse(a_file(draw).encode(), "slo.yaml"))
        except ConfigurationError:  # a window that can never fire, or one shorter than four scrapes
            continue
    return found


def test_promtool_accepts_the_rules_of_any_file(tmp_path: Path) -> None:
    """A thousand files, a hundred in each call; the text of some is checked as well as its content."""
    for batch in range(10):
        files = []
        for number, slo in enumerate(slos(random.Random(batch), MANY // 10)):
            file = tmp_path / f"{batch}-{number}.yaml"
            if number:
                groups = [list(recording_rules(slo)) + list(slo_alerts(slo, Links())), list(run_alerts(slo, Links()))]
                named = [{"name": str(index), "rules": rules} for index, rules in enumerate(groups)]
                file.write_text(json.dumps({"groups": named}))  # JSON is YAML, and quicker
            else:
                file.write_text(rule_text(slo))
            files.append(file)
        checked = promtool("check", "rules", "--lint=all", "--lint-fatal", *files)
        assert checked.returncode == 0, (checked.stdout + checked.stderr)[:4000]


def broken(draw: random.Random) -> bytes:
    """Return a file with something wrong in it, as people and editors make it."""
    text = a_file(draw)
    for _ in range(draw.randint(1, 3)):
        lines = text.splitlines()
        at = draw.randrange(len(lines))
        position = draw.randrange(len(text))
        match draw.randrange(6):
            case 0:
                del lines[at]
                text = "\n".join(lines)
            case 1:
                text = "\n".join([*lines, lines[at]])
            case 2:
                key, _, _ = lines[at].partition(":")
                lines[at] = f"{key}: {draw.choice(_RUBBISH)}"
                text = "\n".join(lines)
            case 3:
                text = text[:position] + draw.choice([*_RUBBISH, "\x00", "}", "]", ":", "#", "\n"]) + text[position:]
            case 4:
                text = text[:position] + text[position + draw.randint(1, 9) :]
            case _:
                text = text[:position]
        text = text or "\n"
    data = text.encode()
    return data if draw.random() < 0.95 else data[:20] + bytes([draw.randrange(256)]) + data[20:]


def test_a_broken_file_is_an_error_and_never_a_traceback() -> None:
    """Until a thousand were refused: each problem has a place, words and a slug; what is not refused makes rules."""
    draw, refused = random.Random(1), 0
    while refused < MANY:
        try:
            slo = parse(broken(draw), "slo.yaml")
        except ConfigurationError as error:
            refused += 1
            for problem in error.problems or (error,):
                assert problem.slug.startswith("slo-"), problem
                assert str(problem.where).startswith("slo.yaml"), problem
        else:
            assert list(recording_rules(slo))
