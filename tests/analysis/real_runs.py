"""Program that runs Locust against the demo shop for two minutes a pattern, to validate the simulation.

python -m tests.analysis.real_runs FOLDER [FAULT ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from locust_otel.demo import shop as demo_shop
from locust_otel.demo.faults import parse
from locust_otel.demo.shop import ShopProcess

LOCUSTFILES = Path(__file__).parents[2] / "locustfiles"
LENGTH_S = 135
USERS = 160
SLOW_FROM_S = 60.0

# Two cores can overload these small shops: each has its knee near 80 users, 25 requests/s.
RUNS: dict[str, tuple[str, float]] = {
    "saturation": ("saturation:per_request_s=0.04", 1.0),
    "pool-cliff": ("pool-cliff:connections=1", 7.0),
    "stall": ("stall:period_s=13,duration_s=2", 1.0),
    "slow-endpoint": ("slow-endpoint:factor=10", 1.0),
    "leak": ("leak:per_minute_s=0.1", 1.0),
    "none": ("", 1.0),
}
"""Fault, and the factor on the shop's service times."""


LENGTHS_S = {"leak": 270}
"""Lengths of single runs: a leak needs steps of half a minute to be distinguished from growth with the load."""


def play(fault: str, folder: Path, *, users: int = USERS) -> Path:
    """Run a fault, and return the record."""
    length_s = LENGTHS_S.get(fault, LENGTH_S)
    text, scale = RUNS[fault]
    out = folder / fault
    out.mkdir(parents=True, exist_ok=True)
    is_late = fault == "slow-endpoint"
    with demo_shop.start(faults=[text] if text and not is_late else [], time_scale=scale) as shop:
        process = _locust(shop, out, users, length_s)
        try:
            if is_late:
                try:
                    process.wait(SLOW_FROM_S)
                except subprocess.TimeoutExpired:
                    _inject(shop, text)
            process.wait(length_s + 60)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return max(out.glob("*.jsonl.gz"), key=lambda path: path.stat().st_mtime)


def _inject(shop: ShopProcess, text: str) -> None:
    fault = parse(text)
    shop.inject(fault.name, **{key: getattr(fault, key) for key in fault.__dataclass_fields__ if key != "name"})


def _locust(shop: ShopProcess, folder: Path, users: int, length_s: int) -> subprocess.Popen[bytes]:
    files = f"{LOCUSTFILES / 'webshop.py'},{LOCUSTFILES / 'shapes.py'}"
    command = [str(Path(sys.executable).with_name("locust-otel")), "run", "-f", files, "--headless", "--only-summary"]
    command += ["--host", shop.url, "--run-record", str(folder), "--prometheus-port", "off"]
    command += ["--slo", str(LOCUSTFILES / "slo.yaml")]
    environment = {**os.environ, "SHAPE": "steps", "SHAPE_USERS": str(users), "SHAPE_TIME": str(length_s)}
    with (folder / "locust.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def main(arguments: Sequence[str]) -> int:
    """Run the faults that the arguments name, one after the other."""
    folder, names = Path(arguments[0]), list(arguments[1:]) or list(RUNS)
    for name in names:
        print(play(name, folder), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
