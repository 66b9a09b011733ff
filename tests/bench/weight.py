"""Measures the size of an installation, and writes it into the README: `python -m tests.bench.weight`.

pip installs each row into an empty folder, with the versions of constraints.txt. A size is that of all files that pip
lists for a package, compiled ones too. It takes three minutes and a package index.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import distributions
from operator import itemgetter
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGE = TOP / "README.md"
MARKS = ("<!-- weight: made by python -m tests.bench.weight -->", "<!-- end of weight -->")
ROWS = {
    "locust": "Locust alone",
    "locust-otel": "all that is not below",
    "locust-otel[grpc]": "`--otlp-protocol grpc`",
    "locust-otel[analysis]": "`locust-otel analyze`, and the pictures of `locust-otel report`",
}
"""Installations and their purposes. The extra `chaostoolkit` is for users who have Chaos Toolkit already."""

_MB = 1_000_000
_NAMED = 4  # packages that a row names


def packages(requirement: str) -> dict[str, int]:
    """Install a requirement, and return the size of each package in bytes."""
    local = requirement.replace("locust-otel", ".")
    with tempfile.TemporaryDirectory(prefix="weight-") as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, "--target", folder, "-c", "constraints.txt", local], cwd=TOP, check=True)
        files = {package.name: package.files or () for package in distributions(path=[folder])}
        return {
            name: sum(path.stat().st_size for file in listed if (path := Path(folder, file)).is_file())
            for name, listed in files.items()
        }


def table(measured: dict[str, dict[str, int]]) -> str:
    """Return the table, with a row for each installation; extras are compared with `locust-otel`."""
    lines = ["| `pip install` | packages | MB | for | most of what it adds, in MB |", "| --- | --- | --- | --- | --- |"]
    for requirement, sizes in measured.items():
        before = measured["locust-otel" if "[" in requirement else "locust"]
        added = [(size, name) for name, size in sizes.items() if before is sizes or name not in before]
        largest = sorted(added, reverse=True)[:_NAMED]
        named = ", ".join(f"{name} {size / _MB:.0f}" for size, name in largest if size > _MB)
        total = sum(sizes.values()) / _MB
        lines.append(f"| `{requirement}` | {len(sizes)} | {total:.0f} | {ROWS[requirement]} | {named} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write; return the exit code."""
    measured = {requirement: packages(requirement) for requirement in ROWS}
    for requirement, sizes in measured.items():
        print(requirement)
        for name, size in sorted(sizes.items(), key=itemgetter(1)):
            print(f"{size / _MB:8.2f} {name}")
    where = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    text = f"{table(measured)}\n\nMeasured on {datetime.now(UTC):%Y-%m-%d} with {where}: all files but those of pip."
    print(text)
    before, rest = PAGE.read_text().split(MARKS[0])
    PAGE.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
