"""Searches for bytes that break a decoder: `python -m tests.fuzz.fuzz report|answer [SECONDS]`.

Atheris guides the search by coverage. `tests/unit/wire/test_hostile.py` searches without it. A finding is printed and
ends the search; the bytes are in a file `crash-...`.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["locust_otel", "tests.fuzz", "msgpack", "http.client"]):
    import locust  # noqa: F401  # first: it patches sockets
    import msgpack

    from tests.fuzz import targets
    from tests.unit.spoiling import changed, paths
    from tests.unit.wire.test_hostile import GOOD, PARTIAL, packed


def seeded(data: bytes) -> None:
    """Decode a report with two changes chosen by the bytes: a search from random bytes never finds a report."""
    provider = atheris.FuzzedDataProvider(data)
    part = GOOD
    for _ in range(2):
        ways = paths(part)
        way = ways[provider.ConsumeIntInRange(0, len(ways) - 1)]
        try:
            value = msgpack.unpackb(provider.ConsumeBytes(provider.ConsumeIntInRange(0, 24)), strict_map_key=False)
        except Exception:  # msgpack raises many things
            value = provider.ConsumeInt(9)
        part = changed(part, way, value)
    targets.hostile([packed(part)])
    targets.report(data)


def answered(data: bytes) -> None:
    """Decode an answer: the bytes alone, and after a good head."""
    targets.answer(data)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n"
    targets.answer(head % len(data) + data)
    targets.answer(head % len(PARTIAL) + PARTIAL[: len(data)])


if __name__ == "__main__":
    which, seconds = sys.argv[1], (sys.argv[2:] or ["60"])[0]
    import logging

    logging.disable()
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-max_len=512", "-timeout=10", "-verbosity=1"],
        {"report": seeded, "answer": answered}[which],
    )
    atheris.Fuzz()
