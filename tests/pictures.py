"""Makes the picture of the live page for the README, from a real run with a fault: `python -m tests.pictures`."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.backends.servers import Prometheus, free_port
from tests.e2e.harness import EXAMPLES, Stage

IMAGES = Path(__file__).parents[1] / "docs" / "images"
RULES = IMAGES.parents[1] / "deploy" / "prometheus" / "rules" / "30m"
SECONDS = 150
_PICTURE = """
import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(sys.argv[1])
    page.wait_for_timeout(4000)
    page.screenshot(path=sys.argv[2])
"""
"""A script for a process of its own: the browser's driver does not work with the locks that Locust patches."""


def main() -> None:
    """Run for two minutes and a half, with errors in the middle, and take the picture before the end."""
    port = free_port()
    rules = sorted(RULES.glob("*.yaml"))
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder)) as stage,
        Prometheus([f"127.0.0.1:{port}"], rule_files=rules, scrape_interval="2s") as prometheus,
    ):
        shop = stage.shop(time_scale=1.0)
        stage.start(
            *("locust-otel", "run", "-f", EXAMPLES / "webshop.py", "--host", shop.url, "-u", "60", "-r", "6"),
            *("-t", f"{SECONDS + 60}s", "--headless", "--slo", EXAMPLES / "slo.yaml", "--run-id", "nightly-7"),
            *("--prometheus-port", str(port)),
        )
        time.sleep(80)
        stage.start(
            "locust-otel", "mark", "orders fail", "--kind", "fault", "--url", f"http://127.0.0.1:{port}/metrics"
        )
        shop.inject("errors", ratio=0.3, route="/api/orders")
        time.sleep(25)
        shop.clear_faults()
        time.sleep(SECONDS - 105)
        url, target = f"http://127.0.0.1:{port}/", str(IMAGES / "live-page.png")
        subprocess.run([sys.executable, "-c", _PICTURE, url, target], check=True, timeout=120)
        if "--hold" in sys.argv:
            print(prometheus.url, flush=True)
            sys.stdin.readline()


if __name__ == "__main__":
    main()
