"""A scraper, for the process it is in, or as a script in a process of its own, where it holds nobody's event loop.

As a script it does one scrape for each line it reads, the URL and the `Accept` header with a tab between them, and
answers with the two sizes in a line.
"""

from __future__ import annotations

import gzip
import sys
from typing import NamedTuple
from urllib.request import Request, urlopen

TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


class Sizes(NamedTuple):
    """Bytes of an exposition, and of it compressed, as it was sent."""

    expanded: int
    sent: int


def scrape(url: str, accept: str) -> Sizes:
    """Scrape once, compressed, as Prometheus does."""
    headers = {"Accept": accept, "Accept-Encoding": "gzip", "User-Agent": "Prometheus/3.5.3"}
    with urlopen(Request(url, headers=headers), timeout=60) as answer:
        body = answer.read()
    return Sizes(len(gzip.decompress(body)), len(body))


def main() -> None:
    """Scrape what is asked for until there is nothing more to read."""
    for line in sys.stdin:
        print(*scrape(*line.rstrip("\n").split("\t")), flush=True)


if __name__ == "__main__":
    main()
