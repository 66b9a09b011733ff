"""Tests of checkpoints: after a kill at any moment the last complete one is read."""

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


@pytest.mark.parametrize("times", [0, 1, 2, 3, 10])
def test_the_last_one_is_read(files: list[int], times: int) -> None:
    """The last of several checkpoints of different lengths is read; None before the first."""
    checkpoint, last = Checkpoint(files), None
    for number in range(times):
        last = bytes([number]) * (1000 - 100 * number)
        checkpoint.write(last)
    assert Checkpoint(files).read() == last


def test_a_successor_overwrites_the_older_one(files: list[int]) -> None:
    """The newer checkpoint stays complete while a successor writes."""
    Checkpoint(files).write(b"first")
    for number in range(5):
        checkpoint = Checkpoint(files)
        last = checkpoint.read()
        sizes = [os.fstat(file).st_size for file in files]
        checkpoint.write(b"x" * (100 + number))
        (changed,) = [n for n, file in enumerate(files) if os.fstat(file).st_size != sizes[n]]
        os.ftruncate(files[changed], 10)
        assert Checkpoint(files).read() == last
        checkpoint = Checkpoint(files)
        checkpoint.read()
        checkpoint.write(b"x" * (100 + number))


class KilledError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("size", [0, 1, 5, 50, 3_000])
def test_killed_during_a_write(files: list[int], monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """After a kill at any byte the checkpoint before is read, and a successor can write."""
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
        data = Checkpoint(files).read()
        assert data in {b"2" * 500, b"n" * size}
        if left <= 20 + size:  # before its head is written
            assert data == b"2" * 500
        elif left >= 40 + size:
            assert data == b"n" * size
        successor = Checkpoint(files)
        successor.read()
        successor.write(b"later")
        assert Checkpoint(files).read() == b"later"


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 20, b"\xff" * 5000, bytes(5000)], ids=len)
def test_garbage(files: list[int], garbage: bytes) -> None:
    """Garbage is not read, alone or beside a complete checkpoint."""
    os.pwrite(files[0], garbage, 0)
    assert Checkpoint(files).read() is None
    Checkpoint(files).write(b"complete")  # into the second
    assert Checkpoint(files).read() == b"complete"


def test_a_changed_byte(files: list[int]) -> None:
    """A checkpoint with a changed byte is not read, unless that byte is in its number."""
    Checkpoint(files).write(b"complete")
    (file,) = [file for file in files if os.fstat(file).st_size]
    for at in range(os.fstat(file).st_size):
        byte = os.pread(file, 1, at)
        os.pwrite(file, bytes([byte[0] ^ 1]), at)
        data = Checkpoint(files).read()
        assert data is None or (at < 8 and data == b"complete")
        os.pwrite(file, byte, at)
