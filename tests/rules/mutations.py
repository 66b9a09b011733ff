"""Break each clause of each alert, and check that a scenario fails: `python -m tests.rules.mutations [ALERT...]`.

It takes some minutes and is not part of `make test`: run it after a change of an alert or its scenarios.
"""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.rules.scenarios import failed, rules_of
from tests.rules.test_alerts import BATCHES

_OPERATOR = re.compile(r"^(and|unless) on ", re.MULTILINE)
_SWAPS = ((" > ", " >= "), (" >= ", " > "), (" <= ", " < "), (" < ", " <= "), (" == 0", " == 1"), (" == 1", " == 0"))
_NUMBER = re.compile(r"(?<=[><] )(0\.\d+|[1-9]\d*)(?=$|\n|\))")


def clauses(expression: str) -> list[str]:
    """Return the operands of the outermost `and` and `unless`, each with its operator in front."""
    starts = [0, *(match.start() for match in _OPERATOR.finditer(expression)), len(expression)]
    return [expression[first:last] for first, last in itertools.pairwise(starts)]


def mutants(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield descriptions of faults, and the rule of an alert with each fault."""
    expression = rule["expr"]
    parts = clauses(expression)
    for index in range(1, len(parts)):
        left = "".join(part for at, part in enumerate(parts) if at != index).rstrip()
        yield f"without: {' '.join(parts[index].split())}", {**rule, "expr": left}
    for old, new in _SWAPS:
        for found in re.finditer(re.escape(old), expression):
            swapped = expression[: found.start()] + new + expression[found.end() :]
            yield f"{old.strip()} at {found.start()} is {new.strip()}", {**rule, "expr": swapped}
    for found in _NUMBER.finditer(expression):
        doubled = f"{expression[: found.start()]}({found[0]} * 2){expression[found.end() :]}"
        yield f"{found[0]} at {found.start()} is twice as much", {**rule, "expr": doubled}
    for key in ("for", "keep_firing_for"):
        if key in rule:
            yield f"without {key}", {name: value for name, value in rule.items() if name != key}
    yield "without run_id", {**rule, "expr": re.sub(r"by \(run_id\)", "by ()", expression)}


def main() -> int:
    """Print which mutants no scenario notices, of the named alerts or of all; return their number."""
    lived = 0
    for batch, scenarios in BATCHES.items():
        alert = scenarios[0].alert
        if scenarios[0].interval_s != 5 or scenarios[0].period != "30m" or (sys.argv[1:] and alert not in sys.argv[1:]):
            continue
        rules = rules_of("30m", alert)
        at = next(index for index, rule in enumerate(rules) if "alert" in rule)
        for fault, mutant in mutants(rules[at]):
            if mutant == rules[at]:
                continue
            with tempfile.TemporaryDirectory() as folder:
                noticed = failed(scenarios, [*rules[:at], mutant, *rules[at + 1 :]], Path(folder))
            lived += not noticed
            print(f"{'noticed' if noticed else 'LIVES  '} {batch}: {fault}", flush=True)
    return lived


if __name__ == "__main__":
    sys.exit(min(main(), 1))
