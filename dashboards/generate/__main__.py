"""Write the dashboards: `python -m dashboards.generate [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.generate.compare import compare
from dashboards.generate.gameday import gameday
from dashboards.generate.generator import generator
from dashboards.generate.live import live
from dashboards.generate.load import load
from dashboards.generate.slo import slo

FOLDER = Path(__file__).parents[1]


def dashboards() -> list[Dashboard]:
    """Return all dashboards, in the order in which users need them."""
    return [live(), slo(), load(), compare(), gameday(), generator()]


def text(dashboard: Dashboard) -> str:
    """Return the JSON of a dashboard, the same each time."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files, or with `--check` list those that are out of date; return the exit code."""
    wanted = {f"{dashboard.uid}.json": text(dashboard) for dashboard in dashboards()}
    present = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    stale = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    if "--check" in sys.argv:
        if stale:
            print(f"out of date: {', '.join(stale)}; run make generate", file=sys.stderr)  # noqa: T201
        return int(bool(stale))
    for name in stale:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
