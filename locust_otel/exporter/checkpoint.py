"""State for the next exporter, in two files in memory that are written in turn, so that one is always complete."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence

_HEAD = struct.Struct(">QQI")  # number, length, checksum


class Checkpoint:
    """Writes and reads checkpoints, in two open files that outlive this process."""

    def __init__(self, files: Sequence[int]) -> None:
        self._files = files
        self._number = 0

    def read(self) -> bytes | None:
        """Return the last complete checkpoint; None if there is no complete one."""
        self._number, data = max(map(_read, self._files))
        return data

    def write(self, data: bytes) -> None:
        """Write a checkpoint over the one before the last."""
        self._number += 1
        file = self._files[self._number % len(self._files)]
        os.pwrite(file, bytes(_HEAD.size), 0)  # invalid until the last line below
        view, at = memoryview(data), _HEAD.size
        while view:
            written = os.pwrite(file, view, at)
            view, at = view[written:], at + written
        os.ftruncate(file, at)
        os.pwrite(file, _HEAD.pack(self._number, len(data), zlib.crc32(data)), 0)


def _read(descriptor: int) -> tuple[int, bytes | None]:
    """Return number and content of a checkpoint; 0 and None if it is incomplete."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        head, data = file.read(_HEAD.size), file.read()
    if len(head) == _HEAD.size:
        number, length, checksum = _HEAD.unpack(head)
        if number and length == len(data) and checksum == zlib.crc32(data):
            return number, data
    return 0, None
