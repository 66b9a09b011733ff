"""Tests of checkpoints: killed at any moment, the last whole one is read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from locust_otel.exporter.checkpoint import Checkpoint


@pytest.fixture
def files() -> Iterator[list[int]]:
    """Open two files in memory."""
    made = [os.memfd_create(f"test-{number}") for number in range(2)]
    yield made
    for file in made:
        os.close(file)


def test_nothing_was_written(files: list[int]) -> None:
    """Then there is none."""
    assert Checkpoint(files).read() is None


@pytest.mark.parametrize("times", [1, 2, 3, 10])
def test_the_last_one_is_read(files: list[int], times: int) -> None:
    """Longer or shorter than those before."""
    checkpoint = Checkpoint(files)
    for number in range(times):
        checkpoint.write(bytes([number]) * (1000 - 100 * number))
    assert Checkpoint(files).read() == bytes([times - 1]) * (1000 - 100 * (times - 1))


def test_a_successor_writes_over_the_older_one(files: list[int]) -> None:
    """So that there is a whole one while it writes."""
    Checkpoint(files).write(b"first")
    for number in range(5):
        checkpoint = Checkpoint(files)
        before = checkpoint.read()
        sizes = [os.fstat(file).st_size for file in files]
        checkpoint.write(b"x" * (100 + number))
        (changed,) = [n for n, file in enumerate(files) if os.fstat(file).st_size != sizes[n]]
        os.ftruncate(files[changed], 10)
        assert Checkpoint(files).read() == before
        checkpoint = Checkpoint(files)
        checkpoint.read()
        checkpoint.write(b"x" * (100 + number))


class KilledError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("size", [0, 1, 5, 50, 3_000])
def test_killed_while_it_writes(files: list[int], monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """After any byte of it, the one before is read; and a successor can write."""
    write = os.pwrite
    for left in range(0, size + 45, 1 + size // 200):
        for file in files:
            os.ftruncate(file, 0)
        checkpoint = Checkpoint(files)
        for number in range(3):
            checkpoint.write(b"%d" % number * 500)
        budget = left

        def torn(file: int, data: bytes, at: int) -> int:
            nonlocal budget
            part = bytes(data)[: min(budget, 700)]
            budget -= len(part)
            written = write(file, part, at)
            if not budget:
                raise KilledError
            return written

        monkeypatch.setattr(os, "pwrite", torn)
        with contextlib.suppress(KilledError):
            checkpoint.write(b"n" * size)
        monkeypatch.setattr(os, "pwrite", write)
        found = Checkpoint(files).read()
        assert found in {b"2" * 500, b"n" * size}
        if left <= 20 + size:  # before its head is written
            assert found == b"2" * 500
        elif left >= 40 + size:
            assert found == b"n" * size
        successor = Checkpoint(files)
        successor.read()
        successor.write(b"later")
        assert Checkpoint(files).read() == b"later"


@pytest.mark.parametrize("rubbish", [b"", b"x", b"\xff" * 20, b"\xff" * 5000, bytes(5000)], ids=len)
def test_rubbish_is_no_checkpoint(files: list[int], rubbish: bytes) -> None:
    """Neither alone nor beside a whole one."""
    os.pwrite(files[0], rubbish, 0)
    assert Checkpoint(files).read() is None
    Checkpoint(files).write(b"whole")  # into the second
    assert Checkpoint(files).read() == b"whole"


def test_a_byte_that_changed(files: list[int]) -> None:
    """A checkpoint of which one byte is another is none."""
    Checkpoint(files).write(b"whole")
    (file,) = [file for file in files if os.fstat(file).st_size]
    for at in range(os.fstat(file).st_size):
        byte = os.pread(file, 1, at)
        os.pwrite(file, bytes([byte[0] ^ 1]), at)
        found = Checkpoint(files).read()
        assert found is None or (at < 8 and found == b"whole")  # its number
        os.pwrite(file, byte, at)
