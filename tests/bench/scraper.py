"""Scrapes once or, as a script, once a second: `scraper.py URL ACCEPT`. It prints seconds and bytes of each scrape."""

from __future__ import annotations

import sys
import time
from http.client import HTTPException
from typing import NamedTuple
from urllib.request import Request, urlopen

TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


class Scrape(NamedTuple):
    """Result of a scrape.

    Attributes:
        seconds: Time to its last byte.
        body: Body as it was sent.
    """

    seconds: float
    body: bytes


def scrape(url: str, accept: str, *, timeout_s: float = 60.0) -> Scrape:
    """Scrape once, compressed, as Prometheus does."""
    headers = {"Accept": accept, "Accept-Encoding": "gzip", "User-Agent": f"bench {accept}"}
    began = time.perf_counter()
    with urlopen(Request(url, headers=headers), timeout=timeout_s) as answer:
        body = answer.read()
    return Scrape(time.perf_counter() - began, body)


def main(url: str, accept: str) -> None:
    """Scrape once a second, without an end."""
    due = time.monotonic()
    while True:
        due = max(due + 1, time.monotonic())
        time.sleep(max(due - time.monotonic(), 0))
        try:
            done = scrape(url, accept)
            print(done.seconds, len(done.body), flush=True)
        except (OSError, HTTPException):  # before the start or after the end
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
