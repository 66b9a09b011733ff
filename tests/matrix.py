"""Runs the tests on every Python from 3.11 on that is on this machine, and on the lowest supported Locust.

`python tests/matrix.py`: each combination gets an environment of its own in `.matrix`, and one line of result.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".matrix"
LOWEST_PYTHON = (3, 11)

UNIT = ["tests/unit", *(f"tests/integration/test_{name}.py" for name in ("extras", "import", "locustfiles", "web"))]
RUNS = [*UNIT, "tests/e2e/test_totals.py"]


def pythons() -> dict[tuple[int, int], str]:
    """Return the interpreters from 3.11 on, by version: those on PATH that start, and those of pyenv."""
    candidates = [shutil.which(f"python3.{minor}") for minor in range(LOWEST_PYTHON[1], 30)]
    candidates += [str(path) for path in sorted(Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python3"))]
    found: dict[tuple[int, int], str] = {}
    for candidate in filter(None, candidates):
        shown = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
        match = re.match(r"Python (\d+)\.(\d+)\.\d+$", shown.strip())
        if match is not None and (version := (int(match[1]), int(match[2]))) >= LOWEST_PYTHON:
            found.setdefault(version, candidate)
    return found


def lowest_locust() -> str:
    """Return the lowest Locust that pyproject.toml allows."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lowest: str = next(d for d in dependencies if d.startswith("locust>="))
    return lowest.removeprefix("locust>=")


def run(name: str, python: str, tests: list[str], *, locust: str | None) -> bool:
    """Set an environment up and run the tests in it; return whether they passed."""
    started = time.monotonic()
    folder = ENVIRONMENTS / name
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "-e", ".[dev]"]
    # Without the pins of constraints.txt, to test the newest version of every dependency.
    install += [f"locust=={locust}"] if locust else []
    steps = [install, [str(folder / "bin/pytest"), "-q", "-p", "no:cacheprovider", *tests]]
    passed = True
    for step in steps:
        result = subprocess.run(step, cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode:
            print(result.stdout[-6000:], result.stderr[-3000:])
            passed = False
            break
    print(f"{name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - started:.0f} s", flush=True)
    return passed


def main() -> int:
    """Run the matrix and return the exit code."""
    found = pythons()
    lowest = lowest_locust()
    first = min(found)
    passed = [run(f"python{v[0]}.{v[1]}", path, UNIT, locust=None) for v, path in sorted(found.items())]
    passed.append(run(f"locust{lowest}", found[first], RUNS, locust=lowest))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
