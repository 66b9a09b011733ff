"""Measures the figures of `docs/performance.md`, and writes the page: `python -m tests.bench.report [PART ...]`.

The parts are `busy`, `bench`, `soak`, `crowd`, `scaling`, `calibration` and `faults`; without a part all are measured,
one after the other, in three quarters of an hour. The measurements go to `docs/performance.json`, from which page and
pictures are made; with `--page` nothing is measured.
"""

# First of all imports: it patches sockets and locks.
import locust  # noqa: I001

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import calibration, page, scaling, soak

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
DATA = DOCS / "performance.json"
BUSY = "tests/bench/test_busy.py"
CROWD = 10_000
"""Users in one process: a quarter of 40,000."""


def bench(*choice: str) -> list[dict[str, Any]]:
    """Run the bench or a part of it, and return its table; a figure over its bar is part of it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "figures.json")
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-o", "timeout=600", *choice, f"--figures={file}"],
            cwd=TOP,
            check=False,
        )
        rows: list[dict[str, Any]] = json.loads(file.read_text())
    return rows


def crowd() -> dict[str, Any]:
    """Measure a minute of many users in one process, every ten seconds."""
    return asdict(soak.play(1, CROWD, look_s=10.0))


def faults() -> dict[str, Any]:
    """Return the worst values of the table in `reliability.md`."""
    page_text = (DOCS / "reliability.md").read_text()
    rows = re.findall(r"^\| (?:http|grpc|scraper|exporter): .*?\| ([\d.]+) s \| ([\d.]+) s \|", page_text, re.M)
    gaps, exits = ([float(row[column]) for row in rows] for column in (0, 1))
    return {"faults": len(rows), "gap_s": max(gaps), "exit_s": max(exits)}


PARTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "busy": (f"pytest {BUSY}", lambda: bench(BUSY)),
    "bench": ("make bench", lambda: bench("tests/bench", f"--ignore={BUSY}")),
    "scaling": ("python -m tests.bench.scaling", scaling.measure),
    "calibration": ("python -m tests.bench.calibration", calibration.measure),
    "crowd": ("python -m tests.bench.report crowd", crowd),
    "soak": ("python -m tests.bench.soak", lambda: asdict(soak.play(10))),
    "faults": ("make faults", faults),
}


def machine() -> dict[str, Any]:
    """Return cores and versions, on which the figures depend."""
    names = ("locust", "gevent", "locust-otel")
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def measure(part: str) -> dict[str, Any]:
    """Measure one part; return it with its command, its day, and the load averages before and after."""
    command, function = PARTS[part]
    print(f"{part} ...", file=sys.stderr, flush=True)
    before, began = os.getloadavg()[0], time.time()
    data = function()
    return {
        "command": command,
        "day": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "seconds": round(time.time() - began),
        "load_before": round(before, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "data": data,
    }


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--page", action="store_true", help="measure nothing")
    options = parser.parse_args()
    known: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    for part in [] if options.page else options.parts or PARTS:
        known[part] = measure(part)
        known["machine"] = machine()
        DATA.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    if missing := set(PARTS) - set(known):
        print(f"not measured yet: {', '.join(sorted(missing))}", file=sys.stderr)
    for name, text in page.files(known).items():
        (DOCS / name).write_text(text)


if __name__ == "__main__":
    assert locust
    main()
