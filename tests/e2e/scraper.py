"""A scraper in a process of its own, so that the tests do not delay it: `scraper.py FOLDER JSON`.

It scrapes at fixed times until the endpoint is gone, and writes each page into a file of the folder: 000000, 000001 ...
The JSON has `url`, `headers`, `intervals_s` (used in turn), `count` (0: no limit), `ca` (a file, or empty), and
`patience_s`: seconds without an answer after which the endpoint counts as gone.
It imports the standard library only.
"""

import http.client
import itertools
import json
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any


def main(folder: Path, how: dict[str, Any]) -> None:
    """Scrape until the endpoint is gone after at least one page."""
    intervals = itertools.cycle(how["intervals_s"])
    pages = 0
    due = answered = time.monotonic()
    while not how["count"] or pages < how["count"]:
        try:
            body = scrape(how)
        except (OSError, http.client.HTTPException):
            if pages and time.monotonic() - answered >= how["patience_s"]:
                return
            time.sleep(0.05 if pages else 0.1)
            due = time.monotonic()
            continue
        part = folder / "part"
        part.write_bytes(body)
        part.rename(folder / f"{pages:06}")
        pages += 1
        answered = time.monotonic()
        due += next(intervals)
        time.sleep(max(due - time.monotonic(), 0))


def scrape(how: dict[str, Any]) -> bytes:
    """Return one page."""
    url = urllib.parse.urlsplit(how["url"])
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
    if how["ca"]:
        import ssl

        context = ssl.create_default_context(cafile=how["ca"])
        connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=20, context=context)
    try:
        connection.request("GET", url.path, headers=how["headers"])
        response = connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(response.status)
        return body
    finally:
        connection.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
