"""One process with a number of request series, which tells what they cost it. Run as a script by `scaling.py`.

The same requests are made twice: first with Locust's own statistics alone, then with the bridge too; what the process
has grown by in between is the bridge's.
"""

# First of all imports: it patches sockets and locks.
import gc
import gzip
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import gevent
import locust  # noqa: F401
import psutil
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.resources import Resource

import locust_otel
from locust_otel.core.exposition import TextExposition
from locust_otel.core.families import families
from locust_otel.exporter.otlp.metrics import Encoder
from tests.bench import load, slo
from tests.bench.scraper import OPENMETRICS
from tests.bench.sidebyside import Stopwatch
from tests.bench.test_scrape import Scraper, Ticker

FAILING = 7  # no divisor of half the number of series: each name fails some time
MIB = 1024**2
ROUNDS = 5


def main(series: int, folder: Path) -> dict[str, Any]:  # noqa: PLR0915  # one measurement after the other
    """Do it, and return what it cost."""
    names = series // 2
    endpoints = load.endpoints(names, traceparent=load.SAMPLED)
    environment = load.environment()
    runner = environment.create_local_runner()

    def request(count: int, seed: int) -> None:
        def task() -> None:
            for number, event in enumerate(load.rotation(endpoints, count, seed=seed, failing=FAILING)):
                environment.events.request.fire(**event)
                if number % 2_000 == 0:
                    gevent.sleep(0)

        load.in_user(task)

    once = max(FAILING * names, 10_000)
    request(once, 0)
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    bridge = locust_otel.attach(
        environment, prometheus_port=0, max_request_names=names, slo=str(slo.write(folder)), prometheus_linger="off"
    )
    environment.events.test_start.fire(environment=environment)
    request(once, 1)
    assert bridge.url is not None
    assert bridge._watch is not None
    run = bridge._node.run
    assert run is not None
    assert run.slo is not None
    assert len(run.aggregate.series) == series

    scraper, ticker = Scraper(), Ticker()
    stalls, durations, looks, look_stalls, snapshots = [], [], [], [], []
    sizes = (0, 0)
    for number in range(ROUNDS):
        request(1_000, number + 2)
        snapshots.append(_timed(bridge.snapshot))
        gevent.sleep(0.02)  # the ticker wakes late from those
        ticker.longest_s, watch = 0.0, Stopwatch()
        sizes = scraper.sizes(bridge.url, OPENMETRICS)
        durations.append(watch.seconds())
        stalls.append(ticker.longest_s)
        request(1_000, number + 2 + ROUNDS)
        gevent.sleep(0.02)
        ticker.longest_s, watch = 0.0, Stopwatch()
        bridge._watch._look(run, run.slo)
        looks.append(watch.seconds())
        look_stalls.append(ticker.longest_s)
    ticker.stop()
    gc.collect()
    grown = process.memory_info().rss - before
    scraper.stop()
    taken = bridge.snapshot()
    text = b"".join(TextExposition(is_openmetrics=True).render(families(taken)))
    encoder = Encoder(Resource({}), "0", is_exponential=True, is_delta=False)
    pushed = [encode_metrics(piece.data).SerializeToString() for piece in encoder.pieces(families(taken), 1)]
    bridge.close()
    runner.quit()
    return {
        "series": series,
        "samples": sum(not line.startswith(b"#") for line in text.splitlines()),
        "otlp_bytes": sum(map(len, pushed)),
        "otlp_gzip_bytes": sum(len(gzip.compress(data)) for data in pushed),
        "scrape_s": round(min(durations), 5),
        "scrape_median_s": round(median(durations), 5),
        "stall_s": round(min(stalls), 5),
        "stall_median_s": round(median(stalls), 5),
        "text_bytes": sizes[0],
        "gzip_bytes": sizes[1],
        "snapshot_s": round(min(snapshots), 5),
        "slo_s": round(min(looks), 5),
        "slo_stall_s": round(min(look_stalls), 5),
        "rss_mib": round(grown / MIB, 2),
    }


def _timed(function: Any) -> float:
    watch = Stopwatch()
    function()
    return watch.seconds()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        print(json.dumps(main(int(sys.argv[1]), Path(folder))))
